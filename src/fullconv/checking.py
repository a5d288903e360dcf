"""Checks of option values. This module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from numbers import Integral
from typing import Any


def is_number(value: Any) -> bool:
    """Whether this is a finite real number."""
    try:
        return isfinite(value)
    except (TypeError, ValueError, OverflowError):  # not a number, or larger than any float
        return False


def is_whole(value: Any, least: int) -> bool:
    """Whether this is a whole number of at least ``least``."""
    return isinstance(value, Integral) and int(value) >= least


def are_whole(values: Any, least: int) -> bool:
    """Whether this is an iterable of whole numbers, each at least ``least``."""
    return isinstance(values, Iterable) and all(is_whole(value, least) for value in values)
