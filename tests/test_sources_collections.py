"""Plates, wells and other groups of OME-Zarr images: refused as one image, found as many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import zarr

from fullconv.errors import ImageError
from fullconv.sources import find_images, open_source
from test_cli_scan import call
from test_sources import check_pixels, noise

PIXELS = noise(48, 56)


def described(group: zarr.Group, version: str, **held: Any) -> None:
    """Write metadata where the version has it."""
    if version == "0.4":
        group.attrs.update(held)
    else:
        group.attrs["ome"] = {"version": "0.5"} | held


def image(path: Path, version: str) -> None:
    """Write an OME-Zarr image."""
    group = zarr.open_group(path, mode="a", zarr_format=2 if version == "0.4" else 3)
    group.create_array("0", data=PIXELS, chunks=(32, 32))
    space = [{"name": name, "type": "space"} for name in "yx"]
    scale = [{"type": "scale", "scale": [1.0, 1.0]}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    described(group, version, multiscales=[{"axes": space, "datasets": datasets}])


def plate(path: Path, version: str) -> list[str]:
    """Write a plate of two wells, one of them with two fields, and return its images."""
    fields = {"A/1": ["0", "1"], "B/2": ["0"]}
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    described(group, version, plate={"wells": [{"path": well} for well in fields]})
    for well, names in fields.items():
        described(group.require_group(well), version, well={"images": [{"path": n} for n in names]})
        for name in names:
            image(path / well / name, version)
    return [str(path / well / name) for well, names in fields.items() for name in names]


def several(path: Path, version: str, is_listed: bool) -> list[str]:
    """Write what bioformats2raw does: images by number, or as the group OME lists them."""
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    described(group, version, **{"bioformats2raw.layout": 3})
    names = ["1", "0"] if is_listed else ["0", "1", "2", "10"]
    if is_listed:
        described(group.require_group("OME"), version, series=names)
    for name in names:
        image(path / name, version)
    return [str(path / name) for name in names]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate_is_many_images_and_no_one(tmp_path: Path, version: str) -> None:
    images = plate(tmp_path / "plate.zarr", version)
    assert [str(path) for path in find_images([tmp_path / "plate.zarr"])] == images
    assert [str(path) for path in find_images([tmp_path])] == images
    assert [str(path) for path in find_images([tmp_path / "plate.zarr/A/1"])] == images[:2]
    check_pixels(open_source(tmp_path / "plate.zarr/A/1/0"), PIXELS)
    with pytest.raises(ImageError) as caught:
        open_source(tmp_path / "plate.zarr")
    assert str(caught.value) == (
        f"{tmp_path / 'plate.zarr'} is no image, and holds 3 images: {', '.join(images)}. Name one "
        f"of them; 'fullconv scan' and 'detect' take all of them, with a folder to write to."
    )


@pytest.mark.parametrize("is_listed", [True, False])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_images_of_bioformats2raw_are_found(tmp_path: Path, version: str, is_listed: bool) -> None:
    images = several(tmp_path / "many.zarr", version, is_listed)
    assert [str(path) for path in find_images([tmp_path / "many.zarr"])] == images
    with pytest.raises(ImageError, match=f"holds {len(images)} images"):
        open_source(tmp_path / "many.zarr")


def test_many_images_are_named_by_the_first_few(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a", mode="w")
    for name in range(8):
        image(tmp_path / "a" / str(name), "0.5")
    with pytest.raises(ImageError, match=r"a/4 and 3 more\. Name one"):
        open_source(tmp_path / "a")


def test_all_images_of_a_plate_are_scanned_by_one_command(tmp_path: Path) -> None:
    import onnx

    from test_placed_files import mean_of

    onnx.save(mean_of(1), tmp_path / "model.onnx")
    plate(tmp_path / "plate.zarr", "0.4")
    result = call(
        *("detect", str(tmp_path / "model.onnx"), str(tmp_path / "plate.zarr")),
        *("-o", str(tmp_path / "b.csv"), "--threshold", "0"),
    )
    assert (result.exit_code, result.stderr) == (0, "")
    names = {line.split(",")[0] for line in (tmp_path / "b.csv").read_text().splitlines()[1:]}
    assert names == {str(tmp_path / "plate.zarr" / name) for name in ("A/1/0", "A/1/1", "B/2/0")}
    result = call(
        *("scan", str(tmp_path / "model.onnx"), str(tmp_path / "plate.zarr")),
        *("-o", str(tmp_path / "heat.zarr")),
    )
    assert result.exit_code == 2
    assert f"there are 3 images ({tmp_path}/plate.zarr/A/1/0, " in result.stderr


@pytest.mark.parametrize(
    "held",
    [
        {"plate": {"wells": [{"path": "../other"}]}},
        {"plate": {"wells": [{"path": "/etc"}]}},
        {"plate": 5},
        {"well": {"images": [{}]}},
    ],
)
def test_a_broken_plate_is_one_line(tmp_path: Path, held: dict[str, Any]) -> None:
    group = zarr.open_group(tmp_path / "a", mode="w", zarr_format=2)
    group.attrs.update(held)
    assert find_images([tmp_path / "a"]) == [tmp_path / "a"]
    with pytest.raises(ImageError, match="the file is damaged or cut short"):
        open_source(tmp_path / "a")


def test_a_well_that_is_missing_is_named(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a", mode="w", zarr_format=2)
    group.attrs["plate"] = {"wells": [{"path": "A/1"}]}
    assert find_images([tmp_path / "a"]) == [tmp_path / "a/A/1"]
    with pytest.raises(ImageError, match="no such file"):
        open_source(tmp_path / "a/A/1")


def test_labels_are_no_images(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a", mode="w")
    image(tmp_path / "a/0", "0.5")
    image(tmp_path / "a/labels", "0.5")
    assert find_images([tmp_path / "a"]) == [tmp_path / "a/0"]
