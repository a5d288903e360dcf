"""How large the pixels of a TIFF are, from the places where its makers write that."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

from fullconv.placement import Space
from fullconv.sources.lengths import INCH_UM, um_of, unknown
from fullconv.sources.source import Resolution
from fullconv.sources.xml import read_xml

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

UM_PER_UNIT = {2: INCH_UM, 3: 10000.0}
"""Micrometres in an inch and a centimetre, by the tag ResolutionUnit."""

MOST_DIGITS = 6
"""Numbers of more digits after the point are not rounded so that it matters."""

SPACING = "Attribute[@Name='DICOM_PIXEL_SPACING']"
REPRESENTATION = ".//DataObject[@ObjectType='PixelDataRepresentation']"

HABITS_DPI = (72, 96, 100, 150, 180, 200, 240, 250, 300, 350, 360, 400, 600, 1200)
"""What cameras, scanners and editors write whatever the picture shows: a wish for its print."""


def resolution(tiff: TiffFile, page: TiffPage) -> Resolution | None:
    """Return micrometres per pixel (row, column) of the image on a page, or None.

    OME metadata, Aperio's description (``MPP``), Philips' spacing, ImageJ's unit and the
    resolution tags are asked in this order; the tags only where they hold none of `HABITS_DPI`.
    """
    if tiff.is_ome:
        found = _of_ome(read_xml(tiff.filename, tiff.ome_metadata or ""))
    elif tiff.is_svs:
        found = of_aperio(page.description)
    elif tiff.is_philips:
        found = next(((mm.y * 1000, mm.x * 1000) for mm in philips_spacings(tiff)), None)
    else:
        found = _of_imagej(tiff, page) or _of_tags(page)
    return found if found is not None and min(found) > 0 else None


@dataclass(frozen=True)
class Spacing:
    """The length of pixels, in whatever unit, as it was written.

    Attributes
    ----------
    y, x : float
    rounding : float
        By which part of it the number may have been rounded.
    """

    y: float
    x: float
    rounding: float


def _rounding(*numbers: float) -> float:
    """Return by which part the first digits of numbers may be rounded, of the coarsest of them.

    They are of one length, in the units in which it may have been written: a resolution of 37 per
    inch stands for 36.5 to 37.5, and 0.25 micrometres for 0.245 to 0.255.
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
    """Return millimetres between the pixels of every level of a Philips slide."""
    xml = tiff.philips_metadata
    if xml is None:
        return []
    root = read_xml(tiff.filename, xml)
    held = root.findall(f"{REPRESENTATION}/{SPACING}") or root.findall(f".//{SPACING}")
    numbers = [[float(n) for n in (one.text or "").replace('"', "").split()] for one in held]
    return [
        Spacing(pair[0], pair[1], max(_rounding(mm * 1000) for mm in pair))
        for pair in numbers
        if len(pair) == 2 and min(pair) > 0
    ]


def space_of(name: str, tiff: TiffFile, page: TiffPage) -> tuple[Space | None, tuple[str, ...]]:
    """Return the coordinates of the image on a page, and what is said of its place in vain.

    OME's positions of the first plane are taken for those of the centre of its first pixel, as
    OME-Zarr's translations are.
    """
    um = resolution(tiff, page)
    space = um and Space.of_resolution(um)
    said = tuple(line for unit in _units(tiff) for line in unknown(name, unit))
    if tiff.is_ome:
        root = read_xml(name, tiff.ome_metadata or "")
        plane = root.find("{*}Image/{*}Pixels/{*}Plane")
        told = [] if plane is None else [plane.get(f"Position{axis}") for axis in "YX"]
        if plane is not None and None not in told:
            units = [plane.get(f"Position{axis}Unit", "reference frame") for axis in "YX"]
            space, more = _at(name, space, [float(one or 0) for one in told], units)
            return space, said + more
    at = [_rational(page.tags.valueof(tag)) for tag in (287, 286)]
    if any(at):
        unit = {2: "inches", 3: "cm"}.get(int(page.tags.valueof(296, 2)), "units")
        line = f"{name} lies {at[1]:.6g} and {at[0]:.6g} {unit} from a corner by its tags"
        return space, (*said, f"{line} XPosition and YPosition, which fullconv does not use.")
    return space, said


def _units(tiff: TiffFile) -> list[str]:
    """Return the units in which OME or ImageJ count, where they name one."""
    if tiff.is_ome:
        pixels = read_xml(tiff.filename, tiff.ome_metadata or "").find("{*}Image/{*}Pixels")
        told = [] if pixels is None else [pixels.get(f"PhysicalSize{axis}Unit") for axis in "YX"]
        return list(dict.fromkeys(unit for unit in told if unit))
    unit = str((tiff.imagej_metadata or {}).get("unit", ""))
    return [unit.replace("\\u00B5", "u")]


def _at(
    name: str, space: Space | None, position: list[float], units: list[str]
) -> tuple[Space | None, tuple[str, ...]]:
    """Return a space that begins at a position (row, column); with a line where it cannot."""
    lengths = [um_of(unit) for unit in units]
    if not any(position):
        return space, ()
    y, x = (n * (um or 1.0) for n, um in zip(position, lengths, strict=True))
    if space is not None and None not in lengths and isfinite(y) and isfinite(x):
        return replace(space, translation=(y, x)), ()
    why = "its pixels have no size" if space is None else f"{units[1]!r} is no unit of length"
    line = f"{name} lies at x {position[1]:.6g}, y {position[0]:.6g} by its OME metadata"
    return space, (f"{line}, not used here: {why}.",)


def _rational(told: Any) -> float:
    try:
        return float(told[0] / told[1])
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
    """Return micrometres per pixel as Aperio's description says (``MPP``)."""
    found = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", description)
    return None if found is None else (float(found[1]), float(found[1]))


def aperio_spacing(description: str) -> Spacing | None:
    """Return the same with how far it may be rounded."""
    um = of_aperio(description)
    return None if um is None or min(um) <= 0 else Spacing(*um, _rounding(um[0]))


def _of_imagej(tiff: TiffFile, page: TiffPage) -> Resolution | None:
    unit = um_of(str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "u"))
    per_unit = _per_unit(page)
    # ImageJ counts in inches where it has opened a picture that wishes for a size in print.
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
    """Whether pixels per so many micrometres are one of `HABITS_DPI`."""
    dpi = [n * INCH_UM / um for n in per_unit]
    # One in a hundred, since 72 dpi is also written as 28 per centimetre.
    return any(abs(n / habit - 1) < 0.015 for n in dpi for habit in HABITS_DPI)


def spacing_of_tags(page: TiffPage) -> Spacing | None:
    """Return the length of a page's pixels in the unit of its resolution tags."""
    per_unit = _per_unit(page)
    if per_unit is None:
        return None
    um = UM_PER_UNIT.get(int(page.tags.valueof(296, 2)), 1.0)
    return Spacing(1 / per_unit[0], 1 / per_unit[1], max(_rounding(n, um / n) for n in per_unit))


def _per_unit(page: TiffPage) -> tuple[float, float] | None:
    """Return the tags YResolution and XResolution, pixels per unit."""
    values: list[Any] = [page.tags.valueof(tag) for tag in (283, 282)]
    if any(value is None or value[0] <= 0 or value[1] <= 0 for value in values):
        return None
    return values[0][0] / values[0][1], values[1][0] / values[1][1]
