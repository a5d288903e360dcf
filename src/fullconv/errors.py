"""Every error that fullconv raises on purpose.

FullconvError                 anything below; its message is one line that says what to do
├── InputError                what was given cannot be right (also a ValueError); exit code 2
│   ├── WindowError           a window or step that contradicts the model or the image
│   └── ImageError            an image or array of the wrong size, rank, or channel count
├── ModelError                the model cannot be read or converted; exit code 3
│   ├── UnsafeModelError      reading it would run code or leave its folder
│   ├── TooLargeError         it asks for far more memory than its image and weights explain
│   └── DifferenceError       the converted network has other scores than the crops; exit code 4
├── ExportError               the converted model has no such file form; exit code 3
├── OutputError               a result cannot be written (also an OSError); exit code 3
├── DamagedError              a finished heatmap has lost scores, or they have changed; exit code 4
└── MissingExtraError         an optional package is not installed (also an ImportError); exit 3
"""

from __future__ import annotations

import re
from typing import Any

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""What libraries write into their errors to colour a terminal."""


class FullconvError(Exception):
    """Anything that fullconv refuses, with one line that says what to do.

    Attributes
    ----------
    exit_code : int
        What the command line exits with: 2 for a wrong call, 3 for what cannot be done, 4 for
        scores that are not what they claim to be.
    """

    exit_code = 3


class InputError(FullconvError, ValueError):
    """What was given cannot be right."""

    exit_code = 2


class WindowError(InputError):
    """A window or step that contradicts the model or the image."""


class ImageError(InputError):
    """An image or array of the wrong size, rank, or channel count."""


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
        Which.
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
    """What was amiss with a heatmap, and does not stop the work; no error."""


class ModelWarning(UserWarning):
    """What a model file leaves open, or was unwrapped of it, and does not stop the work."""


class ImageWarning(UserWarning):
    """What is odd about an image, or is lost of it, and does not stop the work; no error."""


def first_line(error: BaseException) -> str:
    """Return the first line of somebody else's error, short enough to stand in ours."""
    plain = COLOUR.sub("", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return (line if len(line) <= 200 else f"{line[:197]}...").rstrip(".")


def folded(error: BaseException) -> str:
    """Return somebody else's error of several lines in one, as far as its reason goes."""
    return " ".join(str(error).split())[:300].rstrip(".")
