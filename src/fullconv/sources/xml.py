"""XML that came with an image, read without its power to grow."""

from __future__ import annotations

from xml.etree import ElementTree

from fullconv.errors import first_line
from fullconv.sources.trouble import damaged


class _WithoutEntities(ElementTree.TreeBuilder):
    """Builds the elements, and stops before a document can define entities of its own."""

    def doctype(self, *_: object) -> None:
        raise ValueError("it defines entities of its own, by which few bytes can become gigabytes")


def read_xml(name: str, text: bytes | str) -> ElementTree.Element:
    """Return the outermost element of XML that came with the file ``name``.

    Raises
    ------
    ImageError
        If it is not well formed, or has a document type, which could define entities.
    """
    try:
        return ElementTree.fromstring(text, ElementTree.XMLParser(target=_WithoutEntities()))
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise damaged(name, f"its XML cannot be read: {first_line(error)}") from None
