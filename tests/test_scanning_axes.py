"""Recordings and volumes are scanned as images are: tile by tile, by the crops' own scores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from numpy.typing import NDArray

import fullconv
from axes_scans import (
    CHANNELS,
    SIZE,
    STEP,
    TILE,
    WINDOW,
    array,
    classifier,
    converted,
    crops_scores,
)
from fullconv.errors import DamagedError, ImageError, InputError
from fullconv.frameworks.onnx.session import session
from fullconv.geometry.grid import NUMBERS, Sizes
from fullconv.geometry.images import ranks
from fullconv.runtimes import open_runtime
from fullconv.scanning.check import sample, verify_heatmap
from fullconv.scanning.heatmap import Heatmap
from fullconv.sources import open_source, reopen
from fullconv.wording import kind, names
from networks import axes as networks_axes
from networks.axes import Classifier, classifiers
from networks.axes_onnx import onnx_form
from on_this_machine import need_openvino

AXES = [1, 3]
"""Images have their own tests; where the definition is cheap, they are scanned here as well."""

MEMORY_BYTES = {1: 3_000, 2: 20_000, 3: 20_000}
"""Less than one tile of all windows takes."""


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("is_padded", [True, False], ids=["padded", "plain"])
@pytest.mark.parametrize("tile", ["whole", "small", "by memory"])
def test_every_window_has_the_scores_of_its_crop(axes: int, is_padded: bool, tile: str) -> None:
    model, fcn = classifier(axes, is_padded), converted(axes, is_padded)
    options = {
        "small": {"tile": TILE[axes]},
        "by memory": {"memory_bytes": MEMORY_BYTES[axes]},
    }.get(tile, {})
    heatmap = fullconv.scan(fcn, array(axes), classifier=model, **options)
    expected = crops_scores(session(model), array(axes), fcn.grid)
    assert np.array_equal(np.asarray(heatmap), expected)
    tiles = heatmap.metadata["chosen"]["tile"]
    assert (tuple(tiles) < expected.shape[1:]) == (tile != "whole")
    assert heatmap.verification is not None
    assert (heatmap.verification.max_error, heatmap.verification.passed) == (0, True)


@pytest.mark.parametrize(
    "step",
    [(1,), (5,), (24,), (31,), (1, 1, 2), (3, 2, 4), (8, 6, 7), (2, 7, 9)],
    ids=lambda step: "x".join(map(str, step)),
)
def test_any_step_is_scanned(step: Sizes) -> None:
    axes = len(step)
    pixels = array(axes, {1: (90,), 3: (13, 14, 12)}[axes])
    fcn = converted(axes, step=step)
    heatmap = fullconv.scan(fcn, pixels, tile=(2,) * axes, windows_to_check=0)
    expected = crops_scores(session(classifier(axes)), pixels, fcn.grid)
    assert np.array_equal(np.asarray(heatmap), expected)


@pytest.mark.parametrize("axes", AXES)
def test_last_windows_flush_with_the_border_have_their_crops_scores(axes: int) -> None:
    fcn = converted(axes)
    heatmap = fullconv.scan(fcn, array(axes), cover="all", tile=TILE[axes])
    expected = crops_scores(session(classifier(axes)), array(axes), fcn.grid, "all")
    assert np.array_equal(np.asarray(heatmap), expected)
    assert heatmap.shape[1:] != fcn.grid.shape(SIZE[axes])
    last = [n - 1 for n in heatmap.shape[1:]]
    assert heatmap.box(*last)[axes:] == tuple(map(float, reversed(SIZE[axes])))


@pytest.mark.parametrize("axes", AXES)
def test_the_approximate_form_does_not_depend_on_its_tiles(axes: int) -> None:
    fcn = converted(axes, exact=False)
    assert any(map(any, fcn.halo))
    whole = np.asarray(fcn(np.moveaxis(array(axes), -1, 0)[None].astype(np.float32)))[0]
    for options in ({"tile": TILE[axes]}, {"memory_bytes": MEMORY_BYTES[axes]}):
        heatmap = fullconv.scan(fcn, array(axes), windows_to_check=0, **options)
        assert np.array_equal(np.asarray(heatmap), whole)


@pytest.mark.parametrize("axes", AXES)
def test_only_windows_of_the_region_and_mask_are_scored(axes: int) -> None:
    fcn, pixels = converted(axes), array(axes)
    mask = np.random.default_rng(1).random(SIZE[axes]) < 0.4
    begin, end = [n // 9 for n in SIZE[axes]], [n - n // 9 for n in SIZE[axes]]
    roi = (*reversed(begin), *reversed(end))
    heatmap = fullconv.scan(fcn, pixels, roi=roi, mask=mask, tile=TILE[axes])
    expected = crops_scores(session(classifier(axes)), pixels, fcn.grid)
    for place in product(*map(range, expected.shape[1:])):
        starts = [n * step for n, step in zip(place, STEP[axes], strict=True)]
        stops = [n + size for n, size in zip(starts, WINDOW[axes], strict=True)]
        is_inside = all(a >= b for a, b in zip(starts, begin, strict=True))
        is_inside &= all(a <= b for a, b in zip(stops, end, strict=True))
        centre = tuple((a + b) // 2 for a, b in zip(starts, stops, strict=True))
        if not (is_inside and mask[centre]):
            expected[(slice(None), *place)] = np.nan
    assert np.array_equal(np.asarray(heatmap), expected, equal_nan=True)
    assert 0 < np.isnan(expected).mean() < 1
    assert heatmap.metadata["windows"] == np.count_nonzero(~np.isnan(expected[0]))
    assert heatmap.verification is not None
    assert heatmap.verification.passed


@pytest.mark.parametrize("axes", AXES)
def test_a_smaller_mask_is_stretched_over_all_axes(axes: int) -> None:
    small = np.random.default_rng(2).random((4, 3, 5)[:axes]) < 0.5
    size = tuple(10 * n for n in small.shape)
    wide = small
    for axis in range(axes):
        wide = np.repeat(wide, 10, axis)
    scanned = [
        fullconv.scan(converted(axes), array(axes, size), mask=mask, windows_to_check=0)
        for mask in (small, wide)
    ]
    assert np.array_equal(*map(np.asarray, scanned), equal_nan=True)
    assert 0 < np.isnan(np.asarray(scanned[0])).mean() < 1


@pytest.mark.parametrize("axes", AXES)
def test_windows_that_hold_no_number_are_left_out(axes: int) -> None:
    fcn, pixels = converted(axes), array(axes).astype(np.float32)
    odd = tuple(n // 2 for n in SIZE[axes])
    pixels[(*odd, 1)] = np.nan
    heatmap = fullconv.scan(fcn, pixels, tile=TILE[axes], windows_to_check=0)
    expected = crops_scores(session(classifier(axes)), array(axes), fcn.grid)
    for place in product(*map(range, expected.shape[1:])):
        inside = zip(odd, place, STEP[axes], WINDOW[axes], strict=True)
        if all(n * step <= at < n * step + size for at, n, step, size in inside):
            expected[(slice(None), *place)] = np.nan
    assert np.array_equal(np.asarray(heatmap), expected, equal_nan=True)
    assert heatmap.metadata["odd_windows"] == np.count_nonzero(np.isnan(expected[0])) > 0


def stored(axes: int, where: str, folder: Path) -> Any:
    """Return the array as it is, in a file, or in chunks of zarr."""
    pixels, chunks = array(axes), (*(7, 5, 6)[:axes], 1)
    if where == "npy":
        np.save(folder / "a.npy", pixels)
        return folder / "a.npy"
    if where == "fortran":
        np.save(folder / "a.npy", np.asfortranarray(pixels))
        return str(folder / "a.npy")
    if where == "memory":
        return zarr.create_array(zarr.storage.MemoryStore(), data=pixels, chunks=chunks)
    group = zarr.open_group(folder / "a.zarr", mode="w")
    names = {1: ["t"], 3: ["z", "y", "x"]}[axes]
    group.create_array("last", data=pixels, chunks=chunks)
    first = np.moveaxis(pixels, -1, 0)
    group.create_array(
        "first", data=first, chunks=chunks[::-1], dimension_names=["c", *names], shards=None
    )
    return {
        "path": folder / "a.zarr" / "last",
        "named axes": folder / "a.zarr" / "first",
        "array": group["last"],
    }[where]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize(
    "where", ["npy", "fortran", "memory", "path", "named axes", "array"], ids=str
)
def test_arrays_are_read_from_files_and_chunks(axes: int, where: str, tmp_path: Path) -> None:
    fcn = converted(axes)
    source = stored(axes, where, tmp_path)
    heatmap = fullconv.scan(fcn, source, tmp_path / "heat.zarr", tile=TILE[axes])
    expected = crops_scores(session(classifier(axes)), array(axes), fcn.grid)
    assert np.array_equal(np.asarray(heatmap), expected)
    if where == "memory":
        assert heatmap.metadata["image"]["path"] is None
        return
    with reopen(heatmap.metadata["image"]) as again:
        proof = verify_heatmap(heatmap, classifier(axes), again)
        assert proof is not None
        assert (proof.max_error, proof.windows) == (0, 60 if axes == 1 else 64)


@pytest.mark.parametrize("axes", AXES)
def test_of_a_zarr_array_only_those_chunks_are_read_that_a_part_lies_in(
    axes: int, tmp_path: Path
) -> None:
    side = {1: 1 << 18, 3: 64}[axes]
    pixels = array(axes, (2 * side, *(20,) * (axes - 1)))
    chunks = (side, *(20,) * (axes - 1), CHANNELS)
    zarr.create_array(tmp_path / "a.zarr", data=pixels, chunks=chunks)
    (tmp_path / "a.zarr" / "c" / "/".join(["1", *"0" * axes])).write_bytes(b"no chunk")
    with open_source(tmp_path / "a.zarr", dimensions=axes) as source:
        part = [(side - 9, side), *((3, 17),) * (axes - 1)]
        cut = tuple(slice(*span) for span in part)
        assert np.array_equal(source.read(*part), pixels[cut])
        with pytest.raises(ImageError, match="damaged or cut short"):
            source.read((side - 9, side + 1), *part[1:])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["uint8", ">f4", "int16", "bool"])
def test_parts_of_a_numpy_file_are_read(order: str, dtype: str, tmp_path: Path) -> None:
    for shape in ((30,), (30, 2), (7, 6, 5), (7, 6, 5, 3)):
        axes = {1: 1, 2: 1, 3: 3, 4: 3}[len(shape)]
        pixels = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
        np.save(tmp_path / "a.npy", np.asarray(pixels, order=order))
        with open_source(tmp_path / "a.npy", dimensions=axes) as source:
            for part in ([(0, n) for n in shape[:axes]], [(2, n - 1) for n in shape[:axes]]):
                expected = pixels[tuple(slice(*span) for span in part)].astype(source.dtype)
                assert np.array_equal(
                    source.read(*part), expected.reshape(*expected.shape[:axes], -1)
                )
            assert source.dtype.isnative


def test_a_numpy_file_that_is_cut_or_holds_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array(1))
    with open_source(path, dimensions=1) as source:
        # A process that maps it would end here.
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(ImageError, match="damaged or cut short"):
            source.read((0, SIZE[1][0]))
    with pytest.raises(ImageError, match="damaged or cut short"):
        open_source(path, dimensions=1)
    np.save(path, np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(ImageError, match="Python objects in dtype"):
        open_source(path, dimensions=1)


SCAN = """
import os, signal, sys
import numpy as np
from axes_scans import TILE, array, converted
from fullconv.lift import pace
from fullconv.scanning.scanner import scan

