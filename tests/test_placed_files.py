"""Every format's pixels and places come out right, of every verb and in every output.

The axes of this table: files (`placed_files.FILES`) by outputs. Not compared here: scores with
those of crops, which other tests do for every kind of network; here the classifier is the mean of
a window, so that the object's window alone scores 1.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from onnx import TensorProto, helper, numpy_helper

import fullconv
from fullconv.scanning.check import verify_heatmap
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.scanner import scan
from fullconv.sources import open_source, reopen
from placed_files import FILES, Placed

pytestmark = pytest.mark.filterwarnings("ignore::fullconv.errors.ImageWarning")

WINDOW = 32

HALF = 0.5
"""Pixels at full resolution by which an object may lie beside its place."""


@cache
def mean_of(channels: int) -> Any:
    """Return a classifier of 32x32 windows: each channel's mean over 255. Its stride is 4."""
    weights = np.zeros((channels * 64, channels), np.float32)
    for channel in range(channels):
        weights[channel * 64 : (channel + 1) * 64, channel] = 1 / 255 / 64
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("MatMul", ["f", "w"], ["y"]),
        ],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, WINDOW, WINDOW])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", channels])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


@cache
def converted(channels: int) -> fullconv.FullyConvolutional:
    return fullconv.convert(mean_of(channels))


@pytest.fixture(params=FILES, ids=str)
def placed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Placed, Path]:
    """Write one of the files."""
    file: Placed = request.param
    pytest.importorskip(file.needs)
    path = tmp_path / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    file.write(path)
    return file, path


def world(transform: Sequence[float], y: float, x: float) -> tuple[float, float]:
    """Return world coordinates (x, y) of a position."""
    a, b, c, d, e, f = transform[:6]
    return a * x + b * y + c, d * x + e * y + f


def centre(file: Placed) -> tuple[float, float]:
    """Return (y, x) of the object's centre at full resolution, from the image's edge."""
    x0, y0, x1, y1 = file.box
    return (y0 + y1) / 2, (x0 + x1) / 2


def hottest(scores: np.ndarray) -> tuple[int, int]:
    """Return row and column of the window that scores best."""
    row, column = np.unravel_index(np.nanargmax(scores), scores.shape)
    return int(row), int(column)


def test_pixels_are_those_that_were_meant(placed: tuple[Placed, Path]) -> None:
    file, path = placed
    with open_source(path, **file.options) as source:
        height, width = source.size
        read = source.read((0, height), (0, width))
    expected = np.atleast_3d(file.pixels)
    assert (read.shape, read.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(read.mean((0, 1)), expected.mean((0, 1)))
    np.testing.assert_array_equal(read, expected)


def test_places_are_those_of_gdal(placed: tuple[Placed, Path]) -> None:
    rasterio = pytest.importorskip("rasterio")
    file, path = placed
    if file.needs != "rasterio":
        pytest.skip("GDAL knows nothing of its place")
    with rasterio.open(file.by_gdal.format(path)) as held, open_source(path) as source:
        place = source.georeference
        assert place is not None
        assert source.size == (held.height, held.width)
        if not held.gcps[0]:
            assert place.transform == tuple(held.transform)[:6]
            assert place.crs == held.crs.to_wkt()


def test_heatmaps_lie_over_the_image(placed: tuple[Placed, Path], tmp_path: Path) -> None:
    file, path = placed
    channels = np.atleast_3d(file.pixels).shape[2]
    out = tmp_path / "heat.zarr"
    heatmap = scan(converted(channels), path, out, classifier=mean_of(channels), **file.options)
    proof = heatmap.verification
    assert proof is not None
    assert proof.passed
    place = hottest(heatmap[0])
    assert heatmap.box(*place) == pytest.approx(file.box, abs=HALF)
    ome = zarr.open_group(out, mode="r").attrs.asdict()["ome"]["multiscales"][0]
    scale, translation = (
        transform[transform["type"]][1:]
        for transform in ome["datasets"][0]["coordinateTransformations"]
    )
    y, x = (n * s + t for n, s, t in zip(place, scale, translation, strict=True))
    own = ome_transform(file, ome["axes"])
    wanted = world(own, *centre(file))
    sizes = abs(own[0]) * HALF, abs(own[4]) * HALF
    assert (x, y) == tuple(
        pytest.approx(n, abs=size) for n, size in zip(wanted, sizes, strict=True)
    )
    with reopen(heatmap.metadata["image"]) as source:
        again = verify_heatmap(Heatmap.open(out), mean_of(channels), source)
    assert again is not None
    assert again.max_error == proof.max_error


def ome_transform(file: Placed, axes: Sequence[dict[str, Any]]) -> tuple[float, ...]:
    """Return the transform of OME's coordinates, among which the ground is not.

    A heatmap over a map is in its pixels, the first of which is centred on 0, and one over an image
    with a resolution in micrometres from there.
    """
    if file.crs.startswith("image"):
        assert axes[1]["unit"] in file.crs
        return file.transform
    um = file.um
    return (um, 0.0, -um / 2, 0.0, um, -um / 2)


def test_geotiffs_lie_over_the_image(placed: tuple[Placed, Path], tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    file, path = placed
    channels = np.atleast_3d(file.pixels).shape[2]
    out = tmp_path / "heat.tif"
    scan(converted(channels), path, out, windows_to_check=0, **file.options)
    with rasterio.open(out) as held:
        row, column = hottest(held.read(1))
        found = world(held.transform, row + 0.5, column + 0.5)
        system = "" if held.crs is None else str(held.crs)
    wanted = world(file.transform, *centre(file))
    size = HALF * max(map(abs, (file.transform[0], file.transform[4])))
    assert found == pytest.approx(wanted, abs=size)
    assert file.crs in system
    assert bool(file.crs) == bool(system)
    assert Heatmap.open(out).box(row, column) == pytest.approx(file.box, abs=HALF)


def test_boxes_lie_over_the_image(placed: tuple[Placed, Path], tmp_path: Path) -> None:
    file, path = placed
    channels = np.atleast_3d(file.pixels).shape[2]
    found = fullconv.detect(
        converted(channels), path, 0.9, classes=[0], windows_to_check=0, **file.options
    )
    assert found.boxes.tolist() == [pytest.approx(file.box, abs=HALF)]
    for name in ("boxes.csv", "boxes.json", "boxes.geojson"):
        found.save(tmp_path / name)
    row = next(csv.DictReader((tmp_path / "boxes.csv").read_text().splitlines()))
    corner = [float(row[key]) for key in ("minx", "miny")]
    assert corner == pytest.approx(file.box[:2], abs=HALF)
    assert json.loads((tmp_path / "boxes.json").read_text())[0]["bbox"][:2] == corner
    held = json.loads((tmp_path / "boxes.geojson").read_text())
    ring = held["features"][0]["geometry"]["coordinates"][0]
    corners = [
        world(file.transform, y, x) for x, y in zip(file.box[::2], file.box[1::2], strict=True)
    ]
    size = HALF * max(abs(file.transform[0]), abs(file.transform[4]))
    assert [ring[0], ring[2]] == [pytest.approx(corner, abs=size) for corner in corners]
    system = held.get("crs", {}).get("properties", {}).get("name", "")
    assert file.crs.removeprefix("EPSG:") in system
    assert bool(file.crs) == bool(system)
