"""A classifier, an image, and heatmaps that are in order, for mutations to begin from.

Weights and pixels are small whole numbers, so that right means equal.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tifffile
from numpy.typing import NDArray

import bad_files
import fullconv
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.progress import Progress
from fullconv.scanning.scanner import scan
from fuzz.case import LONG_AGO_NS, Files
from oracle import onnx_classifier, scores_of_crops

WINDOW = (16, 16)
STEP = (4, 3)
TILE = (4, 5)
SIZE = (72, 60)
SCAN = ("scan", "model.onnx", "image.tif", "-o", "heat.zarr", "--step", "3x4", "--tile", "5x4")
"""The command of which `unfinished` is what a kill leaves, and `finished` the result."""


def pixels(height: int = SIZE[0], width: int = SIZE[1]) -> NDArray[np.uint8]:
    """Return an image ``(H, W, 3)``, part of it even."""
    made = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    made[20:50] = 90
    return made


@cache
def classifier() -> bytes:
    """Return an ``.onnx`` file: windows of 16x16, three channels, two scores, nothing padded."""
    model = bad_files.classifier([bad_files.image_input("x", 3, *WINDOW)])
    data: bytes = model.SerializeToString()
    return data


@cache
def model_and_image() -> Files:
    """Return the classifier and an image."""
    image = io.BytesIO()
    tifffile.imwrite(image, pixels(), photometric="rgb", tile=(32, 32), compression="zlib")
    return {"model.onnx": classifier(), "image.tif": image.getvalue()}


@cache
def expected() -> NDArray[np.float32]:
    """Return the scores of all crops of the image, ``(K, rows, columns)``."""
    images = pixels().transpose(2, 0, 1)[None].astype(np.float32)
    model = onnx.load_from_string(classifier())
    scores: NDArray[np.float32] = scores_of_crops(onnx_classifier(model), images, WINDOW, STEP)
    return scores[0]


def scores_in(path: Path) -> NDArray[Any]:
    """Return all scores of a heatmap."""
    with Heatmap.open(path) as heatmap:
        return np.asarray(heatmap)


def wrong_scores(path: Path) -> str | None:
    """Say that a heatmap holds other scores than the crops'."""
    if np.array_equal(scores_in(path), expected()):
        return None
    return "other scores than the crops', and nothing said"


@cache
def finished() -> Files:
    """Return the heatmap, and what it was made of."""
    return _made(lambda folder: _scanned(folder, "heat.zarr"))


@cache
def raster() -> Files:
    """Return the same as a GeoTIFF."""
    return _made(lambda folder: _scanned(folder, "heat.tif"))


@cache
def unfinished(tiles: int = 7) -> Files:
    """Return what a scan leaves that is killed after so many tiles."""

    def killed(folder: Path) -> None:
        left = tiles

        def listener(progress: Progress) -> None:
            nonlocal left
            left -= bool(progress.fresh_pixels)
            if left < 0:
                raise KilledError

        try:
            _scanned(folder, "heat.zarr", progress=listener)
        except KilledError:
            return
        raise AssertionError("it came to its end")

    return _made(killed)


class KilledError(Exception):
    """The kill."""


def _scanned(folder: Path, name: str, **more: Any) -> None:
    model = onnx.load_from_string(classifier())
    fcn = fullconv.convert(model, step=STEP)
    # By its name alone, as in a case's own folder: what is written down is sealed.
    with contextlib.chdir(folder):
        scan(fcn, Path("image.tif"), folder / name, classifier=model, tile=TILE, **more)


def _made(make: Callable[[Path], Any]) -> Files:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in model_and_image().items():
            (folder / file).write_bytes(data)
            os.utime(folder / file, ns=(LONG_AGO_NS, LONG_AGO_NS))
        make(folder)
        return files_below(folder)


def files_below(folder: Path, name: str = "") -> dict[str, bytes]:
    """Return all files in a folder, by their paths in it, or in a folder of another name."""
    return {
        (Path(name) / path.relative_to(folder)).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
