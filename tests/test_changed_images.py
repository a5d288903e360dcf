"""An image that changed is noticed before anything is called equal; one that was copied goes on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import zarr
from PIL import Image

from fullconv.errors import ImageError, InputError
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.progress import Progress
from fullconv.scanning.scanner import scan
from fullconv.sources import contents, open_source
from scans import converted, crops_scores, padded_model, picture
from test_cli_scan import call
from test_resume import PulledError, pull_after

STEP = (2, 1)
IMAGE, OTHER = picture(60, 50), picture(60, 50, seed=1)
KINDS = ("bmp", "tif", "zarr", "vrt")


def write(folder: Path, kind: str, pixels: np.ndarray) -> Path:
    """Write an image; of a mosaic, only what it refers to holds the pixels."""
    image = folder / f"image.{kind}"
    if kind == "bmp":
        Image.fromarray(pixels).save(image)
    elif kind == "tif":
        tifffile.imwrite(image, pixels, tile=(16, 16), photometric="rgb")
    elif kind == "zarr":
        zarr.create_array(image, data=pixels, chunks=(32, 32, 3), compressors=None, overwrite=True)
    else:
        shutil_of_gdal = pytest.importorskip("rasterio.shutil")
        source = folder / "source.tif"
        tifffile.imwrite(source, pixels, tile=(16, 16), photometric="rgb")
        if not image.exists():
            shutil_of_gdal.copy(source, image, driver="VRT")
    return image


def change(folder: Path, kind: str, pixels: np.ndarray = OTHER) -> None:
    """Write other pixels in place; every file keeps its size and time."""
    before = {file: file.stat() for file in contents.visible_files(folder)}
    write(folder, kind, pixels)
    for file, state in before.items():
        assert file.stat().st_size == state.st_size
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def interrupted(image: Any, out: Path, **options: Any) -> None:
    with pytest.raises(PulledError):
        scan(converted(STEP), image, out, tile=(4, 5), progress=pull_after(6), **options)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def test_an_image_that_was_touched_or_copied_goes_on(
    tmp_path: Path, folder: Path, kind: str
) -> None:
    image, out = write(folder, kind, IMAGE), tmp_path / "heat.zarr"
    interrupted(image, out)
    for file in contents.visible_files(folder):
        os.utime(file, ns=(1, 1))
    interrupted(image, out)
    shutil.copytree(folder, tmp_path / "copied")
    shutil.rmtree(folder)
    told: list[Progress] = []
    heatmap = scan(
        converted(STEP), tmp_path / "copied" / image.name, out, tile=(4, 5), progress=told.append
    )
    assert told[0].windows > 0
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(IMAGE, STEP))


def test_an_image_by_another_name_is_the_same_image(tmp_path: Path, folder: Path) -> None:
    image, out = write(folder, "tif", IMAGE), tmp_path / "heat.zarr"
    interrupted(image, out)
    image = image.rename(folder / "renamed.tif")
    scan(converted(STEP), image, out, tile=(4, 5))
    told: list[Progress] = []
    scan(converted(STEP), image, out, tile=(4, 5), progress=told.append)
    assert told == []


def test_an_image_that_changed_before_a_scan_goes_on_is_refused(
    tmp_path: Path, folder: Path, kind: str
) -> None:
    image, out = write(folder, kind, IMAGE), tmp_path / "heat.zarr"
    interrupted(image, out)
    change(folder, kind)
    with pytest.raises(InputError) as caught:
        scan(converted(STEP), image, out, tile=(4, 5))
    assert str(caught.value) == (
        f"{out}.part belongs to another run: the image as it was before it changed; finish it as "
        f"it was begun, or start again with resume=False (--no-resume)."
    )
    heatmap = scan(converted(STEP), image, out, tile=(4, 5), resume=False)
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(OTHER, STEP))


def test_a_finished_heatmap_of_an_image_that_changed_is_not_called_finished(
    tmp_path: Path, folder: Path, kind: str
) -> None:
    image, out = write(folder, kind, IMAGE), tmp_path / "heat.zarr"
    scan(converted(STEP), image, out)
    scan(converted(STEP), image, out)
    change(folder, kind)
    with pytest.raises(InputError, match="the image as it was before it changed; choose another"):
        scan(converted(STEP), image, out)


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_an_image_that_is_rewritten_while_it_is_scanned_is_noticed(
    tmp_path: Path, folder: Path, kind: str, where: str
) -> None:
    image, out = write(folder, kind, IMAGE), tmp_path / "heat.zarr"

    def rewrite(progress: Progress) -> None:
        if progress.windows == progress.all_windows:  # while nothing is read of what is half there
            change(folder, kind)

    with pytest.raises(ImageError) as caught:
        scan(
            *(converted(STEP), image, out if where == "disk" else None),
            tile=(4, 5),
            progress=rewrite,
        )
    assert str(caught.value) == (
        f"{image} was changed while it was scanned, so that some scores are of its old "
        f"pixels and some of the new; scan it again, with resume=False (--no-resume)."
    )
    assert not out.exists()
    if where == "disk":
        with pytest.raises(InputError, match="the image as it was before it changed"):
            scan(converted(STEP), image, out, tile=(4, 5))


def test_an_array_that_is_written_to_while_it_is_scanned_is_noticed() -> None:
    image = IMAGE.copy()

    def rewrite(progress: Progress) -> None:
        image[50:, 40:] = 0

    with pytest.raises(ImageError, match="array was changed while it was scanned"):
        scan(converted(STEP), image, tile=(4, 5), progress=rewrite)


@pytest.mark.parametrize("how", ["added", "changed", "removed"])
def test_a_chunk_of_a_zarr_image_that_was_added_changed_or_removed_is_noticed(
    tmp_path: Path, folder: Path, how: str
) -> None:
    image = folder / "image.zarr"
    array: Any = zarr.create_array(image, shape=(60, 50, 3), chunks=(16, 16, 3), dtype=np.uint8)
    array[:48, :48] = IMAGE[:48, :48]
    out = tmp_path / "heat.zarr"
    interrupted(image, out)
    chunk = image / "c" / "1" / "1" / "0"
    if how == "added":
        array[50:, 48:] = 1
    elif how == "changed":
        array[20, 20] = (array[20, 20] + 1) % 4
    else:
        chunk.unlink()
    with pytest.raises(InputError, match="the image as it was before it changed"):
        scan(converted(STEP), image, out, tile=(4, 5))


def test_an_image_in_a_plate_is_known_by_its_own_pixels(tmp_path: Path, folder: Path) -> None:
    """A plate is many images, each in a folder of its own."""
    for name in ("A", "B"):
        zarr.create_array(folder / name / "1" / "0" / "0", data=IMAGE, chunks=(32, 32, 3))
    image, out = folder / "A" / "1" / "0" / "0", tmp_path / "heat.zarr"
    interrupted(image, out)
    other: Any = zarr.open_array(folder / "B" / "1" / "0" / "0", mode="r+")
    other[:] = OTHER
    interrupted(image, out)
    own: Any = zarr.open_array(image, mode="r+")
    own[:] = OTHER
    with pytest.raises(InputError, match="the image as it was before it changed"):
        scan(converted(STEP), image, out, tile=(4, 5))


# Images of which only a part of the bytes is looked at


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the first and last bytes of a file only."""
    monkeypatch.setattr(contents, "WHOLE_BYTES", 100)
    monkeypatch.setattr(contents, "PIECES", 2)
    monkeypatch.setattr(contents, "PIECE_BYTES", 8)


