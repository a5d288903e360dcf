"""Names of classes and images that stand for numbers, or may be written in two ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_UNNAMED = re.compile(r"class \d+")


class Numbered(str):
    """A name that stands for what a COCO file calls an image or a class, mostly a number.

    Which image or class that is, only the annotations tell for which the file was made.

    Attributes
    ----------
    id : int or str
        The number; some programs call images by texts.
    """

    id: int | str

    def __new__(cls, name: str, key: int | str | None = None) -> Numbered:
        """Make a name; without a key it is its own."""
        made = super().__new__(cls, name)
        made.id = name if key is None else key
        return made


def composed(name: str) -> str:
    """Return a class name with its accents in one form (Unicode NFC), of the two that there are."""
    return name if isinstance(name, Numbered) else unicodedata.normalize("NFC", name)


def unnamed_classes(count: int) -> tuple[str, ...]:
    """Return the names of so many classes of a model that names none."""
    return tuple(f"class {number}" for number in range(count))


def only_number(classes: Sequence[str]) -> bool:
    """Whether the names of classes only number them."""
    return all(isinstance(name, Numbered) or _UNNAMED.fullmatch(name) for name in classes)