pace.PARTS_PAY = float("inf")  # as in the process of the tests
axes, out, tiles = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def listen(progress):
    global tiles
    tiles -= progress.fresh_pixels > 0
    if not tiles:
        os.kill(os.getpid(), signal.SIGKILL)

scan(converted(axes), array(axes), out, tile=TILE[axes], windows_to_check=0, progress=listen)
"""


@pytest.mark.skipif(os.name != "posix", reason="processes are killed by a signal")
@pytest.mark.parametrize("axes", AXES)
def test_a_killed_scan_goes_on_where_it_stopped(axes: int, tmp_path: Path) -> None:
    out = tmp_path / "heat.zarr"
    command = [sys.executable, "-c", SCAN, str(axes), str(out), "4"]
    here = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(here), *sys.path])}
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not out.exists()
    told: list[Any] = []
    options = {"tile": TILE[axes], "windows_to_check": 0}
    heatmap = fullconv.scan(converted(axes), array(axes), out, progress=told.append, **options)
    assert 0 < told[0].windows < told[0].all_windows == told[-1].windows
    expected = crops_scores(session(classifier(axes)), array(axes), converted(axes).grid)
    assert np.array_equal(np.asarray(heatmap), expected)
    assert os.listdir(tmp_path) == ["heat.zarr"]
    with pytest.raises(InputError, match="belongs to another run: another --step"):
        fullconv.scan(converted(axes, step=(4,) * axes), array(axes), out)


DAMAGE = {
    1: "windows 13 to 25 (samples 39 to 99)",
    3: "planes 0 to 1, rows 2 to 3 and columns 5 to 8 of the windows (voxels 5,6,0 to 15,15,10)",
}
TILES = {1: "0/c/0/1", 3: "0/c/0/0/1/1"}


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("how", ["cut", "lost", "of another tile"])
def test_a_damaged_chunk_is_found_named_and_repaired(axes: int, how: str, tmp_path: Path) -> None:
    fcn, out = converted(axes), tmp_path / "heat.zarr"
    options: dict[str, Any] = {"tile": TILE[axes], "windows_to_check": 8}
    fullconv.scan(fcn, array(axes), out, **options)
    chunk = out / TILES[axes]
    if how == "cut":
        chunk.write_bytes(chunk.read_bytes()[:-9])
    elif how == "lost":
        chunk.unlink()
    else:
        other = chunk.parent / "0"
        chunk.write_bytes(other.read_bytes())
    (damage,) = Heatmap.open(out).damage()
    assert str(damage).startswith(f"{DAMAGE[axes]}: ")
    with pytest.raises(DamagedError):
        fullconv.scan(fcn, array(axes), out, **options)
    told: list[Any] = []
    heatmap = fullconv.scan(fcn, array(axes), out, repair=True, progress=told.append, **options)
    assert told[0].windows == told[-1].windows - np.prod([b - a for a, b in damage.windows])
    assert np.array_equal(
        np.asarray(heatmap), crops_scores(session(classifier(axes)), array(axes), fcn.grid)
    )
    assert heatmap.damage() == ()


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_scores_are_stored_in_fewer_bits(axes: int, dtype: str, tmp_path: Path) -> None:
    fcn, pixels = converted(axes), array(axes)
    scores = crops_scores(session(classifier(axes)), pixels, fcn.grid)
    if dtype == "uint8":
        with pytest.raises(ImageError, match="stores scores between 0 and 1"):
            fullconv.scan(fcn, pixels, tmp_path / "heat.zarr", dtype=dtype)
        return
    heatmap = fullconv.scan(fcn, pixels, tmp_path / "heat.zarr", dtype=dtype, tile=TILE[axes])
    assert np.array_equal(np.asarray(heatmap), scores.astype(np.float16))
    assert heatmap.damage() == ()


def test_a_heatmap_says_what_its_axes_are(tmp_path: Path) -> None:
    volume = fullconv.scan(converted(3), array(3), tmp_path / "volume.zarr", own_um_per_pixel=0.5)
    held = zarr.open_group(tmp_path / "volume.zarr", mode="r")
    image = held.attrs["ome"]["multiscales"][0]  # type: ignore[call-overload,index]
    assert [axis["name"] for axis in image["axes"]] == ["c", "z", "y", "x"]
    (level,) = image["datasets"]
    scale, first = level["coordinateTransformations"]
    assert scale["scale"] == [1.0, 1.0, 1.5, 0.5]
    assert first["translation"] == [0.0, 1.75, 1.25, 1.5]
    assert held["0"].metadata.dimension_names == ("c", "z", "y", "x")  # type: ignore[union-attr]
    assert repr(volume).endswith(
        "2 scores x 5 planes x 4 rows x 9 columns, Grid(window=(8, 6, 7), step=(2, 3, 1)))"
    )
    assert volume.box(1, 2, 3) == (3, 6, 2, 10, 12, 10)
    assert "planes" in volume.metadata["region"]
    recording = fullconv.scan(converted(1), array(1), tmp_path / "recording.zarr")
    held = zarr.open_group(tmp_path / "recording.zarr", mode="r")
    assert set(held.attrs) == {"fullconv"}
    assert held["0"].metadata.dimension_names == ("c", "t")  # type: ignore[union-attr]
    assert repr(recording).endswith("2 scores x 60 windows, Grid(window=(24,), step=(3,)))")
    assert recording.box(2) == (6, 30)


def test_viewers_are_told_what_was_scanned(tmp_path: Path) -> None:
    for axes in AXES:
        out = tmp_path / f"{axes}.zarr"
        fullconv.scan(converted(axes), array(axes), out)
        group = zarr.open_group(out, mode="r+")
        group.attrs["ome"] = {"version": "0.5", "multiscales": []}
        (damage,) = Heatmap.open(out).damage()
        assert damage.why == "their description for viewers (ome) does not match the scan"
        assert not damage.is_lost


@pytest.mark.parametrize(
    ("counts", "windows", "parts"),
    [
        ((60,), 7, (7,)),
        ((5, 4, 9), 20, (2, 2, 5)),
        ((9, 9, 9), 64, (4, 4, 4)),
        ((3, 50, 2), 64, (2, 28, 2)),
        ((2, 1, 3), 64, (2, 1, 3)),
    ],
)
def test_checked_windows_are_spread_over_all_axes(
    counts: Sizes, windows: int, parts: Sizes
) -> None:
    """One lies in each part, as far as there are so many."""
    axes = len(counts)
    scores: NDArray[np.float32] = np.zeros((1, *counts), np.float32)
    names = {1: ["windows"], 3: ["planes", "rows", "columns"]}[axes]
    region = {name: [0, n] for name, n in zip(names, counts, strict=True)} | {"mask": None}
    record = {"window": (1,) * axes, "step": (1,) * axes, "classes": [], "region": region}
    places = sample(Heatmap(scores, record, None), windows)
    assert len(set(places)) == len(places) == min(windows, int(np.prod(counts)))
    held = {
        tuple(n * part // count for n, part, count in zip(place, parts, counts, strict=True))
        for place in places
    }
    assert len(held) == min(windows, int(np.prod(parts)))


@pytest.mark.parametrize("axes", AXES)
def test_arrays_without_channels_are_scanned(axes: int) -> None:
    """As the classifier takes them: ``(N, *window)``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    window = WINDOW[axes]
    weights = np.random.default_rng(0).integers(-2, 3, (int(np.prod(window)), 2))
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "w"], ["scores"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *window])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weights.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    fcn = fullconv.convert(model, window, STEP[axes])
    assert fcn.shape.takes == "cells"
    pixels = array(axes)[..., 0]
    heatmap = fullconv.scan(fcn, pixels, tile=TILE[axes], classifier=model)
    crops = np.lib.stride_tricks.sliding_window_view(pixels, window)
    crops = crops[tuple(slice(None, None, step) for step in STEP[axes])]
    expected = np.moveaxis(crops.reshape(*crops.shape[:axes], -1) @ weights, -1, 0)
    assert np.array_equal(np.asarray(heatmap), expected)
    assert heatmap.verification is not None
    assert heatmap.verification.passed
    found = verify_heatmap(heatmap, model, open_source(pixels, dimensions=axes))
    assert found is not None
    assert found.passed
    itself = fullconv.scan(fcn, pixels, tile=TILE[axes])
    assert itself.verification is not None
    assert itself.verification.passed


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_every_runtime_has_the_same_scores(axes: int) -> None:
    """OpenVINO pads what has one channel, whatever axes there are behind it."""
    need_openvino()

    @given(classifiers(axes))
    @settings(max_examples=5, deadline=None, derandomize=True)
    def each(case: Classifier) -> None:
        fcn = fullconv.convert(onnx_form(case), case.window, case.step, check=False)
        images = networks_axes.pixels(case, 1)
        with open_runtime(fcn, "openvino") as runtime:
            assert np.array_equal(runtime.run(images)[0], fcn(images))

    each()


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("where", ["torch", "keras"])
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_networks_of_every_framework_scan(axes: int, where: str) -> None:
    """Keras takes the channels last, as arrays have them, and PyTorch first."""
    window, kernel = WINDOW[axes], (3,) * axes
    rng = np.random.default_rng(0)
    model: Any
    if where == "torch":
        torch = pytest.importorskip("torch")
        convolution = getattr(torch.nn, f"Conv{axes}d")(CHANNELS, 3, kernel)
        flat = torch.nn.Flatten(), torch.nn.Linear(3 * int(np.prod([n - 2 for n in window])), 2)
        model = torch.nn.Sequential(convolution, torch.nn.ReLU(), *flat).eval()
        with torch.no_grad():
            for weight in model.parameters():
                weight.copy_(torch.from_numpy(rng.integers(-2, 3, tuple(weight.shape))))
    else:
        from keras_models import keras

        image = keras.Input((*window, CHANNELS))
        convolution = getattr(keras.layers, f"Conv{axes}D")(3, kernel)
        x = keras.layers.Flatten()(keras.layers.ReLU()(convolution(image)))
        model = keras.Model(image, keras.layers.Dense(2)(x))
        model.set_weights([rng.integers(-2, 3, w.shape) for w in model.weights])
    fcn = fullconv.convert(model, None if where == "keras" else window, STEP[axes], check=False)
    size = tuple(n + 4 for n in window)
    options = {"tile": (2,) * axes, "windows_to_check": 4}
    heatmap = fullconv.scan(fcn, array(axes, size), classifier=model, **options)

    def classify(crop: NDArray[np.float32]) -> NDArray[np.float32]:
        if where == "keras":
            return np.asarray(keras.ops.convert_to_numpy(model(np.moveaxis(crop, 1, -1))))
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(np.ascontiguousarray(crop))))

    expected = crops_scores(classify, array(axes, size), fcn.grid)
    assert np.array_equal(np.asarray(heatmap), expected)
    assert heatmap.verification is not None
    assert (heatmap.verification.max_error, heatmap.verification.passed) == (0, True)


