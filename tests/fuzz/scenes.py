"""Models, images and heatmaps that are in order, for mutations to begin from."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.progress import Progress
from fullconv.scanning.scanner import scan
from scans import converted, crops_scores, padded_model, picture

LONG_AGO_NS = 10**18
"""When every file of a case was changed last: an image that changes is another one."""

STEP = (2, 1)
TILE = (7, 9)
SIZE = (60, 44)
SCAN = ["scan", "model.onnx", "image.tif", "-o", "heat.zarr", "--step", "1x2", "--tile", "9x7"]
"""The command of which `unfinished` is what a kill leaves, and `finished` the result."""

Files = dict[str, bytes]
"""Files by their paths in a case's folder."""


def files_below(folder: Path) -> Files:
    """Return all files in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@cache
def model_and_image() -> Files:
    """Return a classifier of windows of 12x9 pixels, and an image of `SIZE`."""
    image = io.BytesIO()
    tifffile.imwrite(image, picture(*SIZE), tile=(32, 32), compression="zlib")
    return {"model.onnx": padded_model().SerializeToString(), "image.tif": image.getvalue()}


@cache
def expected() -> NDArray[np.float32]:
    """Return the scores of all crops of the image."""
    return crops_scores(picture(*SIZE), STEP)


@cache
def finished() -> Files:
    """Return the heatmap, and what it was made of."""
    return _made(lambda folder: scan(*_of(folder), folder / "heat.zarr", tile=TILE, **_origin()))


@cache
def raster() -> Files:
    """Return the same as a GeoTIFF."""
    return _made(lambda folder: scan(*_of(folder), folder / "heat.tif", tile=TILE, **_origin()))


@cache
def unfinished(tiles: int = 9) -> Files:
    """Return what a scan leaves that is killed after so many tiles."""

    def killed(folder: Path) -> None:
        left = tiles

        def listener(progress: Progress) -> None:
            nonlocal left
            left -= bool(progress.fresh_pixels)
            if left < 0:
                raise KilledError

        try:
            scan(*_of(folder), folder / "heat.zarr", tile=TILE, progress=listener, **_origin())
        except KilledError:
            return
        raise AssertionError("it came to its end")

    return _made(killed)


class KilledError(Exception):
    """The kill."""


def _of(folder: Path) -> tuple[Any, Path]:
    return converted(STEP), folder / "image.tif"


def _origin() -> dict[str, Any]:
    return {"classifier": padded_model()}


def _made(make: Callable[[Path], Any]) -> Files:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in model_and_image().items():
            (folder / file).write_bytes(data)
            os.utime(folder / file, ns=(LONG_AGO_NS, LONG_AGO_NS))
        make(folder)
        made = files_below(folder)
    # The image lies in the case's own folder.
    full, short = (json.dumps(path).encode() for path in (str(folder / "image.tif"), "image.tif"))
    return {file: data.replace(full, short) for file, data in made.items()}


def scores_in(path: Path) -> NDArray[Any]:
    """Return all scores of a heatmap."""
    with Heatmap.open(path) as heatmap:
        return np.asarray(heatmap)
