"""Names of classes and images that stand for numbers, or may be written in two ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_UNNAMED = re.compile(r"class \d+")


class Numbered(str):
    """A name that stands for the id of an image or a class in a COCO file, mostly a number.

    Only the annotations for which the file was made name the image or class of the id.

    Attributes
    ----------
    id : int or str
        The id; some programs use texts for images.
    """

    id: int | str

    def __new__(cls, name: str, key: int | str | None = None) -> Numbered:
        """Make a name; without a key, the name is its own id."""
        made = super().__new__(cls, name)
        made.id = name if key is None else key
        return made


def composed(name: str) -> str:
    """Return a class name with its accents in Unicode's composed form (NFC)."""
    return name if isinstance(name, Numbered) else unicodedata.normalize("NFC", name)


def unnamed_classes(count: int) -> tuple[str, ...]:
    """Return the names of ``count`` classes of a model that names none."""
    return tuple(f"class {number}" for number in range(count))


def only_number(classes: Sequence[str]) -> bool:
    """Whether the names of classes only number them."""
    return all(isinstance(name, Numbered) or _UNNAMED.fullmatch(name) for name in classes)
