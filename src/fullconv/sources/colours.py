"""What the bands of an image are: colours where the file calls them so, else names at most."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

COLOURS = ("red", "green", "blue")

RGB_NUMBERS = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue"}
"""The numbers by which OME metadata calls a channel by one of the three colours."""

NO_NAME = re.compile(
    r"(channel|chan|ch|c|band|image)?[\s:_-]*(\d{1,2}([\s:_-]+\d{1,2})*)?", re.IGNORECASE
)
"""Names that programs give to channels about which nothing is known; 450 is a wavelength."""

WORDS = {"red": ("red", "r"), "green": ("green", "g"), "blue": ("blue", "b")}

MOST_NAMED = 12
"""So many bands are listed in one line."""


@dataclass(frozen=True)
class Channel:
    """What one band is.

    Attributes
    ----------
    name : str
        As the file has it; empty where it has none.
    colour : str
        "red", "green", "blue", "grey" or "alpha", where the file calls it so, else empty.
    """

    name: str = ""
    colour: str = ""

    def __str__(self) -> str:
        return self.name or self.colour or "unnamed"


GREY = (Channel(colour="grey"),)
RGB = tuple(Channel(colour=colour) for colour in COLOURS)
ALPHA = (Channel(colour="alpha"),)

Channels = tuple[Channel, ...]


def of_picture(bands: int) -> Channels:
    """Return what the bands of a picture, or of an array in memory, are by their number."""
    known = {1: GREY, 2: (*GREY, *ALPHA), 3: RGB, 4: (*RGB, *ALPHA)}
    return known.get(bands, (Channel(),) * bands)


def of_gdal(colours: Sequence[str], names: Sequence[str | None]) -> Channels:
    """Return what bands are by GDAL's names of colour interpretations, and their descriptions."""
    known = {"gray": "grey"} | {word: word for word in (*COLOURS, "alpha")}
    found = [known.get(colour.lower(), "") for colour in colours]
    return by_name(
        tuple(Channel(name or "", colour) for name, colour in zip(names, found, strict=True))
    )


def by_name(channels: Channels) -> Channels:
    """Return channels with the colours that their names say, where nothing else says any.

    That is where one is named red, one green and one blue, in whatever order.
    """
    words = [channel.name.strip().lower() for channel in channels]
    is_told = any(channel.colour in COLOURS for channel in channels)
    if is_told or any(words.count(colour) != 1 for colour in COLOURS):
        return channels
    return tuple(
        replace(channel, colour=word if word in COLOURS else channel.colour.replace("grey", ""))
        for channel, word in zip(channels, words, strict=True)
    )


def of_gdal_xml(root: Element, channels: Channels) -> Channels:
    """Return the same of the items that GDAL keeps in a TIFF's tag 42112; others stay."""
    found = list(channels)
    for item in root.iter("Item"):
        band = int(item.get("sample", -1))
        if 0 <= band < len(found):
            found[band] = _told(found[band], item.get("role", ""), item.text or "")
    return tuple(found)


def of_pam_xml(root: Element, channels: Channels) -> Channels:
    """Return the same of GDAL's .aux.xml beside a file; bands of which it says nothing stay."""
    found = list(channels)
    for held in root.iter("PAMRasterBand"):
        band = int(held.get("band", 0)) - 1
        for item in held if 0 <= band < len(found) else ():
            found[band] = _told(found[band], item.tag.lower(), item.text or "")
    return tuple(found)


def _told(channel: Channel, role: str, text: str) -> Channel:
    if role == "description":
        return replace(channel, name=text.strip())
    if role == "colorinterp" and text.strip().lower() != "palette":
        return replace(channel, colour=of_gdal([text.strip()], [""])[0].colour)
    return channel


def of_ome(named: Iterable[tuple[str, tuple[int, int, int] | None]], is_8_bit: bool) -> Channels:
    """Return what channels are by their names and colours in OME metadata.

    Colours are also how fluorescence is shown, with blue for DAPI, by rising wavelength. So they
    are colours of the pixels only where the names are those of colours too, or three 8-bit channels
    have no names of their own, and are red, green and blue in this order.
    """
    held = [(name.strip(), RGB_NUMBERS.get(numbers or (0, 0, 0), "")) for name, numbers in named]
    colours = [colour for _, colour in held if colour]
    is_rgb = sorted(colours) == sorted(COLOURS)
    are_words = all(name.lower() in WORDS[colour] for name, colour in held if colour)
    are_nameless = all(NO_NAME.fullmatch(name) for name, _ in held) and is_8_bit
    are_nameless = are_nameless and tuple(colour for _, colour in held) == COLOURS
    is_meant = is_rgb and (are_words or are_nameless)
    found = tuple(Channel(name, colour if is_meant else "") for name, colour in held)
    return found if colours else by_name(found)


def rgb_places(channels: Channels) -> tuple[int, int, int] | None:
    """Return where red, green and blue are; None unless each is there once."""
    colours = [channel.colour for channel in channels]
    if any(colours.count(colour) != 1 for colour in COLOURS):
        return None
    red, green, blue = (colours.index(colour) for colour in COLOURS)
    return red, green, blue


def is_grey(channels: Channels) -> bool:
    """Whether an image is grey: one band, beside which there is transparency at most."""
    shown = [channel for channel in channels if channel.colour != "alpha"]
    return len(shown) == 1 and channels[0] is shown[0]


def is_rgb(channels: Channels) -> bool:
    """Whether an image is in colours, beside which there is transparency at most."""
    shown = [channel for channel in channels if channel.colour != "alpha"]
    return len(shown) == 3 and rgb_places(channels) is not None


def listed(channels: Channels, numbers: Sequence[int] | None = None) -> str:
    """Return bands and their names as people read them; their numbers count from 1 by default."""
    numbered = zip(numbers or range(1, len(channels) + 1), channels, strict=True)
    told = [f"{number} {channel}" for number, channel in numbered]
    more = f", and {len(told) - MOST_NAMED} more" if len(told) > MOST_NAMED else ""
    return ", ".join(told[:MOST_NAMED]) + more
