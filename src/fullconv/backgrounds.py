"""Which class is none of what is looked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


BACKGROUNDS = ("background", "negative", "negatives", "other")
"""Names of classes that are taken for the background, in any case of letters."""


def usual_background(classes: Sequence[str]) -> str | None:
    """Return the one class whose name says that it is the background; None where none or two do."""
    named = [name for name in classes if name.casefold() in BACKGROUNDS]
    return named[0] if len(named) == 1 else None


def foreground(classes: Sequence[str], background: str | None, count: int) -> list[int]:
    """Return the numbers of all of so many classes but the background; the only one, if it is that.

    Classes behind those that have names are none of them the background.
    """
    numbers = range(count)
    return [k for k in numbers if k >= len(classes) or classes[k] != background] or [0]
