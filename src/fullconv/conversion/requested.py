"""The windows, steps and images that users give to a conversion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, prod
from numbers import Real
from typing import Any

from fullconv.choices import ACTIVATIONS
from fullconv.errors import InputError, WindowError
from fullconv.geometry.grid import NUMBERS, Grid, Sizes
from fullconv.wording import kinds, names, size_names, sized, unit

LARGEST_SIZE = 2**31 - 1
"""The largest window and step: ONNX and most kernels count pixels in 32 bits."""

LARGEST_WINDOW = 1 << 24
"""Pixels of the largest window, 4096x4096: reading a model takes several images of its size."""

WINDOW_BYTES = 1 << 33
"""The most that the tensors of a window may take; a scan computes at least one at a time."""

SMALL_WINDOW_BYTES = 1 << 28
"""The bytes that they may take however small the window is."""

GROWTH_BYTES = 1 << 14
"""Otherwise, the bytes that they may take per number of the window: 48 times those of VGG16."""


def window_given(value: int | Sequence[int] | None) -> int | Sizes | None:
    """Read a window: a size along every axis, or one number for all that the model has."""
    if value is None:
        return None
    if _is_size(value):
        return int(value)  # type: ignore[arg-type]
    sizes = tuple(value) if isinstance(value, Iterable) else (value,)
    if sizes == ():
        sizes = (1, 1)  # a vector of features: a window of one pixel
    if len(sizes) not in NUMBERS or not all(map(_is_size, sizes)):
        raise WindowError(f"convert(window={value!r}): expected {_expected(len(sizes))}.")
    return tuple(int(size) for size in sizes)


def window_missing(model: str, dimensions: int) -> WindowError:
    """Return the error for a ``model`` of images of any size whose window is not given."""
    sizes = size_names(dimensions)
    given = ", ".join(sizes) + ("," if len(sizes) == 1 else "")
    return WindowError(
        f"convert: {model} leaves {' and '.join(sizes)} free, so the window it was trained on must "
        f"be given: window=({given}), or --window {'x'.join(map(str.upper, reversed(sizes)))}."
    )


def step_given(value: int | Sequence[int] | None, dimensions: int) -> Sizes | None:
    """Read a step: pixels along every axis, or one number for all of them."""
    if value is None:
        return None
    sizes = tuple(value) if isinstance(value, Iterable) else (value,) * dimensions
    if len(sizes) != dimensions or not all(map(_is_size, sizes)):
        alike = {1: "", 2: ", or one for both", 3: ", or one for all"}[dimensions]
        raise WindowError(
            f"convert(step={value!r}): expected {_expected(dimensions)}{alike}"
            f"{_rank(sizes, dimensions)}. Any whole number of {unit(dimensions, many=True)} can "
            f"be had; the divisors and multiples of the network's own stride are the cheapest."
        )
    return tuple(int(size) for size in sizes)


def axes_of_rank(rank: int, length: int) -> int:
    """Return the number of axes of windows with one length, for a model of images of a rank.

    ``(N, A, B)`` is channels and one axis, as for convolutions over one axis. With ``(N, A)``, a
    window of one pixel is a vector of features, and any other an interval without channels.
    """
    if rank == 2:
        return 2 if length == 1 else 1
    return max(1, rank - 2)


def image_given(image: int | Sequence[int] | None, grid: Grid) -> Sizes:
    """Read the size of an image, or one number for all its axes; empty where none is given."""
    if image is None:
        return ()
    sizes = tuple(image) if isinstance(image, Iterable) else (image,) * grid.dimensions
    if not all(map(_is_size, sizes)):
        raise InputError(f"convert(image={image!r}): expected {_expected(grid.dimensions)}.")
    if len(sizes) != grid.dimensions:
        of = f"a size along {len(sizes)} ax{'i' if len(sizes) == 1 else 'e'}s"
        flag = f" (--image {sized(sizes)})" if sizes else ""
        raise InputError(
            f"image={image!r}{flag}: the model takes {kinds(grid.dimensions)}; "
            f"expected {_expected(grid.dimensions)}; got {of}."
        )
    size = tuple(int(length) for length in sizes)
    grid.shape(size)
    return size


def check_activation(activation: str) -> None:
    """Refuse a name that is no activation."""
    if activation not in ACTIVATIONS:
        raise InputError(
            f"convert(activation={activation!r}): expected one of {', '.join(ACTIVATIONS)}."
        )


def check_window(window: Sizes | None) -> None:
    """Refuse a window that takes gigabytes before a network is read."""
    if window is not None and prod(window) > LARGEST_WINDOW:
        things = unit(len(window), many=True)
        raise WindowError(
            f"convert(window={window}): {prod(window) / 1e6:.0f} million {things} in a window, and "
            f"fullconv takes up to {LARGEST_WINDOW / 1e6:.0f} (4096x4096); give the size of the "
            f"crops that the model was trained on."
        )


def check_memory(window: Sizes, window_bytes: int, numbers: int) -> None:
    """Refuse a network whose tensors of a window take gigabytes, or far more than its numbers."""
    most = min(WINDOW_BYTES, max(SMALL_WINDOW_BYTES, GROWTH_BYTES * numbers))
    if window_bytes > most:
        raise WindowError(
            f"convert(window={window}): the network takes {window_bytes / 1e9:.1f} GB for a single "
            f"window, and fullconv up to {most / 1e9:.1f}; give the size of the crops that the "
            f"model was trained on."
        )


def _expected(dimensions: int) -> str:
    dimensions = dimensions if dimensions in NUMBERS else 2
    return f"{NUMBERS[dimensions]} of at least 1 {unit(dimensions)}, {names(dimensions)}"


def _rank(sizes: Sizes, dimensions: int) -> str:
    """Return the number of axes of a size for a message, where that number is wrong."""
    if len(sizes) == dimensions or not all(map(_is_size, sizes)):
        return ""
    return f"; got numbers for {len(sizes)} ax{'i' if len(sizes) == 1 else 'e'}s"


def _is_size(number: Any) -> bool:
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    return (
        is_number
        and number >= 1
        and isfinite(number)
        and int(number) == number
        and number <= LARGEST_SIZE
    )