@pytest.mark.usefixtures("sampled")
def test_what_was_overlooked_of_a_large_image_is_found_by_its_tiles(
    tmp_path: Path, folder: Path
) -> None:
    image, out = write(folder, "tif", IMAGE), tmp_path / "heat.zarr"
    interrupted(image, out)
    before = open_source(image).fingerprint()
    change(folder, "tif")
    assert open_source(image).fingerprint() == before, "nothing is to be seen of it"
    fresh: list[int] = []
    with pytest.raises(ImageError) as caught:
        scan(
            *(converted(STEP), image, out),
            tile=(4, 5),
            progress=lambda progress: fresh.append(progress.fresh_pixels),
        )
    assert str(caught.value).startswith(f"{image} has changed since a part of it was scanned (its ")
    assert "\n" not in str(caught.value)
    assert not any(fresh), "it is found before more is scanned"
    heatmap = scan(converted(STEP), image, out, tile=(4, 5), resume=False)
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(OTHER, STEP))


@pytest.mark.usefixtures("sampled")
def test_what_was_overlooked_of_a_large_image_is_found_at_the_end_of_a_scan(
    tmp_path: Path, folder: Path
) -> None:
    image, out = write(folder, "tif", IMAGE), tmp_path / "heat.zarr"

    def rewrite(progress: Progress) -> None:
        if progress.windows == progress.all_windows:
            change(folder, "tif")

    with pytest.raises(ImageError, match="has changed since a part of it was scanned"):
        scan(converted(STEP), image, out, tile=(4, 5), progress=rewrite)


