"""The names and colours of an image's bands, as far as the file gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

COLOURS = ("red", "green", "blue")

RGB_NUMBERS = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue"}
"""The three colours by their red, green and blue numbers in OME metadata."""

NO_NAME = re.compile(
    r"(channel|chan|ch|c|band|image)?[\s:_-]*(\d{1,2}([\s:_-]+\d{1,2})*)?", re.IGNORECASE
)
"""Names without meaning that programs give to channels. 450 would be a wavelength."""

WORDS = {"red": ("red", "r"), "green": ("green", "g"), "blue": ("blue", "b")}

MOST_NAMED = 12
"""The most bands that one line lists."""


@dataclass(frozen=True)
class Channel:
    """The name and colour of one band.

    Attributes
    ----------
    name : str
        Name in the file; empty where the file gives none.
    colour : str
        "red", "green", "blue", "grey" or "alpha", where the file says so, else empty.
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
    """Return the channels of a picture, or of an array in memory, by the number of its bands."""
    known = {1: GREY, 2: (*GREY, *ALPHA), 3: RGB, 4: (*RGB, *ALPHA)}
    return known.get(bands, (Channel(),) * bands)


def of_gdal(colours: Sequence[str], names: Sequence[str | None]) -> Channels:
    """Return the channels of bands, by GDAL's colour interpretations and descriptions."""
    known = {"gray": "grey"} | {word: word for word in (*COLOURS, "alpha")}
    interpreted = [known.get(colour.lower(), "") for colour in colours]
    return by_name(
        tuple(Channel(name or "", colour) for name, colour in zip(names, interpreted, strict=True))
    )


def by_name(channels: Channels) -> Channels:
    """Return channels with the colours that their names give, where the file gives no colours.

    The names must be those of the three colours, each once, in whatever order.
    """
    words = [channel.name.strip().lower() for channel in channels]
    has_colours = any(channel.colour in COLOURS for channel in channels)
    if has_colours or any(words.count(colour) != 1 for colour in COLOURS):
        return channels
    return tuple(
        replace(channel, colour=word if word in COLOURS else channel.colour.replace("grey", ""))
        for channel, word in zip(channels, words, strict=True)
    )


def of_gdal_xml(root: Element, channels: Channels) -> Channels:
    """Return channels with the names and colours that GDAL keeps in a TIFF's tag 42112.

    Channels that the tag does not mention stay as they are.
    """
    described = list(channels)
    for item in root.iter("Item"):
        band = int(item.get("sample", -1))
        if 0 <= band < len(described):
            described[band] = _described(described[band], item.get("role", ""), item.text or "")
    return tuple(described)


def of_pam_xml(root: Element, channels: Channels) -> Channels:
    """Return channels with the names and colours of GDAL's .aux.xml beside a file.

    Channels that the file does not mention stay as they are.
    """
    described = list(channels)
    for element in root.iter("PAMRasterBand"):
        band = int(element.get("band", 0)) - 1
        for item in element if 0 <= band < len(described) else ():
            described[band] = _described(described[band], item.tag.lower(), item.text or "")
    return tuple(described)


def _described(channel: Channel, role: str, text: str) -> Channel:
    if role == "description":
        return replace(channel, name=text.strip())
    if role == "colorinterp" and text.strip().lower() != "palette":
        return replace(channel, colour=of_gdal([text.strip()], [""])[0].colour)
    return channel


def of_ome(named: Iterable[tuple[str, tuple[int, int, int] | None]], is_8_bit: bool) -> Channels:
    """Return channels from their names and colours in OME metadata.

    OME's colours are display colours, also of fluorescence: blue for DAPI, by rising wavelength.
    They count as colours of the pixels in two cases: the names are those of the colours, or three
    8-bit channels have no names of their own and are red, green and blue in this order.
    """
    entries = [(name.strip(), RGB_NUMBERS.get(numbers or (0, 0, 0), "")) for name, numbers in named]
    colours = [colour for _, colour in entries if colour]
    is_rgb = sorted(colours) == sorted(COLOURS)
    are_words = all(name.lower() in WORDS[colour] for name, colour in entries if colour)
    are_nameless = all(NO_NAME.fullmatch(name) for name, _ in entries) and is_8_bit
    are_nameless = are_nameless and tuple(colour for _, colour in entries) == COLOURS
    is_meant = is_rgb and (are_words or are_nameless)
    channels = tuple(Channel(name, colour if is_meant else "") for name, colour in entries)
    return channels if colours else by_name(channels)


def rgb_places(channels: Channels) -> tuple[int, int, int] | None:
    """Return the indices of red, green and blue; None unless each occurs once."""
    colours = [channel.colour for channel in channels]
    if any(colours.count(colour) != 1 for colour in COLOURS):
        return None
    red, green, blue = (colours.index(colour) for colour in COLOURS)
    return red, green, blue


def is_grey(channels: Channels) -> bool:
    """Whether an image is grey: its first band, with no other bands but transparency."""
    shown = [channel for channel in channels if channel.colour != "alpha"]
    return len(shown) == 1 and channels[0] is shown[0]


def is_rgb(channels: Channels) -> bool:
    """Whether an image is red, green and blue, with no other bands but transparency."""
    shown = [channel for channel in channels if channel.colour != "alpha"]
    return len(shown) == 3 and rgb_places(channels) is not None


def listed(channels: Channels, numbers: Sequence[int] | None = None) -> str:
    """Return the numbers and names of bands for messages; numbers count from 1 by default."""
    numbered = zip(numbers or range(1, len(channels) + 1), channels, strict=True)
    texts = [f"{number} {channel}" for number, channel in numbered]
    more = f", and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
    return ", ".join(texts[:MOST_NAMED]) + more
