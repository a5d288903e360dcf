"""Pixels that cannot be what a model was trained on are remarked on, once, and before the scan."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
from numpy.typing import NDArray

import fullconv
from fullconv.errors import ImageWarning
from fullconv.geometry.windows import Windows
from fullconv.preprocessing import Preprocessing
from fullconv.scanning import pixels
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.pixels import PixelRange, look, made_for
from fullconv.scanning.region import Region
from fullconv.scanning.scanner import scan
from fullconv.sources import open_source
from scans import converted as padded
from scans import picture
from test_cli_scan import call
from test_placed_files import converted, mean_of

IMAGENET = {"mean": (0.485,), "std": (0.229,)}
CAFFE = {"mean": (123.68, 116.78, 103.94), "std": (1.0,)}


def field(dtype: str, most: float) -> NDArray[Any]:
    """Return an image whose numbers reach from 0 to ``most``."""
    drawn = np.random.default_rng(0).random((64, 80))
    drawn[0, :2] = 0, 1
    return (drawn * most).astype(dtype)


def warned(image: NDArray[Any], preprocessing: Preprocessing | None) -> list[str]:
    """Return what a scan warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scan(converted(1), image, preprocessing=preprocessing)
    assert all(issubclass(one.category, ImageWarning) for one in caught)
    return [str(one.message) for one in caught]


EIGHT, SIXTEEN = Preprocessing(scale=1 / 255), Preprocessing(scale=1 / 65535)


@pytest.mark.parametrize(
    ("image", "preprocessing", "hint"),
    [
        # 16 bits, or 8 of them, for the other; in whole and in real numbers.
        (field("uint8", 255), SIXTEEN, "--scale 0.00392157 "),
        (field("uint16", 250), SIXTEEN, "--scale 0.00392157 "),
        (field("uint8", 255), Preprocessing(scale=1 / 4095, **IMAGENET), "--scale 0.00392157 "),
        (field("uint16", 65535), EIGHT, "--scale 1.5259e-05 "),
        (field("uint16", 4000), EIGHT, "--scale 1.5259e-05 "),
        (field("float32", 65535), EIGHT, "--scale 1.5259e-05 "),
        (field("float32", 4000), EIGHT, "--scale 0.0002442 "),
        # From 0 to 1 for 255, and the other way round.
        (field("float32", 1), EIGHT, "--scale 1 "),
        (field("float64", 1), SIXTEEN, "--scale 1 "),
        (field("float32", 1), Preprocessing(mean=(124.0,)), "--scale 255 "),
        (field("float32", 1), Preprocessing(mean=(123.0,), std=(58.0,)), "--scale 255 "),
        (field("uint8", 1), EIGHT, "--scale 1 "),
        (field("int16", 1), EIGHT, "--scale 1 "),
        (field("uint8", 1), Preprocessing(mean=(124.0,)), "--scale 255 "),
        (field("uint8", 255), Preprocessing(**IMAGENET), "--scale 0.00392157 "),
        (field("float32", 255), Preprocessing(**IMAGENET), "--scale 0.00392157 "),
    ],
)
def test_a_range_that_cannot_be_meant_is_one_warning(
    image: NDArray[Any], preprocessing: Preprocessing | None, hint: str
) -> None:
    (line,) = warned(image, preprocessing)
    assert line.startswith("the pixels of array ")
    assert hint in line


@pytest.mark.parametrize(
    ("image", "preprocessing"),
    [
        (field("uint8", 255), EIGHT),
        (field("uint8", 3), EIGHT),  # a dark photo
        (field("uint8", 255), None),
        (field("uint16", 65535), None),  # nothing says what was meant
        (field("uint16", 65535), SIXTEEN),
        (field("uint16", 4095), SIXTEEN),  # a camera of 12 bits
        (field("uint16", 1023), Preprocessing(scale=1 / 4095)),
        (field("uint16", 255), EIGHT),
        (field("float32", 255), EIGHT),
        (field("float32", 1), Preprocessing(**IMAGENET)),
        (field("float32", 1), Preprocessing(mean=(0.5,), std=(0.5,))),
        (field("uint8", 255), Preprocessing(scale=1 / 255, **IMAGENET)),
        (field("uint8", 255), Preprocessing(scale=1 / 127.5, mean=(1.0,))),
        (field("uint8", 255), Preprocessing(mean=(123.68,))),
        (field("uint8", 255), Preprocessing(mean=(127.5,), std=(127.5,))),
        (field("uint8", 255), Preprocessing(scale=0.017, mean=(2.1,))),
        (field("float32", 9), None),
        (field("float32", 1), None),  # in memory: the caller's own affair
        (-field("float32", 1), None),
    ],
)
def test_a_range_that_can_be_meant_is_not_remarked_on(
    image: NDArray[Any], preprocessing: Preprocessing | None
) -> None:
    assert warned(image, preprocessing) == []


