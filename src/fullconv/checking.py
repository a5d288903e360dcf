"""What values options may have. Imports nothing that is heavy."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from numbers import Integral
from typing import Any


def is_number(value: Any) -> bool:
    """Whether this is a real number, and neither NaN nor infinite."""
    try:
        return isfinite(value)
    except (TypeError, ValueError, OverflowError):  # no number, or larger than any float
        return False


def is_whole(value: Any, least: int) -> bool:
    """Whether this is a whole number of at least so much."""
    return isinstance(value, Integral) and int(value) >= least


def are_whole(values: Any, least: int) -> bool:
    """Whether this is a list or the like of whole numbers, each at least so much."""
    return isinstance(values, Iterable) and all(is_whole(value, least) for value in values)
