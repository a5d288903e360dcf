"""The background: the class of windows that show no object."""

from __future__ import annotations

from collections.abc import Sequence

BACKGROUNDS = ("background", "negative", "negatives", "other")
"""Names of classes that are taken for the background, in any case of letters."""


def usual_background(classes: Sequence[str]) -> str | None:
    """Return the one class whose name says that it is the background; None where none or two do."""
    named = [name for name in classes if name.casefold() in BACKGROUNDS]
    return named[0] if len(named) == 1 else None


def foreground(classes: Sequence[str], background: str | None, count: int) -> list[int]:
    """Return the numbers of all ``count`` classes but the background.

    Classes without a name are never the background. The only class is returned in any case.
    """
    numbers = range(count)
    return [k for k in numbers if k >= len(classes) or classes[k] != background] or [0]
