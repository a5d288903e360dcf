"""Every error that fullconv raises on purpose.

FullconvError                 anything below; its message is one line that says what to do
├── InputError                an argument or a file is wrong (also a ValueError); exit code 2
│   ├── WindowError           a window or step that contradicts the model or the image
│   └── ImageError            an image that cannot be read, or does not fit the model
├── ModelError                the model cannot be read or converted; exit code 3
│   ├── UnsafeModelError      reading it would run code or leave its folder
│   ├── TooLargeError         it asks for far more memory than its image and weights explain
│   └── DifferenceError       the converted network has other scores than the crops; exit code 4
├── ExportError               the converted model has no such file form; exit code 3
├── OutputError               a result cannot be written (also an OSError); exit code 3
├── DamagedError              a finished heatmap has lost scores, or they have changed; exit code 4
└── MissingExtraError         an optional package is not installed (also an ImportError); exit 3

HeatmapWarning, ModelWarning and ImageWarning (all a UserWarning) say what was noticed and stops
nothing.
"""

from __future__ import annotations

import re
from typing import Any

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""The codes by which libraries colour their errors in a terminal."""


class FullconvError(Exception):
    """Anything that fullconv refuses, with one line that says what to do.

    Attributes
    ----------
    exit_code : int
        Exit code of the command line: 2 for a wrong call, 3 for what cannot be done, 4 for
        scores that are not what they claim to be.
    """

    exit_code = 3


class InputError(FullconvError, ValueError):
    """An argument or a file is wrong."""

    exit_code = 2


class WindowError(InputError):
    """A window or step that contradicts the model or the image."""


class ImageError(InputError):
    """An image or array that cannot be read, or does not fit the model."""


class ModelError(FullconvError):
    """The model cannot be read or converted."""


class UnsafeModelError(ModelError):
    """Reading the model would run code from the file or leave its folder."""


class TooLargeError(ModelError):
    """The model asks for far more memory than its image and its weights explain."""


class DifferenceError(ModelError):
    """The converted network has other scores than the classifier has for the same crops."""

    exit_code = 4


class ExportError(FullconvError):
    """The converted model has no such file form."""


class OutputError(FullconvError, OSError):
    """A result cannot be written where it was asked for."""


class DamagedError(FullconvError):
    """A finished heatmap has lost scores, or they are not those that were scanned.

    Attributes
    ----------
    damage : tuple of fullconv.scanning.damage.Damage
        The damaged parts.
    """

    exit_code = 4

    def __init__(self, line: str, damage: tuple[Any, ...] = ()) -> None:
        super().__init__(line)
        self.damage = damage


class MissingExtraError(FullconvError, ImportError):
    """An optional package is needed and not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the optional packages of the {extra!r} extra, which are not installed. "
            f'Install them with: pip install "fullconv[{extra}]"'
        )
        self.extra = extra


class HeatmapWarning(UserWarning):
    """A fault of a heatmap that does not stop the work."""


class ModelWarning(UserWarning):
    """A model file left something open, or was unwrapped; this does not stop the work."""


class ImageWarning(UserWarning):
    """A fault of an image, or a loss in reading it, that does not stop the work."""


def first_line(error: BaseException) -> str:
    """Return the first line of somebody else's error, short enough to stand in ours."""
    plain = COLOUR.sub("", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return (line if len(line) <= 200 else f"{line[:197]}...").rstrip(".")


def folded(error: BaseException) -> str:
    """Return the lines of somebody else's error as one, at most 300 characters long."""
    return " ".join(str(error).split())[:300].rstrip(".")
