"""The truth in Pascal VOC's format: a folder of XML files, one for each image.

Everingham and Winn, "The PASCAL Visual Object Classes Challenge 2012 Development Kit": pixels are
counted from 1, and the last one belongs to the box. Here a box is half-open and counted from 0, so
(xmin, ymin, xmax, ymax) is (xmin - 1, ymin - 1, xmax, ymax).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from fullconv.errors import InputError, first_line
from fullconv.sources.folders import files_below


class VocBox(NamedTuple):
    """One object of an annotation."""

    box: tuple[float, float, float, float]
    label: str
    ignored: bool


class _Builder(ElementTree.TreeBuilder):
    """Builds elements, and refuses document types: their entities grow without bound."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse a document type; annotations have none."""
        raise InputError("it declares a document type (DOCTYPE), and annotations have none")


def read_voc(folder: Path) -> Iterator[tuple[str, list[VocBox]]]:
    """Yield (name of the image, its objects) for every XML file of a folder and below, by name.

    The image is named by its annotation's path in the folder, without ``.xml``, as the VOC
    development kit does. A box that is marked without an extent (xmax = xmin) has no area here
    either.

    Raises
    ------
    InputError
        If there is no XML file, or one does not hold an annotation.
    """
    below = files_below(folder, lambda path: not path.name.startswith("."))
    paths = sorted(path for path in below if path.suffix.lower() == ".xml")
    if not paths:
        raise InputError(
            f"{folder}: no .xml file in this folder; give the folder of Pascal VOC annotations, "
            f"or a COCO .json file."
        )
    for path in paths:
        if not path.name.startswith("."):
            yield path.relative_to(folder).with_suffix("").as_posix(), _objects(path)


def _objects(path: Path) -> list[VocBox]:
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(path.read_bytes())
        root = parser.close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except InputError as error:
        raise InputError(f"{path} is not read: {error}; remove it from the file.") from None
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(
            f"{path} is not XML, or cut short ({first_line(error)}); copy or save it again."
        ) from None
    if root.tag != "annotation":
        raise InputError(
            f"{path}: expected a Pascal VOC <annotation>; got <{root.tag}>. Keep other XML files "
            f"in a folder of their own."
        )
    return [_object(element, path) for element in root.iter("object")]


def _object(element: ElementTree.Element, path: Path) -> VocBox:
    name = (element.findtext("name") or "").strip()
    edges = []
    for edge in ("xmin", "ymin", "xmax", "ymax"):
        try:
            edges.append(float(element.findtext(f"bndbox/{edge}") or ""))
        except ValueError:
            raise InputError(
                f"{path}: an object {name!r} has no number in bndbox/{edge}; correct the "
                f"annotation."
            ) from None
    if not name:
        raise InputError(f"{path}: an object has no name; correct the annotation.")
    x0, y0, x1, y1 = edges
    empty = x1 <= x0 or y1 <= y0
    box = (x0, y0, x0, y0) if empty else (x0 - 1, y0 - 1, x1, y1)
    difficult = (element.findtext("difficult") or "0").strip() == "1"
    return VocBox(box, name, difficult)
