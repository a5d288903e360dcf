"""The axis of the channels: second in our own code, last in Keras and in its exports."""

from __future__ import annotations

from typing import Any

import numpy as np


def to_map_order(rank: int) -> tuple[int, ...]:
    """Return the permutation of ``(N, *size, C)`` to ``(N, C, *size)``."""
    return (0, rank - 1, *range(1, rank - 1))


def to_last_order(rank: int) -> tuple[int, ...]:
    """Return the permutation of ``(N, C, *size)`` to ``(N, *size, C)``."""
    return (0, *range(2, rank), 1)


def to_map(images: Any) -> Any:
    """Turn ``(N, *size, C)`` into ``(N, C, *size)``, without a copy."""
    return np.moveaxis(images, -1, 1)


def to_last(images: Any) -> Any:
    """Turn ``(N, C, *size)`` into ``(N, *size, C)``, without a copy."""
    return np.moveaxis(images, 1, -1)


def scores_to_map(scores: Any, dimensions: int) -> Any:
    """Turn ``(N, *windows, ...)`` into ``(N, ..., *windows)``, without a copy."""
    return np.moveaxis(scores, range(1, 1 + dimensions), range(-dimensions, 0))


def scores_to_last(scores: Any, dimensions: int) -> Any:
    """Turn ``(N, ..., *windows)`` into ``(N, *windows, ...)``, without a copy."""
    return np.moveaxis(scores, range(-dimensions, 0), range(1, 1 + dimensions))
