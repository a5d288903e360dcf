"""A scan gives the crops' scores, whatever the tiles, and says where they lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import fullconv
from fullconv.errors import ImageError, ImageWarning, InputError
from fullconv.frameworks.onnx.framework import OnnxFramework
from fullconv.geometry.placement import Placement
from fullconv.preprocessing import Preprocessing
from fullconv.scanning.check import sample, verify_heatmap
from fullconv.scanning.engine import Engine
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.progress import Progress
from fullconv.scanning.scanner import scan
from fullconv.sources import open_source
from fullconv.sources.source import Georeference
from scans import PADDED, converted, crops_scores, padded_model, picture

H, W = PADDED.window


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 15), st.integers(1, 12)),
    st.tuples(st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_any_plan_gives_the_scores_of_the_crops(
    step: tuple[int, int], extra: tuple[int, int], tile: tuple[int, int]
) -> None:
    image = picture(H + extra[0], W + extra[1])
    heatmap = scan(converted(step), image, tile=tile, windows_to_check=0)
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(image, step))


@pytest.mark.parametrize("tile", [(1, 1), (2, 3), (100, 100)])
@pytest.mark.parametrize("extra", [(0, 0), (1, 0), (0, 1), (1, 1), (23, 19)])
def test_the_last_row_and_column_are_scored(extra: tuple[int, int], tile: tuple[int, int]) -> None:
    image = picture(H + extra[0], W + extra[1])
    heatmap = scan(converted((1, 1)), image, tile=tile)
    assert heatmap.shape[1:] == (1 + extra[0], 1 + extra[1])
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(image, (1, 1)))
    assert heatmap.verification is not None
    assert heatmap.verification.max_error == 0


@pytest.mark.parametrize("tile", [(1, 1), (2, 3), (5, 100)])
def test_the_approximate_form_scans_as_in_one_pass(tile: tuple[int, int]) -> None:
    fcn = converted((2, 1), exact=False)
    image = picture(41, 37)
    expected = fcn(image.transpose(2, 0, 1)[None].astype(np.float32))[0]
    heatmap = scan(fcn, image, tile=tile)
    np.testing.assert_array_equal(np.asarray(heatmap), expected)
    assert heatmap.verification is not None
    assert not heatmap.verification.exact
    assert "approximate" in heatmap.verification.verdict


def test_an_image_smaller_than_the_window_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="smaller than one window"):
        scan(converted((1, 1)), picture(H - 1, W), tmp_path / "heat.zarr")
    assert list(tmp_path.iterdir()) == []


def test_preprocessing_is_applied_once_to_every_pixel() -> None:
    fcn = converted((2, 1))
    image = picture(40, 30)
    preprocessing = Preprocessing(2.0, (1.0, 0.0, -1.0), (0.5, 1.0, 2.0), "BGR")
    heatmap = scan(fcn, image, preprocessing=preprocessing, tile=(3, 4))
    turned = (image[..., ::-1] * 2.0 - [1, 0, -1]) / [0.5, 1, 2]
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(turned, (2, 1)))
    assert heatmap.verification is not None
    assert heatmap.verification.max_error == 0


def test_only_windows_inside_the_rectangle_and_on_the_mask_are_scored() -> None:
    image = picture(60, 50)
    mask = np.zeros((6, 5), np.uint8)
    mask[2:, 1:4] = 1
    heatmap = scan(converted((2, 3)), image, roi=(9, 7, 45, 53), mask=mask, tile=(4, 5))
    expected = crops_scores(image, (2, 3))
    for row in range(expected.shape[1]):
        for column in range(expected.shape[2]):
            x0, y0, x1, y1 = heatmap.box(row, column)
            inside = x0 >= 9 and y0 >= 7 and x1 <= 45 and y1 <= 53
            on_it = mask[int((y0 + y1) / 2 / 10), int((x0 + x1) / 2 / 10)]
            if not (inside and on_it):
                expected[:, row, column] = np.nan
    assert 0 < np.isnan(expected).sum() < expected.size
    np.testing.assert_array_equal(np.asarray(heatmap), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_windows_that_hold_a_nan_pixel_are_left_out_and_no_other(bad: float) -> None:
    image = picture(40, 30).astype(np.float32)
    image[13, 17, 1] = bad
    heatmap = scan(converted((2, 1)), image, tile=(4, 5))
    expected = crops_scores(np.nan_to_num(image, nan=0, posinf=0), (2, 1))
    for row in range(expected.shape[1]):
        for column in range(expected.shape[2]):
            x0, y0, x1, y1 = heatmap.box(row, column)
            if x0 <= 17 < x1 and y0 <= 13 < y1:
                expected[:, row, column] = np.nan
    np.testing.assert_array_equal(np.asarray(heatmap), expected)
    assert heatmap.metadata["odd_windows"] == np.isnan(expected[0]).sum()


def test_an_image_of_nan_alone_has_nothing_to_check() -> None:
    with pytest.warns(ImageWarning, match="no pixel of array that was looked at is a number"):
        heatmap = scan(converted((2, 1)), np.full((40, 30, 3), np.nan, np.float32))
    assert np.isnan(np.asarray(heatmap)).all()
    assert heatmap.verification is None


def test_a_heatmap_carries_its_geometry_and_all_that_decided_it(tmp_path: Path) -> None:
    fcn = converted((2, 3))
    image = picture(60, 50)
    scan(fcn, image, tmp_path / "heat.zarr", own_um_per_pixel=0.5, resize=0.5, tile=(4, 5))
    group = zarr.open_group(tmp_path / "heat.zarr", mode="r")
    ome: Any = group.attrs["ome"]
    (multiscale,) = ome["multiscales"]
    assert ome["version"] == "0.5"
    assert multiscale["axes"] == [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    scale, translation = multiscale["datasets"][0]["coordinateTransformations"]
    # One step is 2 by 3 pixels of the halved image: 4 by 6 of the original, of 0.5 um each.
    assert scale == {"type": "scale", "scale": [1.0, 2.0, 3.0]}
    # The first window's centre is 12 by 9 original pixels from the edge; pixel 0 is centred on 0.
    assert translation == {"type": "translation", "translation": [0.0, 11.5 * 0.5, 8.5 * 0.5]}
    assert group["0"].shape == (2, 10, 6)
    assert group["0"].metadata.dimension_names == ("c", "y", "x")  # type: ignore[union-attr]
    held: Any = group.attrs["fullconv"]
    assert held["window"] == [12, 9]
    assert held["step"] == [2, 3]
    assert held["exact"] is True
    assert held["versions"].keys() == {"fullconv", "numpy", "zarr", "onnxruntime"}
    assert held["original_size"] == [60, 50]
    assert held["image_size"] == [30, 25]
    assert held["model"] == Engine(fcn).digest
    assert held["verification"]["passed"] is True
    assert Heatmap.open(tmp_path / "heat.zarr").box(1, 2) == (12, 4, 30, 28)


@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_smaller_types_store_the_nearest_score_and_the_check_knows(
    dtype: str, tmp_path: Path
) -> None:
    fcn = fullconv.convert("src/fullconv/demo/dress.onnx")
    image = np.random.default_rng(0).integers(0, 256, (256, 200, 3), np.uint8)
    mask = np.ones((4, 4), np.uint8)
    mask[1, 0] = 0
    full = np.asarray(scan(fcn, image, mask=mask))
    heatmap = scan(fcn, image, tmp_path / "heat.zarr", mask=mask, dtype=dtype)
    stored = np.asarray(heatmap)
    assert (np.isnan(stored) == np.isnan(full)).all()
    assert np.isnan(full).any()
    unit = {"float16": 2.0**-11, "uint8": 0.5 / 254}[dtype]
    assert np.nanmax(np.abs(stored - full)) <= unit
    assert heatmap.verification is not None
    assert heatmap.verification.passed
    assert heatmap.verification.max_error > 0


def test_uint8_refuses_scores_that_are_no_probabilities(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="dtype='uint8' stores scores between 0 and 1, and the"):
        scan(converted((2, 1)), picture(40, 30), tmp_path / "heat.zarr", dtype="uint8")
    assert list(tmp_path.iterdir()) == []


def test_a_geotiff_lies_over_its_raster(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    image, place = picture(60, 50), (2.0, 0.0, 1000.0, 0.0, -2.0, 5000.0)
    path = tmp_path / "map.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=50, height=60, count=3, dtype="uint8",
        crs="EPSG:32632", transform=rasterio.Affine(*place),
    ) as raster:  # fmt: skip
        raster.write(image.transpose(2, 0, 1))
    out = tmp_path / "heat.tif"
    heatmap = scan(converted((2, 3)), path, out, tile=(4, 5))
    expected = crops_scores(image, (2, 3))
    np.testing.assert_array_equal(np.asarray(heatmap), expected)
    with rasterio.open(out) as raster:
        assert raster.crs.to_epsg() == 32632
        np.testing.assert_array_equal(raster.read(), expected)
        for row, column in ((0, 0), (7, 5)):
            # The centre of a cell is the centre of its window on the ground.
            x0, y0, x1, y1 = heatmap.box(row, column)
            assert raster.xy(row, column) == (
                1000 + 2 * (x0 + x1) / 2,
                5000 - 2 * (y0 + y1) / 2,
            )
    proof = verify_heatmap(Heatmap.open(out), padded_model(), open_source(path), 20)
    assert proof is not None
    assert proof.max_error == 0


def test_a_geotiff_is_indexed_as_numpy_does(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    scan(converted((3, 3)), picture(60, 50), tmp_path / "heat.tif", windows_to_check=0)
    heatmap = Heatmap.open(tmp_path / "heat.tif")
    assert heatmap.shape == (2, 17, 14)
    for place in (
        np.s_[0], np.s_[-1, 3], np.s_[0, 3, 4], np.s_[..., 4], np.s_[:, 2:9:3, -5:],
        np.s_[1, ..., 2:2], np.s_[:, ::-2, ::-1], np.s_[0, [5, 1]], np.s_[[1, 0], [2, 7]],
        np.s_[:, np.arange(17) % 3 == 1], np.s_[np.int64(1), np.array([-1, 2]), 4:6], np.s_[:, []],
    ):  # fmt: skip
        np.testing.assert_array_equal(heatmap[place], np.asarray(heatmap)[place], str(place))
    for wrong in (
        *(np.s_[2], np.s_[0, 99], np.s_[0, [1, 99]], np.s_[0, 0, 0, 0]),
        *(np.s_[None, 0], np.s_[True, 1], np.s_[..., 0, ...]),
    ):
        with pytest.raises(IndexError):
            heatmap[wrong]


def test_a_check_notices_a_score_that_is_not_the_crops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(40, 30)
    path = tmp_path / "heat.zarr"
    scan(converted((2, 1)), image, path)
    array: Any = zarr.open_array(path, path="0", mode="r+")
    array[1, 3, 4] += 1
    heatmap = Heatmap.open(path)
    monkeypatch.setattr(Heatmap, "check", lambda _: None)  # which would notice it before
    proof = verify_heatmap(heatmap, padded_model(), open_source(image), 10_000)
    assert proof is not None
    assert proof.max_error == 1
    assert not proof.passed


def test_a_check_opens_no_second_session_of_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxFramework, "classifier", None)
    proof = scan(converted((2, 1)), picture(40, 30)).verification
    assert proof is not None
    assert proof.passed


def test_a_check_refuses_another_image(tmp_path: Path) -> None:
    scan(converted((2, 1)), picture(40, 30), tmp_path / "heat.zarr")
    heatmap = Heatmap.open(tmp_path / "heat.zarr")
    with pytest.raises(ImageError, match="array is 31x40 pixels, and the image that was scanned"):
        verify_heatmap(heatmap, padded_model(), open_source(picture(40, 31)))


def test_a_check_refuses_an_image_of_other_bands() -> None:
    heatmap = scan(converted((2, 1)), picture(40, 30))
    heatmap.metadata["channels"] = 3
    with pytest.raises(ImageError) as caught:
        verify_heatmap(heatmap, padded_model(), open_source(picture(40, 30)[..., :1]))
    assert str(caught.value) == ("array has 1 bands, and the scan read 3; give the same image.")


@pytest.mark.parametrize("windows", [1, 5, 64])
def test_the_checked_windows_are_spread_over_what_was_scanned(windows: int) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[:, :10] = 1
    heatmap = scan(converted((1, 1)), picture(120, 100), mask=mask, windows_to_check=0)
    places = np.array(sample(heatmap, windows))
    assert len(places) == windows == len(np.unique(places, axis=0))
    assert not np.isnan(heatmap[0][tuple(places.T)]).any()
    if windows == 64:
        quarters = {(row // 55, column // 23) for row, column in places.tolist()}
        assert quarters == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_many_windows_are_sampled_without_reading_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    heatmap = scan(converted((1, 1)), picture(120, 100), windows_to_check=0)
    monkeypatch.setattr("fullconv.scanning.check.MANY", 10)
    places = sample(heatmap, 64)
    assert 60 <= len(set(places)) <= 64


def test_progress_is_told_in_windows_and_pixels() -> None:
    told: list[Progress] = []
    scan(converted((2, 1)), picture(40, 30), tile=(4, 5), progress=told.append)
    assert [p.windows for p in told] == sorted(p.windows for p in told)
    assert told[0].windows == 0
    assert told[0].seconds_left is None
    assert told[-1].windows == told[-1].all_windows == 15 * 22
    assert told[-1].pixels == told[-1].all_pixels == 40 * 30
    assert told[-1].seconds_left == 0
    half = replace(told[-1], pixels=600, fresh_pixels=300, seconds=3.0)
    assert half.seconds_left == 6
    assert half.megapixels_per_s == pytest.approx(1e-4)


def test_the_image_is_resized_by_the_scale() -> None:
    image = picture(60, 50)
    from PIL import Image

    half = np.asarray(Image.fromarray(image).resize((25, 30), Image.Resampling.BILINEAR))
    heatmap = scan(converted((2, 1)), image, resize=0.5, tile=(3, 7))
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(half, (2, 1)))
    assert heatmap.box(0, 0) == (0, 0, 2 * W, 2 * H)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "heat.png"}, "scan(out='heat.png'): the kind of output is told by its ending"),
        ({"dtype": "int8"}, "scan(dtype='int8'): expected float32, float16, uint8."),
        ({"resize": 0}, "scan(resize=0): expected a number above 0 and up to 64"),
        ({"tile": (0, 3)}, "scan(tile=(0, 3)): expected rows and columns of windows, at least 1."),
        ({"tile": 5}, "scan(tile=5): expected rows and columns of windows, at least 1."),
        ({"bands": 5}, "scan(bands=5): expected a list of bands, counted from 1, as in [4, 3, 2]."),
        ({"windows_to_check": 1.5}, "scan(windows_to_check=1.5): expected 0 or more windows."),
        ({"memory_bytes": 0}, "scan(memory_bytes=0): expected at least 1 byte."),
        ({"windows_to_check": -1}, "scan(windows_to_check=-1): expected 0 or more windows."),
        ({"output": 1}, "scan(output=1): the model has 1 output(s), counted from 0."),
        ({"roi": (5, 5, 9, 9)}, "roi=(5, 5, 9, 9): no window of 9x12 pixels lies wholly inside"),
        ({"roi": "abcd"}, "roi=abcd: expected x0, y0, x1, y1 in pixels of the image"),
        ({"roi": ["0", "0", "x", "9"]}, "roi=['0', '0', 'x', '9']: expected x0, y0, x1, y1 in"),
        ({"roi": np.zeros((4, 1))}, "roi=[[0.] [0.] [0.] [0.]]: expected x0, y0, x1, y1 in pixels"),
        ({"roi": 5}, "roi=5: expected x0, y0, x1, y1 in pixels of the image"),
        ({"roi": (5, 5, 5, 9)}, "roi=(5, 5, 5, 9): expected x0, y0, x1, y1 in pixels of the image"),
        ({"mask": np.zeros((3, 3))}, "mask: it is 0 everywhere, so there is nothing to scan."),
    ],
)
def test_a_wrong_call_says_what_was_expected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        scan(converted((2, 1)), picture(40, 30), **options)
    assert str(caught.value).startswith(message)


def test_a_georeference_moves_by_windows() -> None:
    from fullconv.scanning.describing import placed

    place = Georeference((0.5, 0.1, 7.0, 0.2, -0.5, 9.0), "")
    a, b, c, d, e, f = placed((12, 9), (2, 3), Placement((4.0, 5.0), (0.5, -2.0)), place.transform)
    for row, column in ((0, 0), (3, 8)):
        # Cell centre in original pixels, by the window.
        y, x = (row * 2 + 6) * 4.0 + 0.5, (column * 3 + 4.5) * 5.0 - 2.0
        i, j = row + 0.5, column + 0.5
        assert a * j + b * i + c == pytest.approx(0.5 * x + 0.1 * y + 7, rel=1e-12)
        assert d * j + e * i + f == pytest.approx(0.2 * x - 0.5 * y + 9, rel=1e-12)


def test_a_seed_chooses_the_windows_that_are_checked() -> None:
    heatmap = scan(converted((2, 1)), picture(60, 50))
    chosen = [sample(heatmap, 9, seed) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(len(set(places)) == 9 for places in chosen)