def test_a_file_of_0_to_1_for_a_model_that_says_nothing_is_remarked_on(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", field("float32", 1))
    with pytest.warns(
        ImageWarning, match="reach from 0 to 1; if the model was trained on 0 to 255"
    ):
        scan(converted(1), tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("preprocessing", [None, EIGHT, Preprocessing(**IMAGENET)])
def test_black_is_remarked_on(dtype: str, preprocessing: Preprocessing | None) -> None:
    image = np.zeros((64, 80), dtype)
    assert warned(image, preprocessing) == ["all pixels of array are 0 as the network sees them."]


def test_what_preprocessing_is_made_for() -> None:
    assert made_for(None) is None
    assert made_for(Preprocessing()) is None
    assert made_for(Preprocessing(um_per_pixel=0.5)) is None
    assert [made_for(Preprocessing(scale=1 / n)) for n in (1, 255, 256, 127.5, 4095, 65535)] == [
        *(None, 255, 255, 255, 4095, 65535)
    ]
    assert made_for(Preprocessing(**IMAGENET)) == 1
    assert made_for(Preprocessing(**CAFFE)) == 255
    assert made_for(Preprocessing(std=(255.0,))) == 255


def test_what_the_network_sees_is_that_of_all_pixels() -> None:
    image = picture(60, 50)
    heatmap = scan(padded((2, 1)), image, preprocessing=Preprocessing(2.0, (1.0,), (4.0,)))
    prepared = (image * np.float32(2) - 1) / 4
    assert heatmap.seen == PixelRange(
        -0.25, float(prepared.mean(dtype=np.float64)), 1.25, 0, 3, None
    )


def test_of_a_rectangle_only_its_pixels_are_looked_at() -> None:
    image = picture(60, 50)
    image[40:, 30:] = 200
    heatmap = scan(padded((2, 1)), image, roi=(0, 0, 30, 40))
    seen = heatmap.seen
    assert seen is not None
    assert (seen.low, seen.high) == (0, 3)


def test_what_is_no_number_or_missing_is_not_counted() -> None:
    image = picture(60, 50).astype(np.float32)
    image[5, 7] = np.nan
    image[6, 7] = np.inf
    seen = scan(padded((2, 1)), image).seen
    assert seen is not None
    assert (seen.low, seen.high) == (0, 3)


@pytest.mark.parametrize("preprocessing", [None, EIGHT])
def test_an_image_without_a_number_is_one_warning(preprocessing: Preprocessing | None) -> None:
    nothing = np.full((64, 80), np.nan, np.float32)
    assert warned(nothing, preprocessing) == [
        "no pixel of array that was looked at is a number for the network: they are NaN, infinite, "
        "or not in the file."
    ]
    with pytest.warns(ImageWarning, match="no pixel of array"):
        assert scan(converted(1), nothing).seen is None


@pytest.mark.parametrize("is_masked", [False, True])
def test_of_a_large_image_windows_spread_over_it_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, is_masked: bool
) -> None:
    monkeypatch.setattr(pixels, "WHOLE", 1000)
    image = open_source(np.arange(400 * 300, dtype=np.float32).reshape(400, 300))
    windows = Windows.of(fullconv.Grid((12, 9), (5, 3)), image.size)
    mask = np.zeros((40, 30), np.uint8)
    mask[13:21, 4:19] = 1
    region = Region.of(windows, image, None, mask if is_masked else None)
    read: list[Any] = []
    plain = image.read
    monkeypatch.setattr(image, "read", lambda *place: (read.append(place), plain(*place))[1])
    seen = look(image, region, None)
    assert seen is not None
    assert seen.windows == len(read) == len(set(read))
    if not is_masked:
        assert len(read) == 64
        tops, lefts = ({place[axis][0] for place in read} for axis in (0, 1))
        assert (len(tops), len(lefts)) == (8, 8)
        assert str(seen).endswith(", as the network sees them, in 64 windows of it")
    wanted = region.wanted((0, windows.shape[0]), (0, windows.shape[1]))
    for (y0, y1), (x0, x1) in read:
        assert (y1 - y0, x1 - x0) == (12, 9)
        assert wanted[y0 // 5, x0 // 3]
    assert look(image, region, None) == seen


def test_the_warning_comes_before_the_scan_and_the_summary_after(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", field("uint8", 255))
    onnx.save(mean_of(1), tmp_path / "model.onnx")
    fcn = fullconv.convert(mean_of(1))
    fcn.preprocessing = SIXTEEN
    fcn.save(tmp_path / "deep.onnx")
    named = str(tmp_path / "deep.onnx"), str(tmp_path / "a.tif"), "-o"
    for verb, out, more in (
        ("scan", "heat.zarr", ()),
        ("detect", "b.csv", ("--scales", "1,0.9")),
    ):
        lines = call(verb, *named, str(tmp_path / out), *more).stdout.splitlines()
        assert lines[0].startswith(
            f"note     the pixels of {tmp_path / 'a.tif'} reach from 0 to 255"
        )
        assert sum("the pixels of" in line for line in lines) == 1
        (told,) = (line for line in lines if line.startswith("pixels   "))
        assert told.startswith("pixels   0 to 0.003891, mean 0.00")
    kept = Heatmap.open(tmp_path / "heat.zarr")
    assert kept.seen is not None
    assert (kept.seen.least, kept.seen.most) == (0, 255)
