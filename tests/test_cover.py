"""Windows flush with the border: exactly the crops there, through every verb and output."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import fullconv
from fullconv.errors import InputError
from fullconv.geometry.grid import Grid
from fullconv.geometry.tiling import Plan
from fullconv.geometry.windows import Windows, WindowsAlong
from fullconv.scanning.check import verify_heatmap
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.scanner import scan
from fullconv.sources import open_source
from oracle import onnx_classifier
from placed_files import spot
from scans import PADDED, converted, padded_model, picture
from test_cli_scan import call
from test_placed_files import mean_of

SIZE = (61, 50)


def starts(extent: int, window: int, step: int) -> list[int]:
    """Return where windows begin, so plainly that it cannot be wrong."""
    found = list(range(0, extent - window + 1, step))
    return found if found[-1] == extent - window else [*found, extent - window]


def crops(image: np.ndarray, step: tuple[int, int]) -> np.ndarray:
    """Return the scores of all crops ``(K, rows, columns)``, those at the border among them."""
    (height, width), (h, w) = image.shape[:2], PADDED.window
    classify = onnx_classifier(padded_model())
    pixels = image.transpose(2, 0, 1)[None].astype(np.float32)
    rows = [
        [classify(pixels[:, :, y : y + h, x : x + w])[0] for x in starts(width, w, step[1])]
        for y in starts(height, h, step[0])
    ]
    return np.moveaxis(np.array(rows), -1, 0)


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 50), st.booleans())
def test_windows_along_an_axis(extent: int, window: int, step: int, is_covered: bool) -> None:
    extent += window - 1
    axis = WindowsAlong(extent, window, step, is_covered)
    plain = list(range(0, extent - window + 1, step))
    expected = starts(extent, window, step) if is_covered else plain
    assert axis.positions(0, axis.count).tolist() == expected
    assert [axis.position(n) for n in range(axis.count)] == expected
    assert axis.count == len(expected)
    held = {pixel for start in expected for pixel in range(start, start + window)}
    assert axis.uncovered == extent - len(held)


@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(12, 80), st.integers(9, 80)),
    st.tuples(*[st.tuples(st.integers(0, 20), st.integers(0, 20))] * 2),
)
def test_tiles_hold_every_window_once(
    step: tuple[int, int], shape: tuple[int, int], image: tuple[int, int], halo: Any
) -> None:
    grid = Grid((12, 9), step)
    counts = grid.shape(image)
    plan = Plan(image, grid, (min(shape[0], counts[0]), min(shape[1], counts[1])), halo).covering()
    windows = Windows.of(grid, image, "all")
    assert plan.counts == windows.shape
    seen = np.zeros(plan.counts, int)
    for tile in plan:
        whole = np.zeros(plan.counts, int)
        for one in tile.passes:
            whole[one.cells] += 1
            along = zip(one.windows, one.pixels, one.skipped, windows.axes, strict=True)
            for numbers, pixels, skipped, axis in along:
                # A whole number of steps, and all of every window.
                first = axis.position(numbers[0])
                assert pixels[0] + skipped * axis.step == first
                assert axis.position(numbers[1] - 1) + axis.window <= pixels[1] <= axis.extent
                assert pixels[0] >= 0
        assert (whole[tile.cells] == 1).all()
        assert whole.sum() == tile.window_count
        seen += whole
    assert (seen == 1).all()
    assert plan.pixels == sum(tile.pixel_count for tile in plan)


@pytest.mark.parametrize("step", [(2, 1), (4, 3), (7, 5), (12, 9), (30, 25)])
@pytest.mark.parametrize("tile", [None, (1, 1), (3, 2), (5, 40)])
def test_scores_at_the_border_are_those_of_the_crops(
    tmp_path: Path, step: tuple[int, int], tile: Any
) -> None:
    image = picture(*SIZE)
    expected = crops(image, step)
    heatmap = scan(converted(step), image, cover="all", tile=tile)
    np.testing.assert_array_equal(np.asarray(heatmap), expected)
    proof = heatmap.verification
    assert proof is not None
    assert (proof.max_error, proof.passed) == (0, True)
    assert heatmap.box(-1 % expected.shape[1], -1 % expected.shape[2]) == (50 - 9, 61 - 12, 50, 61)


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(st.integers(12, 40), st.integers(9, 40)),
    st.tuples(st.integers(1, 14), st.integers(1, 14)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_any_size_step_and_tile(
    size: tuple[int, int], step: tuple[int, int], tile: tuple[int, int]
) -> None:
    image = picture(*size)
    heatmap = scan(converted(step), image, cover="all", tile=tile, windows_to_check=0)
    np.testing.assert_array_equal(np.asarray(heatmap), crops(image, step))


def test_the_approximate_form_is_a_pass_over_what_ends_at_the_border() -> None:
    image, step = picture(*SIZE), (4, 3)
    fcn = converted(step, exact=False)
    heatmap = np.asarray(scan(fcn, image, cover="all", tile=(4, 5)))
    y, x = (61 - 12) % 4, (50 - 9) % 3
    assert (y, x) == (1, 2)
    for top, left, rows, columns in (
        (0, 0, slice(0, -1), slice(0, -1)),
        (y, 0, slice(-1, None), slice(0, -1)),
        (0, x, slice(0, -1), slice(-1, None)),
        (y, x, slice(-1, None), slice(-1, None)),
    ):
        whole = np.asarray(scan(fcn, np.ascontiguousarray(image[top:, left:])))
        whole = whole[:, -1:] if top else whole
        whole = whole[:, :, -1:] if left else whole
        np.testing.assert_array_equal(heatmap[:, rows, columns], whole)


@pytest.mark.parametrize("name", ["heat.zarr", "heat.tif"])
def test_positions_are_stored_and_found_again(tmp_path: Path, name: str) -> None:
    if name.endswith("tif"):
        pytest.importorskip("rasterio")
    image, step = picture(*SIZE), (4, 3)
    Image.fromarray(image).save(tmp_path / "a.png")
    made = scan(converted(step), tmp_path / "a.png", tmp_path / name, cover="all")
    kept = Heatmap.open(tmp_path / name)
    assert kept.metadata["positions"] == [
        {"step": 4, "regular": 13, "flush": 49},
        {"step": 3, "regular": 14, "flush": 41},
    ]
    assert kept.windows == made.windows
    assert not kept.windows.is_regular
    np.testing.assert_array_equal(np.asarray(kept), crops(image, step))
    with open_source(tmp_path / "a.png") as source:
        proof = verify_heatmap(kept, padded_model(), source, 1000)
    assert proof is not None
    assert (proof.windows, proof.max_error) == (14 * 15, 0)


@pytest.mark.parametrize("cover", ["whole", "all"])
def test_boxes_are_of_windows_that_are_there(cover: str) -> None:
    windows = Windows.of(Grid((4, 4), (3, 3)), (12, 14), cover)
    rows, columns = windows.shape
    x0, y0, x1, y1 = windows.box(rows - 1, columns - 1)
    assert 0 <= x0 < x1 <= 14
    assert 0 <= y0 < y1 <= 12
    for place in ((-1, 0), (0, -1), (rows, 0), (0, columns)):
        with pytest.raises(InputError, match=f"there are {rows} rows and {columns} columns of"):
            windows.box(*place)


def test_another_cover_is_another_run(tmp_path: Path) -> None:
    image, out = picture(*SIZE), tmp_path / "heat.zarr"
    scan(converted((4, 3)), image, out)
    with pytest.raises(InputError, match=r"another run: another --cover;"):
        scan(converted((4, 3)), image, out, cover="all")


def test_where_the_step_leaves_no_rest_nothing_is_added() -> None:
    image = picture(60, 51)
    one, other = (scan(converted((4, 3)), image, cover=cover) for cover in ("whole", "all"))
    assert one.shape == other.shape
    assert other.windows.is_regular


def test_regions_and_masks_hold_for_windows_at_the_border() -> None:
    image, step = picture(*SIZE), (4, 3)
    expected = crops(image, step)
    # The last row of windows alone lies wholly below; of its columns the flush one, and no other.
    found = np.asarray(scan(converted(step), image, cover="all", roi=(40, 49, 50, 61)))
    assert np.argwhere(np.isfinite(found[0])).tolist() == [[13, 14]]
    np.testing.assert_array_equal(found[:, 13, 14], expected[:, 13, 14])
    mask = np.zeros(SIZE, np.uint8)
    mask[49 + 6 :, :] = 1  # only the centres of the last row
    found = np.asarray(scan(converted(step), image, cover="all", mask=mask))
    assert np.isfinite(found[0]).any(axis=1).tolist() == [False] * 13 + [True]
    np.testing.assert_array_equal(found[:, 13], expected[:, 13])
    spoilt = image.astype(np.float32)
    spoilt[60, 49] = np.nan  # the last pixel, which the corner's window alone holds
    found = np.asarray(scan(converted(step), spoilt, cover="all"))
    assert np.argwhere(np.isnan(found[0])).tolist() == [[13, 14]]


def test_a_killed_scan_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    image, step, out = picture(*SIZE), (4, 3), tmp_path / "heat.zarr"

    def stop(progress: Any) -> None:
        if progress.windows > progress.all_windows // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(converted(step), image, out, cover="all", tile=(3, 2), progress=stop)
    assert (tmp_path / "heat.zarr.part").exists()
    told: list[int] = []
    scan(
        *(converted(step), image, out),
        cover="all",
        tile=(3, 2),
        progress=lambda progress: told.append(progress.windows),
    )
    assert 0 < told[0] < told[-1] == 14 * 15
    np.testing.assert_array_equal(np.asarray(Heatmap.open(out)), crops(image, step))


def test_of_an_object_at_the_border_one_box_is_found(tmp_path: Path) -> None:
    field = np.random.default_rng(0).integers(0, 100, (127, 127), np.uint8)
    field[95:, 95:] = 255
    for step in (32, 20, 64):
        fcn = fullconv.convert(mean_of(1), step=step)
        assert len(fullconv.detect(fcn, field, 0.9)) == 0
        found = fullconv.detect(fcn, field, 0.9, cover="all")
        assert found.boxes.tolist() == [[95, 95, 127, 127]]
    # Windows that overlap by little a step apart overlap by much at the border, and outdo there.
    field[:] = 0
    field[90:122, 95:] = 200
    fcn = fullconv.convert(mean_of(1), step=30)
    found = fullconv.detect(fcn, field, 0.5, iou=0.5, cover="all")
    assert found.boxes.tolist() == [[95, 90, 127, 122]]


def test_the_command_counts_what_no_window_holds(tmp_path: Path) -> None:
    field = spot(size=(127, 127))
    field[95:, 95:] = 255
    Image.fromarray(field).save(tmp_path / "a.png")
    onnx.save(mean_of(1), tmp_path / "model.onnx")
    named = str(tmp_path / "model.onnx"), str(tmp_path / "a.png"), "--step", "32", "-o"
    line = (
        "border   31 of 127 columns and 31 of 127 rows of pixels are in no window; --cover all "
        "adds windows flush with the border\n"
    )
    for verb, out in (("scan", "h.zarr"), ("detect", "b.csv")):
        assert line in call(verb, *named, str(tmp_path / out)).stdout
    for verb, out in (("scan", "all.zarr"), ("detect", "all.csv")):
        result = call(verb, *named, str(tmp_path / out), "--cover", "all")
        assert "are in no window" not in result.stdout
        for side in ("column", "row"):
            at = "x" if side == "column" else "y"
            told = f"the last {side} of windows is flush with the border, at {at} 95 and not 96"
            assert f"border   {told}\n" in result.stdout
    with (tmp_path / "all.csv").open() as file:
        corners = [(row["minx"], row["miny"]) for row in csv.DictReader(file)]
    assert ("95", "95") in corners
    far = call(*("scan", *named[:2], "--step", "64", "-o", str(tmp_path / "far.zarr")))
    assert "border   63 of 127 columns and 63 of 127 rows of pixels are in no window;" in far.stdout


def test_a_cover_that_is_not_known_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        scan(converted((4, 3)), picture(*SIZE), cover="every")
    assert str(caught.value) == (
        "scan(cover='every'): expected 'whole' (windows a step apart) or 'all' (and last ones "
        "flush with the border)."
    )


def test_an_overlay_shows_the_last_windows_where_they_lie(tmp_path: Path) -> None:
    from fullconv.scanning.picture import save_overlay

    field = np.zeros((127, 127), np.uint8)
    field[95:, 95:] = 255
    heatmap = scan(fullconv.convert(mean_of(1), step=48), field, cover="all")
    assert heatmap.shape == (1, 3, 3)
    save_overlay(heatmap, open_source(field), tmp_path / "o.png")
    shown = np.asarray(Image.open(tmp_path / "o.png")).astype(int)
    heat = shown[..., 0] - shown[..., 2]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (row, column) == pytest.approx((111, 111), abs=1)
