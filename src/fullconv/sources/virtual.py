"""Virtual rasters of GDAL (VRT): mosaics of other files, checked and written anew.

A virtual raster may name any file, address or piece of code, and GDAL follows. So its text is read
here; what is known to be harmless is copied into a new text, in which every source is a file in
the raster's own folder or below, and of a kind that leads nowhere else (Note [A raster is only a
file]). GDAL is given that text, never the file: what was checked is what is opened.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from fullconv.errors import ImageError, first_line
from fullconv.sources.gdal import (
    HFA_START,
    TIFF_STARTS,
    Opening,
    RasterioError,
    check_neighbours,
    names_overviews,
)
from fullconv.sources.trouble import check_regular, damaged
from fullconv.sources.xml import read_xml

START = b"<VRTDataset"

MOST_BYTES = 32 * 1024**2
"""A mosaic of 50,000 tiles takes about so much text."""

DEEPEST = 4
"""So many virtual rasters may lie in one another."""

KINDS = {
    **dict.fromkeys(TIFF_STARTS, "GTiff"),
    b"\x89PNG\r\n\x1a\n\0": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51\0": "JP2OpenJPEG",
    HFA_START: "HFA",
}
"""What sources may be, by their first bytes, and the driver that reads them."""

BINARY_WITHIN = 12
"""All of these have a zero byte among their first so many. GDAL chooses the driver of a source by
itself; those that look for text, as for that of a virtual raster, give up at a zero."""

PLAIN = (
    *("SRS", "GeoTransform", "GCPList", "Metadata", "OverviewList", "BlockXSize", "BlockYSize"),
    *("Description", "UnitType", "Offset", "Scale", "CategoryNames", "ColorTable", "NoDataValue"),
    *("HideNoDataValue", "ColorInterp", "Histograms", "GDALRasterAttributeTable", "NODATA"),
    *("SourceBand", "SourceProperties", "SrcRect", "DstRect", "ScaleOffset", "ScaleRatio", "LUT"),
    *("UseMaskBand", "ColorTableComponent", "Exponent", "SrcMin", "SrcMax", "DstMin", "DstMax"),
    *("Clamp", "MaskValueThreshold", "NoData", "RemappedValue"),
)
"""Elements that hold numbers and names, which are copied with all that is in them."""

WITHIN = {
    "VRTDataset": ("VRTRasterBand", "MaskBand"),
    "VRTRasterBand": (
        *("SimpleSource", "ComplexSource", "NoDataFromMaskSource"),
        *("Overview", "MaskBand"),
    ),
    "MaskBand": ("VRTRasterBand",),
    **dict.fromkeys(
        ("SimpleSource", "ComplexSource", "NoDataFromMaskSource", "Overview"), ("SourceFilename",)
    ),
}
"""Elements that lead to sources, and which of them may stand in which."""

SUBCLASSES = (None, "", "VRTSourcedRasterBand")
"""Bands that only put sources together: no raw bytes, no code, no warping."""


@dataclass
class Mosaic:
    """A checked virtual raster.

    Attributes
    ----------
    path : Path
    text : str
        What GDAL is given.
    parts : dict
        Every file that it is made of, of its own folder or below.
    """

    path: Path
    text: str = ""
    parts: dict[Path, None] = field(default_factory=dict)


def read_mosaic(path: Path) -> Mosaic:
    """Read and check a virtual raster.

    Raises
    ------
    ImageError
        If it is no virtual raster, leads out of its folder, or holds what is not read.
    """
    mosaic = Mosaic(path)
    mosaic.text = _Reader(mosaic, Path(os.path.realpath(path)).parent).text_of(path, 0)
    return mosaic


@dataclass(frozen=True)
class _Reader:
    """Checks one virtual raster and those that lie in it.

    Attributes
    ----------
    mosaic : Mosaic
        Gathers the parts.
    root : Path
        The folder of the outermost, which no source may leave.
    """

    mosaic: Mosaic
    root: Path

    def text_of(self, path: Path, depth: int) -> str:
        name = str(path)
        check_regular(path)
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ImageError(
                f"{name} is a virtual raster of {size / 1e6:.0f} MB, and fullconv reads up to "
                f"{MOST_BYTES / 1e6:.0f}; save the mosaic as a tiled TIFF."
            )
        data = path.read_bytes()
        if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((START, b"<?xml", b"<!--")):
            raise damaged(name, "it is no virtual raster")
        element = read_xml(name, data)
        if element.tag != "VRTDataset":
            raise damaged(name, f"it is a {str(element.tag)[:40]} and no virtual raster")
        folder = Path(os.path.realpath(path)).parent
        return ElementTree.tostring(self._copied(element, folder, depth), encoding="unicode")

    def _copied(
        self, element: ElementTree.Element, folder: Path, depth: int
    ) -> ElementTree.Element:
        """Return what is harmless of an element; refuse the rest."""
        subclass = element.get("subClass")
        if subclass not in (SUBCLASSES if element.tag == "VRTRasterBand" else SUBCLASSES[:2]):
            raise self._refused(f"of the kind {str(subclass)[:60]}")
        copy = ElementTree.Element(element.tag, element.attrib)
        copy.text = element.text
        for child in element:
            if child.tag in PLAIN:
                self._check_plain(child)
                copy.append(child)
            elif child.tag == "SourceFilename" and "SourceFilename" in WITHIN[element.tag]:
                copy.append(self._source(child, folder, depth))
            elif child.tag in WITHIN[element.tag]:
                copy.append(self._copied(child, folder, depth))
            else:
                raise self._refused(f"with the element {str(child.tag)[:60]}")
        return copy

    def _check_plain(self, element: ElementTree.Element) -> None:
        if element.tag == "Metadata" and element.get("domain", "").casefold() == "overviews":
            raise self._refused("whose overviews lie in a file of another name")

    def _source(
        self, element: ElementTree.Element, folder: Path, depth: int
    ) -> ElementTree.Element:
        """Return the element that names a source, after checking it."""
        named = (element.text or "").strip()
        is_relative = "1" in (element.get("relativeToVRT"), element.get("relativetoVRT"))
        path = Path(os.path.realpath(os.path.join(folder if is_relative else "", named)))
        if "\0" in named or not named or not path.is_relative_to(self.root):
            raise self._refused(
                f"that names {named[:120]!r}, outside its own folder", "Put its sources beside it"
            )
        if not path.is_file():
            raise self._refused(
                f"that names {named[:120]!r}, which is no file", "Put its sources beside it"
            )
        copy = ElementTree.Element("SourceFilename", {"relativeToVRT": "0"})
        if "shared" in element.attrib:
            copy.set("shared", element.attrib["shared"])
        copy.text = str(path)
        if path.suffix.lower() == ".vrt":
            if depth + 1 >= DEEPEST:
                raise self._refused(f"with more than {DEEPEST} virtual rasters in one another")
            copy.text = self.text_of(path, depth + 1)
        elif path not in self.mosaic.parts:
            self._check_part(path)
        self.mosaic.parts[path] = None
        return copy

    def _check_part(self, path: Path) -> None:
        """Refuse a source that GDAL might take for something that leads elsewhere."""
        with open(path, "rb") as file:
            start = file.read(BINARY_WITHIN * 2)
        driver = next((kind for mark, kind in KINDS.items() if start.startswith(mark)), None)
        if driver is None or b"\0" not in start[: max(BINARY_WITHIN, len(HFA_START))]:
            raise self._refused(
                f"made of {path.name}, and only of TIFF, PNG, JPEG, JPEG 2000, Imagine and "
                f"further virtual rasters they are read"
            )
        check_neighbours(path)
        try:
            with Opening(path, driver).opened() as dataset:
                leads_on = names_overviews(dataset)
        except RasterioError as error:
            raise damaged(str(self.mosaic.path), f"{path.name}: {first_line(error)}") from None
        if leads_on:
            raise self._refused(f"made of {path.name}, whose overviews lie in another file")

    def _refused(self, what: str, todo: str = "") -> ImageError:
        todo = todo or "Save the mosaic as a tiled TIFF (gdal_translate), if you trust it"
        return ImageError(
            f"{self.mosaic.path} is a virtual raster {what}; fullconv does not follow it. {todo}."
        )
