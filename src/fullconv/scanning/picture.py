"""A picture of a heatmap over its image, small enough to look at."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullconv.geometry.windows import WindowsAlong
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.overlay import draw_overlay
from fullconv.sources import Source, resized
from fullconv.sources.channels import as_shown
from fullconv.system.files import whole

LONGEST = 2048
"""Pixels of the longer side: more do not fit a screen."""

DARKEST, BRIGHTEST = 1, 99
"""Percentiles of deep pixels that become black and white."""


def save_overlay(
    heatmap: Heatmap, image: Source, path: Path, labels: Sequence[int] | None = None
) -> None:
    """Draw a heatmap over its image, reduced to at most `LONGEST` pixels.

    Parameters
    ----------
    heatmap, image
        Scores, and the image that was scanned.
    path : Path
        The picture to write, with any ending that Pillow knows.
    labels : sequence of int, optional
        The classes whose highest score is shown; by default all but the background.

    Raises
    ------
    OutputError
        If the picture cannot be written.
    """
    shown = list(labels) if labels is not None else heatmap.foreground
    reduced, count = reduce_scores(heatmap, shown)
    size = _reduced(image.size)
    shrunk = [n / whole_ for n, whole_ in zip(size, image.size, strict=True)]
    (h, w), (sy, sx) = heatmap.grid.window, heatmap.grid.step
    window = h * shrunk[0], w * shrunk[1]
    step = count * sy * shrunk[0], count * sx * shrunk[1]
    y, x = (
        _centres(axis, count) * by for axis, by in zip(heatmap.windows.axes, shrunk, strict=True)
    )
    picture = draw_overlay(small_picture(image, size), reduced, window, step, centres=(y, x))
    with whole(path) as temporary:
        picture.save(temporary)


def _centres(axis: WindowsAlong, count: int) -> NDArray[np.float64]:
    """Return the centres of cells of ``count`` windows, in pixels."""
    centres = axis.positions(0, axis.count) + axis.window / 2
    first = np.arange(0, axis.count, count)
    middle: NDArray[np.float64] = (
        centres[first] + centres[np.minimum(first + count, axis.count) - 1]
    ) / 2
    return middle


def reduce_scores(heatmap: Heatmap, labels: Sequence[int]) -> tuple[NDArray[np.float64], int]:
    """Return the highest score of every square of windows, between 0 and 1, and a square's side.

    If any of them lies outside of 0 to 1, all are scaled: the lowest to 0 and the highest to 1.
    """
    _, rows, columns = heatmap.shape
    count = ceil(max(rows, columns) / LONGEST)
    reduced = np.full((ceil(rows / count), ceil(columns / count)), np.nan)
    for i in range(len(reduced)):
        band = heatmap[:, i * count : (i + 1) * count, :][list(labels)].astype(np.float64)
        band = np.fmax.reduce(np.fmax.reduce(band, axis=0), axis=0)
        reduced[i] = np.fmax.reduceat(band, np.arange(0, columns, count))
    known = reduced[np.isfinite(reduced)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    if low < 0 or high > 1:
        reduced = (reduced - low) / max(high - low, np.finfo(float).tiny)
    return np.nan_to_num(reduced, nan=0.0, posinf=1.0, neginf=0.0), count


def reduced_picture(image: Source) -> tuple[NDArray[np.uint8], float]:
    """Return an image, reduced to at most `LONGEST` pixels, and the factor."""
    size = _reduced(image.size)
    return small_picture(image, size), size[1] / image.size[1]


def _reduced(size: Sequence[int]) -> tuple[int, int]:
    factor = min(1.0, LONGEST / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def small_picture(image: Source, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image in another size as RGB of 8 bits, ``(H, W, 3)``."""
    shown = as_shown(image)
    if size != shown.size:
        shown = resized(shown, size)
    pixels = shown.read((0, size[0]), (0, size[1]))
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    known = pixels[np.isfinite(pixels)] if pixels.dtype.kind == "f" else pixels.ravel()
    low, high = np.percentile(known, (DARKEST, BRIGHTEST)) if known.size else (0.0, 1.0)
    spread = (pixels.astype(np.float64) - low) / max(high - low, np.finfo(float).tiny)
    return (np.clip(np.nan_to_num(spread), 0, 1) * 255).astype(np.uint8)
