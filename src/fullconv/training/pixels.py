"""The pixels of crops in memory: one size, one number of channels, one type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError, InputError
from fullconv.geometry.grid import HeightWidth
from fullconv.preprocessing import Preprocessing
from fullconv.sources import fit_channels, open_source, resized
from fullconv.sources.channels import natural_channels
from fullconv.sources.source import Source
from fullconv.training.crops import Crop

FULL = {"uint8": 255, "uint16": 65535}
"""The largest pixel value, for the types whose range is known."""


@dataclass(frozen=True, eq=False)
class Pixels:
    """Crops of one size.

    Attributes
    ----------
    pixels : numpy.ndarray
        ``(N, C, h, w)``, as the pictures store them: uint8, uint16, or float32.
    labels : numpy.ndarray
        ``(N,)`` int64.
    """

    pixels: NDArray[Any]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def followed_by(self, more: Pixels) -> Pixels:
        """Return these crops followed by others of the same size."""
        return Pixels(
            np.concatenate([self.pixels, more.pixels]), np.concatenate([self.labels, more.labels])
        )

    def chosen(self, which: NDArray[np.bool_]) -> Pixels:
        """Return the crops that a mask selects."""
        return Pixels(self.pixels[which], self.labels[which])


@dataclass(frozen=True)
class CropFormat:
    """The format that all crops of a training share.

    Attributes
    ----------
    window : (int, int)
        Height and width.
    channels : int
        1 if all crops are grey; 3 if some are grey and some in colour; else their number of bands.
    dtype : str
        "uint8", "uint16" or "float32".
    """

    window: HeightWidth
    channels: int
    dtype: str


@dataclass(frozen=True)
class LeftOut:
    """A picture that cannot be read, and why."""

    path: Path
    line: str


@dataclass(frozen=True)
class Inspected:
    """The result of `inspect`: the shared format, and the crops that can be read."""

    kind: CropFormat
    crops: tuple[Crop, ...]
    brought: int
    left_out: tuple[LeftOut, ...]


def inspect(crops: Sequence[Crop], window: HeightWidth | None) -> Inspected:
    """Find the format that the crops share; crops that cannot be read are left out.

    Returns
    -------
    Looked
        With the crops that can be read, and how many of them must be resized to the window.

    Raises
    ------
    ImageError
        If none can be read.
    InputError
        If their sizes differ and no window is given, or their kinds of pixels or bands differ.
    """
    readable, left_out = [], []
    sizes: Counter[HeightWidth] = Counter()
    kinds: dict[tuple[str, int], Path] = {}
    for crop in crops:
        try:
            with open_source(crop.path) as source:
                # A truncated file shows itself only here, in some formats.
                height, width = source.size
                source.read((0, height), (0, width))
                sizes[height, width] += 1
                kinds.setdefault((_dtype(source), natural_channels(source)), crop.path)
            readable.append(crop)
        except ImageError as error:
            left_out.append(LeftOut(crop.path, " ".join(str(error).splitlines())))
    if not readable:
        raise ImageError(f"train: not one of {len(crops)} pictures can be read: {left_out[0].line}")
    if window is None:
        if len(sizes) > 1:
            (h, w), count = sizes.most_common(1)[0]
            raise InputError(
                f"train: the crops have {len(sizes)} sizes, {count} of {len(readable)} are {w}x{h} "
                f"(width x height); name the window, as in --window {w}x{h}, and the others are "
                f"resized to cover it and cut at its centre."
            )
        window = next(iter(sizes))
    brought = len(readable) - sizes[window]
    kind = CropFormat(window, _channels(kinds), _one_dtype(kinds))
    return Inspected(kind, tuple(readable), brought, tuple(left_out))


def read(crops: Sequence[Crop], kind: CropFormat) -> Pixels:
    """Read crops.

    A crop of another size is resized, in proportion, to cover the window, and cut at the centre.

    Raises
    ------
    InputError
        If they do not fit into memory.
    """
    try:
        pixels = np.empty((len(crops), kind.channels, *kind.window), kind.dtype)
    except MemoryError:
        raise InputError(
            f"train: {len(crops)} crops of {kind.window[1]}x{kind.window[0]} pixels do not fit "
            f"into memory; take fewer, or a smaller window."
        ) from None
    for number, crop in enumerate(crops):
        with open_source(crop.path) as source:
            pixels[number] = as_window(source, kind)
    return Pixels(pixels, np.array([crop.label for crop in crops], np.int64))


def as_window(source: Source, kind: CropFormat) -> NDArray[Any]:
    """Return a whole picture ``(C, h, w)``, resized to cover the window and cut at its centre."""
    source = fit_channels(source, kind.channels)
    (height, width), (h, w) = source.size, kind.window
    if source.size != kind.window:
        scale = max(h / height, w / width)
        source = resized(source, (max(h, round(height * scale)), max(w, round(width * scale))))
    y, x = (source.size[0] - h) // 2, (source.size[1] - w) // 2
    return source.read((y, y + h), (x, x + w)).transpose(2, 0, 1)


def preprocessing_of(pixels: NDArray[Any]) -> Preprocessing:
    """Return the preprocessing that brings crops ``(N, C, h, w)`` to mean 0 and deviation 1.

    Integers are first scaled to between 0 and 1. Means and deviations are rounded to four digits,
    to be easy to read in a file.
    """
    scale = 1 / FULL.get(str(pixels.dtype), 1)
    channels = range(pixels.shape[1])
    # One crop at a time: all pixels as float64 would take eight times the memory.
    means = _mean(pixels, channels, lambda crop: crop * scale)
    centred = _mean(
        pixels, channels, lambda crop: (crop * scale - np.reshape(means, (-1, 1, 1))) ** 2
    )
    deviations = [float(f"{square**0.5:.4g}") for square in centred]
    return Preprocessing(
        scale,
        tuple(float(f"{mean:.4g}") for mean in means),
        tuple(deviation if deviation > 1e-6 else 1.0 for deviation in deviations),
    )


def _mean(
    pixels: NDArray[Any], channels: range, of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> list[float]:
    total = np.zeros(len(channels))
    for crop in pixels:
        total += of(crop.astype(np.float64)).mean(axis=(1, 2))
    means: list[float] = (total / len(pixels)).tolist()
    return means


def _dtype(source: Source) -> str:
    if source.dtype.kind == "f":
        return "float32"
    if source.dtype.name in FULL:
        return source.dtype.name
    raise ImageError(
        f"{source.name} has pixels of type {source.dtype}; crops are 8 or 16 bit, or float."
    )


def _one_dtype(kinds: dict[tuple[str, int], Path]) -> str:
    dtypes = {dtype: path for (dtype, _), path in kinds.items()}
    if len(dtypes) > 1:
        (first, a), (second, b) = list(dtypes.items())[:2]
        raise InputError(
            f"train: {a} has pixels of type {first} and {b} of type {second}, whose values do not "
            f"compare; convert the crops to one type."
        )
    return next(iter(dtypes))


def _channels(kinds: dict[tuple[str, int], Path]) -> int:
    """Return the number of channels as which the crops are read; transparency is dropped."""
    bands = {number: path for (_, number), path in kinds.items()}
    if set(bands) == {1, 3}:
        return 3
    if len(bands) > 1:
        (first, a), (second, b) = list(bands.items())[:2]
        raise InputError(
            f"train: {a} has {first} band{'s' * (first > 1)} and {b} has {second}; crops must have "
            f"the same."
        )
    return next(iter(bands))
