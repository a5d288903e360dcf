"""Text files of boxes: how they are read, and how numbers are written to read back unchanged."""

from __future__ import annotations

import json
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from pathlib import Path
from typing import Any

from fullconv.errors import InputError, first_line

_EXACT = Context(prec=1000, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Exact for every sum and difference of two floats, which have digits from 10^308 to 10^-324."""


def read_text(path: Path) -> str:
    """Return a text file.

    Raises
    ------
    InputError
        If it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or first_line(error)}; check the path."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file in UTF-8.") from None


def load_json(text: str) -> Any:
    """Return the value in a JSON text.

    Raises
    ------
    InputError
        If it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise InputError(
            f"not JSON, or cut short ({first_line(error)}); copy or save it again."
        ) from None
    except RecursionError:
        raise InputError("nested too deeply to be read.") from None


def dump_json(value: Any) -> str:
    """Return JSON in one line, without escapes for letters beyond ASCII."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def difference(start: float, stop: float) -> str:
    """Return the distance from ``start`` to ``stop``, with all digits.

    A float rarely represents the difference of two others exactly, and `end` needs all digits.
    """
    exact = _EXACT.subtract(Decimal(repr(stop)), Decimal(repr(start)))
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def end(start: str, difference: str) -> float:
    """Return the number at a distance from ``start``, the inverse of `difference` to the last bit.

    Raises
    ------
    ValueError
        If one of them is no number.
    """
    first, far = float(start), float(difference)
    exact = [Decimal(number.strip()) for number in (start, difference)]
    # A distance may be finite and beyond all floats.
    if not all(number.is_finite() for number in exact):
        return first + far
    return float(_EXACT.add(*exact))
