"""Scans of real files: levels and resolutions, deep and many bands, and models of PyTorch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import fullconv
from fullconv.errors import InputError
from fullconv.preprocessing import Preprocessing
from fullconv.scanning.check import verify_heatmap
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.scanner import scan
from fullconv.sources import reopen
from networks.specs import Flatten, Linear
from scans import PADDED, converted, crops_scores, picture

STEP = (2, 1)

IN_TORCH = replace(
    PADDED, head=Flatten(style="nn.Flatten"), tail=(Linear(out=2, style="nn.Linear"),)
)


def pyramid(path: Path, um: float | None = 0.25) -> list[np.ndarray]:
    """Write an OME-TIFF of three levels, and return their pixels."""
    levels = [picture(160, 120), picture(80, 60, seed=1), picture(40, 30, seed=2)]
    named: dict[str, Any] = {"axes": "YXS"}
    if um is not None:
        named |= {"PhysicalSizeX": um, "PhysicalSizeY": um}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        options: dict[str, Any] = {"tile": (32, 32), "photometric": "rgb", "compression": "zlib"}
        tiff.write(levels[0], subifds=2, metadata=named, **options)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, **options)
    return levels


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_level_is_scanned_and_its_windows_lie_in_the_original(tmp_path: Path, level: int) -> None:
    levels = pyramid(tmp_path / "slide.ome.tif")
    heatmap = scan(converted(STEP), tmp_path / "slide.ome.tif", level=level, tile=(5, 7))
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(levels[level], STEP))
    f = 2**level
    assert heatmap.box(1, 2) == (2 * f, 2 * f, (2 + 9) * f, (2 + 12) * f)


def test_the_model_s_own_resolution_chooses_the_level(tmp_path: Path) -> None:
    levels = pyramid(tmp_path / "slide.ome.tif")
    trained = Preprocessing(um_per_pixel=0.5)
    path = tmp_path / "heat.zarr"
    heatmap = scan(converted(STEP), tmp_path / "slide.ome.tif", path, preprocessing=trained)
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(levels[1], STEP))
    described = Heatmap.open(path).metadata["image"]
    with reopen(described) as image:
        proof = verify_heatmap(heatmap, converted(STEP).model, image)
    assert proof is not None
    assert proof.max_error == 0
    assert heatmap.metadata["um_per_pixel"] == [0.5, 0.5]


def test_a_missing_resolution_names_the_flag(tmp_path: Path) -> None:
    pyramid(tmp_path / "slide.ome.tif", um=None)
    trained = Preprocessing(um_per_pixel=0.5)
    with pytest.raises(InputError, match="--image-um-per-pixel"):
        scan(converted(STEP), tmp_path / "slide.ome.tif", preprocessing=trained)
    heatmap = scan(
        converted(STEP), tmp_path / "slide.ome.tif", preprocessing=trained, own_um_per_pixel=0.25
    )
    assert heatmap.metadata["image_size"] == [80, 60]


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
def test_deep_pixels_and_chosen_bands_are_scanned(tmp_path: Path, dtype: str) -> None:
    image = picture(60, 50)
    bands = np.dstack([np.full((60, 50), 9), image[..., ::-1]]).astype(dtype)
    planar = np.ascontiguousarray(bands.transpose(2, 0, 1))
    tifffile.imwrite(
        tmp_path / "bands.tif",
        planar,
        tile=(32, 32),
        planarconfig="separate",
        photometric="minisblack",
    )
    heatmap = scan(converted(STEP), tmp_path / "bands.tif", bands=(4, 3, 2), tile=(5, 7))
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(image, STEP))


def test_the_same_file_by_another_path_is_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tifffile.imwrite(tmp_path / "image.tif", picture(60, 50))
    scan(converted(STEP), tmp_path / "image.tif", tmp_path / "heat.zarr")
    monkeypatch.chdir(tmp_path)
    assert scan(converted(STEP), "image.tif", "heat.zarr").shape == (2, 25, 42)


def test_an_image_that_changed_is_another_run(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", picture(60, 50))
    scan(converted(STEP), tmp_path / "image.tif", tmp_path / "heat.zarr")
    tifffile.imwrite(tmp_path / "image.tif", picture(60, 50, seed=5))
    with pytest.raises(InputError, match="the image as it was before it changed"):
        scan(converted(STEP), tmp_path / "image.tif", tmp_path / "heat.zarr")


@pytest.fixture
def module() -> Any:
    pytest.importorskip("torch")
    from networks.torch_form import torch_form

    return torch_form(IN_TORCH)


def test_a_module_scans_to_the_scores_of_its_crops(module: Any) -> None:
    import torch

    from oracle import scores_of_crops, torch_classifier

    image = picture(60, 50)
    fcn = fullconv.convert(module, PADDED.window, STEP)
    images = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    expected = scores_of_crops(torch_classifier(module), images, PADDED.window, STEP)[0]
    heatmap = scan(fcn, image, classifier=module, tile=(5, 7))
    np.testing.assert_array_equal(np.asarray(heatmap), expected.numpy())
    assert heatmap.metadata["chosen"]["runtime"] == "torch"
    assert heatmap.verification is not None
    assert heatmap.verification.max_error == 0


def test_less_precision_is_asked_for_and_told(module: Any) -> None:
    image = picture(60, 50)
    fcn = fullconv.convert(module, PADDED.window, STEP)
    heatmap = scan(fcn, image, precision="bf16", tile=(5, 7))
    proof = heatmap.verification
    assert proof is not None
    assert not proof.exact
    assert proof.max_error > 0
    assert proof.agreement > 0.5
    assert heatmap.metadata["precision"] == "bf16"


def test_a_module_in_half_precision_scans_in_it(module: Any) -> None:
    import torch

    half = module.to(torch.bfloat16)
    fcn = fullconv.convert(half, PADDED.window, STEP)
    heatmap = scan(fcn, picture(60, 50), classifier=half, precision="bf16", tile=(5, 7))
    assert heatmap.verification is not None
    assert np.isfinite(np.asarray(heatmap)).all()


@pytest.mark.skipif("not __import__('torch').cuda.is_available()", reason="no CUDA device")
def test_a_module_scans_on_cuda(module: Any) -> None:
    image = picture(60, 50)
    fcn = fullconv.convert(module, PADDED.window, STEP)
    on_cpu = np.asarray(scan(fcn, image))
    heatmap = scan(fcn, image, device="cuda", tile=(5, 7))
    assert heatmap.metadata["chosen"]["device"] == "cuda"
    np.testing.assert_array_equal(np.asarray(heatmap), on_cpu)
