"""The size of a TIFF's pixels, from its tags and its makers' metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

from fullconv.geometry.placement import Space
from fullconv.sources.lengths import INCH_UM, um_of, unknown
from fullconv.sources.source import Resolution
from fullconv.sources.xml import read_xml

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

UM_PER_UNIT = {2: INCH_UM, 3: 10000.0}
"""Micrometres in an inch and a centimetre, by the tag ResolutionUnit."""

MOST_DIGITS = 6
"""Numbers of more decimal places are treated as exact."""

SPACING = "Attribute[@Name='DICOM_PIXEL_SPACING']"
REPRESENTATION = ".//DataObject[@ObjectType='PixelDataRepresentation']"

HABITS_DPI = (72, 96, 100, 150, 180, 200, 240, 250, 300, 350, 360, 400, 600, 1200)
"""Resolutions for print that cameras, scanners and editors write regardless of the picture."""


def resolution(tiff: TiffFile, page: TiffPage) -> Resolution | None:
    """Return micrometres per pixel (row, column) of the image on a page, or None.

    The first of these is used: OME metadata, Aperio's description (``MPP``), Philips' spacing,
    ImageJ's unit, and the resolution tags, unless they hold one of `HABITS_DPI`.
    """
    if tiff.is_ome:
        um = _of_ome(read_xml(tiff.filename, tiff.ome_metadata or ""))
    elif tiff.is_svs:
        um = of_aperio(page.description)
    elif tiff.is_philips:
        um = next(((mm.y * 1000, mm.x * 1000) for mm in philips_spacings(tiff)), None)
    else:
        um = _of_imagej(tiff, page) or _of_tags(page)
    return um if um is not None and min(um) > 0 else None


@dataclass(frozen=True)
class Spacing:
    """The declared side of a pixel, in any unit.

    Attributes
    ----------
    y, x : float
    rounding : float
        Largest relative rounding error of the numbers.
    """

    y: float
    x: float
    rounding: float


def _rounding(*numbers: float) -> float:
    """Return the relative rounding error of a length: the largest over ``numbers``.

    The numbers are the same length in the units in which it may have been written. A resolution of
    37 per inch stands for 36.5 to 37.5, and 0.25 micrometres for 0.245 to 0.255.
    """
    parts = [0.0]
    for number in numbers:
        for digits in range(MOST_DIGITS + 1):
            shown = number * 10**digits
            if round(shown) >= 1 and abs(shown - round(shown)) <= 1e-6 * shown:
                parts.append(0.5 / shown)
                break
    return max(parts)


def philips_spacings(tiff: TiffFile) -> list[Spacing]:
    """Return the pixel spacing of every level of a Philips slide, in millimetres."""
    xml = tiff.philips_metadata
    if xml is None:
        return []
    root = read_xml(tiff.filename, xml)
    elements = root.findall(f"{REPRESENTATION}/{SPACING}") or root.findall(f".//{SPACING}")
    numbers = [
        [float(n) for n in (element.text or "").replace('"', "").split()] for element in elements
    ]
    return [
        Spacing(pair[0], pair[1], max(_rounding(mm * 1000) for mm in pair))
        for pair in numbers
        if len(pair) == 2 and min(pair) > 0
    ]


def space_of(name: str, tiff: TiffFile, page: TiffPage) -> tuple[Space | None, tuple[str, ...]]:
    """Return the coordinates of the image on a page, and lines about metadata that is not used.

    OME's position of the first plane is read as that of the centre of its first pixel, like
    OME-Zarr's translations.
    """
    um = resolution(tiff, page)
    space = um and Space.of_resolution(um)
    said = tuple(line for unit in _units(tiff) for line in unknown(name, unit))
    if tiff.is_ome:
        root = read_xml(name, tiff.ome_metadata or "")
        plane = root.find("{*}Image/{*}Pixels/{*}Plane")
        texts = [] if plane is None else [plane.get(f"Position{axis}") for axis in "YX"]
        if plane is not None and None not in texts:
            units = [plane.get(f"Position{axis}Unit", "reference frame") for axis in "YX"]
            space, more = _at(name, space, [float(one or 0) for one in texts], units)
            return space, said + more
    at = [_rational(page.tags.valueof(tag)) for tag in (287, 286)]
    if any(at):
        unit = {2: "inches", 3: "cm"}.get(int(page.tags.valueof(296, 2)), "units")
        line = f"{name} lies {at[1]:.6g} and {at[0]:.6g} {unit} from a corner by its tags"
        return space, (*said, f"{line} XPosition and YPosition, which fullconv does not use.")
    return space, said


def _units(tiff: TiffFile) -> list[str]:
    """Return the units of OME's or ImageJ's metadata, where they name one."""
    if tiff.is_ome:
        pixels = read_xml(tiff.filename, tiff.ome_metadata or "").find("{*}Image/{*}Pixels")
        texts = [] if pixels is None else [pixels.get(f"PhysicalSize{axis}Unit") for axis in "YX"]
        return list(dict.fromkeys(unit for unit in texts if unit))
    unit = str((tiff.imagej_metadata or {}).get("unit", ""))
    return [unit.replace("\\u00B5", "u")]


def _at(
    name: str, space: Space | None, position: list[float], units: list[str]
) -> tuple[Space | None, tuple[str, ...]]:
    """Return a space that begins at a position (row, column), or the same one and the reason."""
    lengths = [um_of(unit) for unit in units]
    if not any(position):
        return space, ()
    y, x = (n * (um or 1.0) for n, um in zip(position, lengths, strict=True))
    if space is not None and None not in lengths and isfinite(y) and isfinite(x):
        return replace(space, translation=(y, x)), ()
    why = "its pixels have no size" if space is None else f"{units[1]!r} is no unit of length"
    line = f"{name} lies at x {position[1]:.6g}, y {position[0]:.6g} by its OME metadata"
    return space, (f"{line}, not used here: {why}.",)


def _rational(value: Any) -> float:
    try:
        return float(value[0] / value[1])
    except (TypeError, IndexError, ZeroDivisionError):
        return 0.0


def _of_ome(root: Element) -> Resolution | None:
    pixels = root.find("{*}Image/{*}Pixels")
    if pixels is None:
        return None
    sizes = []
    for axis in "YX":
        unit = um_of(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        size = pixels.get(f"PhysicalSize{axis}")
        if unit is None or size is None:
            return None
        sizes.append(float(size) * unit)
    return sizes[0], sizes[1]


def of_aperio(description: str) -> Resolution | None:
    """Return the micrometres per pixel in Aperio's description (``MPP``); None without any."""
    match = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", description)
    return None if match is None else (float(match[1]), float(match[1]))


