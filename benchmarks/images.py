"""The large images that scanning is measured on: tiled TIFFs in JPEG, written tile by tile.

Run it with ``python benchmarks/images.py FOLDER`` to make them beforehand; the benchmarks make what
they miss. A few noisy tiles are encoded once and repeated in random order, so that an image of any
size is written in seconds, in little memory, and decodes like any other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import ceil
from pathlib import Path

import numpy as np

SIDE = 256
"""Height and width of a stored tile, as most slide scanners write them."""
DIFFERENT = 64
"""So many different tiles are repeated."""
QUALITY = 80


def make(folder: Path, size: tuple[int, int]) -> Path:
    """Return an RGB image of ``(height, width)`` pixels as a file of a folder, made if missing."""
    import tifffile

    height, width = size
    path = folder / f"{width}x{height}.tif"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with tifffile.TiffWriter(unfinished, bigtiff=True) as writer:
        writer.write(
            _tiles(ceil(height / SIDE) * ceil(width / SIDE)),
            shape=(height, width, 3),
            dtype=np.uint8,
            tile=(SIDE, SIDE),
            photometric="ycbcr",
            subsampling=(2, 2),
            compression="jpeg",
        )
    unfinished.rename(path)
    return path


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return ``(height, width, 3)``: soft shapes of all sizes and some grain, as photos have."""
    rng = np.random.default_rng(seed)
    made = np.full((*size, 3), 128.0, np.float32)
    cell = 2 ** int(np.log2(max(size)))
    while cell >= 4:
        shape = ceil(size[0] / cell) + 1, ceil(size[1] / cell) + 1, 3
        made += _spread(rng.normal(0, 7 * cell**0.25, shape).astype(np.float32), cell, size)
        cell //= 2
    made += rng.normal(0, 4, made.shape).astype(np.float32)
    return made.clip(0, 255).astype(np.uint8)


def _spread(values: np.ndarray, cell: int, size: tuple[int, int]) -> np.ndarray:
    """Return values that lie ``cell`` pixels apart, and what lies between them, in a line."""
    for axis, length in enumerate(size):
        at = np.arange(length) / cell
        low = at.astype(int)
        shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
        share = (at - low).astype(np.float32).reshape(shape)
        values = values.take(low, axis) * (1 - share) + values.take(low + 1, axis) * share
    return values


def _tiles(count: int) -> Iterator[bytes]:
    """Yield encoded tiles."""
    import imagecodecs

    kept = [
        imagecodecs.jpeg8_encode(
            picture((SIDE, SIDE), seed),
            level=QUALITY,
            colorspace="rgb",
            outcolorspace="ycbcr",
            subsampling="420",
        )
        for seed in range(DIFFERENT)
    ]
    for number in np.random.default_rng(0).integers(len(kept), size=count):
        yield kept[number]


if __name__ == "__main__":
    for made in ((10_000, 10_000), (30_000, 40_000)):
        print(make(Path(sys.argv[1]), made))
