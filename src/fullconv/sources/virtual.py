"""Virtual rasters of GDAL (VRT): mosaics of other files, checked and rewritten.

A virtual raster may name any file, address or piece of code, and GDAL follows. So this module reads
its text, and copies the elements that are known to be harmless to a new text. Every source in it
is a file in the raster's own folder or below, and has a format that leads nowhere else (Note [A
raster is only a file]). GDAL gets the new text, never the file, so that it opens exactly what was
checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from fullconv.errors import ImageError, first_line
from fullconv.sources.gdal import (
    Opening,
    RasterioError,
    check_neighbours,
    names_overviews,
)
from fullconv.sources.starts import HFA_START, TIFF_STARTS, VRT_START
from fullconv.sources.trouble import check_regular, damaged
from fullconv.sources.xml import read_xml

MOST_BYTES = 32 * 1024**2
"""The limit of a virtual raster's text, enough for about 50,000 tiles."""

DEEPEST = 4
"""How deep virtual rasters may be nested."""

KINDS = {
    **dict.fromkeys(TIFF_STARTS, "GTiff"),
    b"\x89PNG\r\n\x1a\n\0": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51\0": "JP2OpenJPEG",
    HFA_START: "HFA",
}
"""The formats of sources, by their first bytes, and the driver that reads each."""

BINARY_WITHIN = 12
"""Every format but Imagine, whose mark ends with a zero byte, has one among its first 12 bytes.
GDAL chooses the driver of a source itself, and drivers of text, such as that of virtual rasters,
reject a zero byte."""

PLAIN = (
    *("SRS", "GeoTransform", "GCPList", "Metadata", "OverviewList", "BlockXSize", "BlockYSize"),
    *("Description", "UnitType", "Offset", "Scale", "CategoryNames", "ColorTable", "NoDataValue"),
    *("HideNoDataValue", "ColorInterp", "Histograms", "GDALRasterAttributeTable", "NODATA"),
    *("SourceBand", "SourceProperties", "SrcRect", "DstRect", "ScaleOffset", "ScaleRatio", "LUT"),
    *("UseMaskBand", "ColorTableComponent", "Exponent", "SrcMin", "SrcMax", "DstMin", "DstMax"),
    *("Clamp", "MaskValueThreshold", "NoData", "RemappedValue"),
)
"""Elements that hold numbers and names; they are copied with their contents."""

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
"""Elements that lead to sources, and the elements that each may contain."""

SUBCLASSES = (None, "", "VRTSourcedRasterBand")
"""Classes of bands that only combine sources: no raw bytes, no code, no warping."""


@dataclass
class Mosaic:
    """A checked virtual raster.

    Attributes
    ----------
    path : Path
    text : str
        Rewritten text that GDAL opens.
    parts : dict
        Files of the mosaic, in its own folder or below.
    """

    path: Path
    text: str = ""
    parts: dict[Path, None] = field(default_factory=dict)


def read_mosaic(path: Path) -> Mosaic:
    """Read and check a virtual raster.

    Raises
    ------
    ImageError
        If it is not a virtual raster, leads out of its folder, or has elements that are not read.
    """
    mosaic = Mosaic(path)
    mosaic.text = _Reader(mosaic, Path(os.path.realpath(path)).parent).text_of(path, 0)
    return mosaic


@dataclass(frozen=True)
class _Reader:
    """Checks a virtual raster and those nested in it.

    Attributes
    ----------
    mosaic : Mosaic
        Result, to which parts are added.
    root : Path
        Folder of the outermost virtual raster; every source must lie in it.
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
        if not data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((VRT_START, b"<?xml", b"<!--")):
            raise damaged(name, "it is no virtual raster")
        element = read_xml(name, data)
        if element.tag != "VRTDataset":
            raise damaged(name, f"it is a {str(element.tag)[:40]} and no virtual raster")
        folder = Path(os.path.realpath(path)).parent
        return ElementTree.tostring(self._copied(element, folder, depth), encoding="unicode")

    def _copied(
        self, element: ElementTree.Element, folder: Path, depth: int
    ) -> ElementTree.Element:
        """Return a copy of an element; refuse it if it is not known to be harmless."""
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
        """Return the rewritten element that names a source, after checking the source."""
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
        """Refuse a source that GDAL might open by a driver that leads elsewhere."""
        with open(path, "rb") as file:
            start = file.read(BINARY_WITHIN * 2)
        driver = next((kind for mark, kind in KINDS.items() if start.startswith(mark)), None)
        if driver is None or b"\0" not in start[: max(BINARY_WITHIN, len(HFA_START))]:
            raise self._refused(
                f"made of {path.name}, which is no TIFF, PNG, JPEG, JPEG 2000, Imagine file or "
                f"virtual raster"
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