def aperio_spacing(description: str) -> Spacing | None:
    """Return the micrometres per pixel in Aperio's description with their rounding error."""
    um = of_aperio(description)
    return None if um is None or min(um) <= 0 else Spacing(*um, _rounding(um[0]))


def _of_imagej(tiff: TiffFile, page: TiffPage) -> Resolution | None:
    unit = um_of(str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "u"))
    per_unit = _per_unit(page)
    # ImageJ uses inches where it has opened a picture with a resolution for print.
    if unit is None or per_unit is None or (unit == INCH_UM and _is_habit(per_unit, unit)):
        return None
    return unit / per_unit[0], unit / per_unit[1]


def _of_tags(page: TiffPage) -> Resolution | None:
    per_unit = _per_unit(page)
    um = UM_PER_UNIT.get(int(page.tags.valueof(296, 2)))
    if (
        per_unit is None
        or um is None
        or _is_habit(per_unit, um)
        or min(per_unit) * INCH_UM / um < 72
    ):
        return None
    return um / per_unit[0], um / per_unit[1]


def _is_habit(per_unit: Resolution, um: float) -> bool:
    """Whether pixels per unit of ``um`` micrometres are one of `HABITS_DPI`."""
    dpi = [n * INCH_UM / um for n in per_unit]
    # Tolerance of 1.5 %: 72 dpi is also written as 28 per centimetre.
    return any(abs(n / habit - 1) < 0.015 for n in dpi for habit in HABITS_DPI)


def spacing_of_tags(page: TiffPage) -> Spacing | None:
    """Return the pixel spacing of a page, in the unit of its resolution tags."""
    per_unit = _per_unit(page)
    if per_unit is None:
        return None
    um = UM_PER_UNIT.get(int(page.tags.valueof(296, 2)), 1.0)
    return Spacing(1 / per_unit[0], 1 / per_unit[1], max(_rounding(n, um / n) for n in per_unit))


def _per_unit(page: TiffPage) -> tuple[float, float] | None:
    """Return the tags YResolution and XResolution, in pixels per unit; None without them."""
    values: list[Any] = [page.tags.valueof(tag) for tag in (283, 282)]
    if any(value is None or value[0] <= 0 or value[1] <= 0 for value in values):
        return None
    return values[0][0] / values[0][1], values[1][0] / values[1][1]