@pytest.mark.parametrize("axes", [2, 3])
def test_an_axis_as_long_as_its_window_stays_so(axes: int) -> None:
    size = (WINDOW[axes][0], *SIZE[axes][1:])
    model = classifier(axes)
    fcn = fullconv.convert(model, step=STEP[axes], image=size, check=False)
    assert fcn.shape.fixed == (0,)
    heatmap = fullconv.scan(fcn, array(axes, size), tile=TILE[axes], windows_to_check=8)
    assert np.array_equal(
        np.asarray(heatmap), crops_scores(session(model), array(axes, size), fcn.grid)
    )
    with pytest.raises(ImageError, match="as long as its window"):
        fullconv.scan(fcn, array(axes))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_mask_of_another_rank_is_named_as_the_mask(axes: int, tmp_path: Path) -> None:
    wrong = np.ones((3,) * (axes + 2), np.uint8)
    np.save(tmp_path / "m.npy", wrong)
    line = f"expected {ranks(axes)}; got shape {wrong.shape}. Give one {kind(axes)} at a time, "
    for mask, named in ((wrong, ""), (tmp_path / "m.npy", f"{tmp_path / 'm.npy'}: ")):
        with pytest.raises(ImageError) as refused:
            fullconv.scan(converted(axes), array(axes), mask=mask)
        assert str(refused.value) == f"mask: {named}{line}its channels last."


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_window_has_one_index_for_every_axis(axes: int) -> None:
    fcn, of = converted(axes), f"index along {names(axes)}"
    heatmap = fullconv.scan(fcn, array(axes), tile=TILE[axes])
    for place in ((), (0,) * (axes - 1), (1,) * (axes + 1)):
        for call in (fcn.grid.box, fcn.grid.slices, heatmap.box):
            with pytest.raises(InputError) as refused:
                call(*place)
            assert str(refused.value) == (
                f"{call.__name__}({', '.join(map(str, place))}): expected {NUMBERS[axes]}, the "
                f"window's {of}; got {len(place) or 'none'}."
            )
    assert heatmap.box_of([(0, 2)] * axes) == (
        *heatmap.box(*(0,) * axes)[:axes],
        *heatmap.box(*(1,) * axes)[axes:],
    )
    for spans in ([], [(0, 2)] * (axes + 1), [0] * axes, [(2, 2)] * axes):
        with pytest.raises(InputError) as refused:
            heatmap.box_of(spans)
        assert str(refused.value) == (
            f"box_of({spans}): expected the first window and the one behind the last along "
            f"{names(axes)}, as in {[(0, 2)] * axes}."
        )


