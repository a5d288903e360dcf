"""Reading XML that comes with an image, without entities, which could make it grow."""

from __future__ import annotations

from xml.etree import ElementTree

from fullconv.errors import first_line
from fullconv.sources.trouble import damaged


class _WithoutEntities(ElementTree.TreeBuilder):
    """Builds the elements, and refuses a document type, which could define entities."""

    def doctype(self, *_: object) -> None:
        raise ValueError("it defines entities of its own, by which few bytes can become gigabytes")


def read_xml(name: str, text: bytes | str) -> ElementTree.Element:
    """Return the root element of XML that comes with the file ``name``.

    Raises
    ------
    ImageError
        If the XML is not well formed, or has a document type, which could define entities.
    """
    try:
        return ElementTree.fromstring(text, ElementTree.XMLParser(target=_WithoutEntities()))
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise damaged(name, f"its XML cannot be read: {first_line(error)}") from None