@pytest.mark.usefixtures("sampled")
def test_a_large_image_goes_on_and_a_repaired_tile_has_no_pixels_to_compare(
    tmp_path: Path, folder: Path
) -> None:
    image, out = write(folder, "tif", IMAGE), tmp_path / "heat.zarr"
    interrupted(image, out)
    scan(converted(STEP), image, out, tile=(4, 5))
    (out / "0" / "c" / "0" / "1" / "1").unlink()
    heatmap = scan(converted(STEP), image, out, tile=(4, 5), repair=True)
    np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(IMAGE, STEP))


# The command line


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(padded_model(), tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_verify_says_that_an_image_has_changed_before_it_compares(here: Path) -> None:
    write(here, "bmp", IMAGE)
    assert call("scan", "model.onnx", "image.bmp", "-o", "heat.zarr").exit_code == 0
    change(here, "bmp")
    result = call("verify", "heat.zarr")
    assert result.exit_code == 4
    assert result.stdout.startswith(
        f"note     {here}/image.bmp is not what was scanned: another image, or changed\n"
    )
    assert "verdict                NOT equal" in result.stdout


def test_a_change_where_no_window_was_compared_is_not_called_equal(here: Path) -> None:
    write(here, "bmp", IMAGE)
    call("scan", "model.onnx", "image.bmp", "-o", "heat.zarr", "--roi", "0,0,50,40")
    changed = IMAGE.copy()
    changed[55] = 0
    change(here, "bmp", changed)
    result = call("verify", "heat.zarr")
    assert result.exit_code == 4
    assert result.stdout.splitlines()[-1] == (
        "verdict                NOT proven: the image has changed since it was scanned, though not "
        "in the windows that were compared; give the image as it was, or scan again"
    )
    Image.fromarray(IMAGE).save("other.png")
    result = call("verify", "heat.zarr", "other.png")
    assert result.exit_code == 0, "the same pixels in another file, which the user has named"
    assert result.stdout.startswith("note     other.png is not what was scanned: another image")
    assert result.stdout.splitlines()[-1] == (
        "verdict                equal in the windows that were compared, of a file that is not the "
        "one scanned"
    )
    shutil.copy("image.bmp", "copy.bmp")
    write(here, "bmp", IMAGE)
    result = call("verify", "heat.zarr")
    assert (result.exit_code, "note" in result.stdout) == (0, False)


def test_scan_goes_on_with_a_note_and_finishes(here: Path) -> None:
    image, out = write(here, "bmp", IMAGE), here / "heat.zarr"
    interrupted(image, out, preprocessing=None)
    chunk = next(path for path in (here / "heat.zarr.part").rglob("0/c/0/*/*") if path.is_file())
    chunk.write_bytes(b"")
    result = call("scan", "model.onnx", "image.bmp", "-o", "heat.zarr", "--tile", "5x4")
    assert result.exit_code == 0, result.output
    assert "note     heat.zarr.part: computed again: rows " in result.stdout
    assert result.stdout.index("computed again") < result.stdout.index("equal: the scores")
    np.testing.assert_array_equal(np.asarray(Heatmap.open(out)), crops_scores(IMAGE, STEP))