@pytest.mark.parametrize(
    ("axes", "there"),
    [
        (1, "60 windows"),
        (2, "15 rows and 8 columns of windows"),
        (3, "5 planes, 4 rows and 9 columns of windows"),
    ],
)
def test_a_window_that_is_none_is_refused_with_the_number_there_is(axes: int, there: str) -> None:
    heatmap = fullconv.scan(converted(axes), array(axes), tile=TILE[axes])
    with pytest.raises(InputError) as refused:
        heatmap.box(*(500,) * axes)
    given = ", ".join(["500"] * axes)
    assert str(refused.value) == f"box({given}): there are {there}, counted from 0."


def test_an_array_of_another_rank_is_refused_in_one_line(tmp_path: Path) -> None:
    flat, deep = np.zeros((60, 2), np.uint8), np.zeros((9, 60, 60, 2), np.uint8)
    for axes, pixels, line in (
        (1, deep, "expected (L,) or (L, C); got shape (9, 60, 60, 2). Give one recording at"),
        (3, flat, "expected (D, H, W) or (D, H, W, C); got shape (60, 2). Give one volume at"),
    ):
        np.save(tmp_path / "a.npy", pixels)
        for source, named in ((pixels, "open_source(array)"), (tmp_path / "a.npy", "a.npy")):
            with pytest.raises(ImageError) as caught:
                fullconv.scan(converted(axes), source)
            assert f"{named}: {line} a time, its channels last." in str(caught.value)
    with open_source(flat[:, :, None]) as image, pytest.raises(ImageError) as caught:
        fullconv.scan(converted(1), image)
    assert str(caught.value) == (
        "array was opened along (rows, columns), and recordings lie along (samples); open it with "
        "dimensions=1, or give another network."
    )
    with pytest.raises(InputError) as refused:
        fullconv.scan(converted(3), array(3), roi=(0, 0, 9, 9))
    assert str(refused.value) == (
        "roi=(0, 0, 9, 9): expected x0, y0, z0, x1, y1, z1 in voxels of the volume, with x0 left "
        "of x1, y0 above y1 and z0 before z1."
    )
    with pytest.raises(InputError) as refused:
        fullconv.scan(converted(1), array(1), roi=(9, 0))
    assert str(refused.value) == (
        "roi=(9, 0): expected t0, t1 in samples of the recording, with t0 before t1."
    )
    with pytest.raises(InputError, match=r"tile=\(3, 3\)\): expected windows, at least 1"):
        fullconv.scan(converted(1), array(1), tile=(3, 3))
    with pytest.raises(ImageError, match=r"expected \(D, H, W\) or \(D, H, W, C\); got shape"):
        fullconv.scan(converted(3), array(3), mask=np.ones((5, 5), np.uint8))
    with pytest.raises(ImageError, match="the image is 9 samples, smaller than one window of 24"):
        fullconv.scan(converted(1), array(1, (9,)))
