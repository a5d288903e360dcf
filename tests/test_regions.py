"""What of an image is scanned: masks and rectangles, and pixels beyond single precision."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import fullconv
from fullconv.detections.detecting import detect
from fullconv.errors import InputError
from fullconv.geometry.windows import Windows
from fullconv.scanning.region import Region
from fullconv.scanning.scanner import scan
from fullconv.sources import open_source
from scans import converted, picture

STEP = (2, 1)
IMAGE = picture(60, 50)


def test_the_alpha_of_a_mask_marks_nothing() -> None:
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[..., 3] = 255
    mask[2:4, 1:3, :3] = 255
    expected = np.asarray(scan(converted(STEP), IMAGE, mask=mask[..., 0]))
    assert 0 < np.isnan(expected).sum() < expected.size
    np.testing.assert_array_equal(np.asarray(scan(converted(STEP), IMAGE, mask=mask)), expected)
    grey = mask[..., [0, 3]]
    np.testing.assert_array_equal(np.asarray(scan(converted(STEP), IMAGE, mask=grey)), expected)


def test_a_mask_of_nan_marks_nothing() -> None:
    mask = np.full((6, 5), np.nan)
    mask[2:4, 1:3] = 1
    expected = np.asarray(scan(converted(STEP), IMAGE, mask=np.nan_to_num(mask)))
    np.testing.assert_array_equal(np.asarray(scan(converted(STEP), IMAGE, mask=mask)), expected)


@pytest.mark.parametrize(("roi", "at"), [(None, (0, 0)), ((20, 20, 50, 60), (20, 15))])
def test_a_mask_that_marks_no_windows_centre_is_refused(
    tmp_path: Path, roi: tuple[float, ...] | None, at: tuple[int, int]
) -> None:
    mask = np.zeros(IMAGE.shape[:2], np.uint8)
    mask[at] = 1
    with pytest.raises(InputError) as caught:
        scan(converted(STEP), IMAGE, tmp_path / "heat.zarr", roi=roi, mask=mask)
    assert str(caught.value) == (
        "mask: it marks no window's centre, so there is nothing to scan; mark more of the image "
        "(and of the roi, where there is one), or scan at a smaller step."
    )
    assert os.listdir(tmp_path) == []


def test_a_mask_that_the_caller_has_opened_stays_open() -> None:
    with open_source(np.eye(6, dtype=np.uint8)) as mask:
        found = detect(converted(STEP), IMAGE, scales=(1.0, 0.75), mask=mask)
        assert mask.read((0, 6), (0, 6)).shape == (6, 6, 1)
    assert found.names == ("array",)


def test_masks_of_the_same_bits_in_another_shape_are_told_apart() -> None:
    bits = np.eye(8, dtype=np.uint8)
    windows = Windows.of(fullconv.Grid((12, 9), (2, 1)), (60, 50))
    image = open_source(np.zeros((60, 50), np.uint8))
    one, other = (
        Region.of(windows, image, None, mask).describe() for mask in (bits, bits.reshape(4, 16))
    )
    assert one != other


@pytest.mark.parametrize("end", [np.inf, np.nan])
def test_a_rectangle_without_an_end_is_refused(end: float) -> None:
    with pytest.raises(InputError, match="expected x0, y0, x1, y1 in pixels of the image"):
        scan(converted(STEP), IMAGE, roi=(0, 0, end, 40))


def test_a_pixel_beyond_single_precision_is_left_out_as_an_infinite_one() -> None:
    image = IMAGE.astype(np.float64)
    image[13, 17, 1] = np.inf
    expected = np.asarray(scan(converted(STEP), image))
    image[13, 17, 1] = 1e300
    heatmap = scan(converted(STEP), image)
    np.testing.assert_array_equal(np.asarray(heatmap), expected)
    assert heatmap.metadata["odd_windows"] == np.isnan(expected[0]).sum() > 0
