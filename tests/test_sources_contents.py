"""An image is what it holds: copies are the same, changes are noticed, also those of its parts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from fullconv.errors import ImageError
from fullconv.sources import contents, fit_channels, open_source, resized
from fullconv.sources.contents import PIECE_BYTES, contents_of, pieces
from test_sources import noise

UNREADABLE = Path("/proc/self/mem")
"""A file whose first bytes no process may read, though it opens."""


def write_bmp(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path.with_suffix(".bmp"))
    return path.with_suffix(".bmp")


def write_tiff(path: Path, pixels: np.ndarray) -> Path:
    tifffile.imwrite(path.with_suffix(".tif"), pixels, tile=(16, 16))
    return path.with_suffix(".tif")


def write_zarr(path: Path, pixels: np.ndarray) -> Path:
    zarr.create_array(path, data=pixels, chunks=(40, 45), compressors=None)
    return path


def write_vrt(path: Path, pixels: np.ndarray) -> Path:
    """Write a mosaic of a mosaic of a raster."""
    shutil_of_gdal = pytest.importorskip("rasterio.shutil")
    source = write_tiff(path / "source", pixels)
    shutil_of_gdal.copy(source, path / "inner.vrt", driver="VRT")
    text = (path / "inner.vrt").read_text()
    assert "source.tif" in text
    (path / "image.vrt").write_text(text.replace("source.tif", "inner.vrt"))
    return path / "image.vrt"


WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "bmp": lambda folder, pixels: write_bmp(folder / "image", pixels),
    "tiff": lambda folder, pixels: write_tiff(folder / "image", pixels),
    "zarr": lambda folder, pixels: write_zarr(folder / "image", pixels),
    "vrt": write_vrt,
}


def rewrite(folder: Path) -> None:
    """Change one byte of the file that holds the pixels, which keeps its size and its times."""
    (largest,) = sorted(contents.visible_files(folder), key=lambda file: file.stat().st_size)[-1:]
    before, data = largest.stat(), bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    os.utime(largest, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert largest.stat().st_size == before.st_size


@pytest.mark.parametrize("kind", WRITERS)
def test_an_image_that_was_touched_or_copied_is_the_same(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    image = WRITERS[kind](folder, noise(80, 90))
    before = open_source(image).fingerprint()
    for file in contents.visible_files(folder):
        os.utime(file, ns=(1, 1))
    assert open_source(image).fingerprint() == before
    shutil.copytree(folder, tmp_path / "b")
    assert open_source(tmp_path / "b" / image.name).fingerprint() == before


@pytest.mark.parametrize("kind", WRITERS)
def test_a_change_is_noticed_though_size_and_times_are_kept(tmp_path: Path, kind: str) -> None:
    image = WRITERS[kind](tmp_path, noise(80, 90))
    with open_source(image) as source:
        before = source.fingerprint()
        assert not source.has_changed()
        rewrite(tmp_path)
        assert source.has_changed()
        assert source.fingerprint() == before, "of what was opened"
    with open_source(image) as source:
        assert source.fingerprint() != before


@pytest.mark.parametrize("kind", WRITERS)
def test_a_view_changes_with_the_image_that_it_shows(tmp_path: Path, kind: str) -> None:
    image = WRITERS[kind](tmp_path, noise(80, 90))
    with resized(fit_channels(open_source(image), 3), (40, 45)) as view:
        view.fingerprint()
        assert not view.has_changed()
        rewrite(tmp_path)
        assert view.has_changed()


def test_an_array_that_is_written_to_has_changed() -> None:
    pixels = noise(80, 90, 3)
    source = open_source(pixels[:, ::-1])
    source.fingerprint()
    assert not source.has_changed()
    pixels[3, 4, 1] ^= 1
    assert source.has_changed()


def test_chunks_that_have_changed_places_are_another_image(tmp_path: Path) -> None:
    image = write_zarr(tmp_path / "image", noise(80, 90))
    before = open_source(image).fingerprint()
    one, other = image / "c/0/0", image / "c/1/1"
    one.rename(tmp_path / "kept")
    other.rename(one)
    (tmp_path / "kept").rename(other)
    assert open_source(image).fingerprint() != before


def test_a_source_of_a_mosaic_that_is_lost_or_back_is_noticed(tmp_path: Path) -> None:
    image = write_vrt(tmp_path, noise(80, 90))
    with open_source(image) as source:
        before = source.fingerprint()
        assert {file.name for file in source.files()} == {"image.vrt", "inner.vrt", "source.tif"}
        (tmp_path / "source.tif").rename(tmp_path / "away.tif")
        assert source.has_changed()
        (tmp_path / "away.tif").rename(tmp_path / "source.tif")
        assert not source.has_changed()
    assert open_source(image).fingerprint() == before


def test_statistics_that_programs_keep_beside_a_raster_are_none_of_it(tmp_path: Path) -> None:
    image = write_vrt(tmp_path, noise(80, 90))
    before = open_source(image).fingerprint()
    for name in ("image.vrt", "source.tif"):
        (tmp_path / f"{name}.aux.xml").write_text("<PAMDataset></PAMDataset>")
    assert open_source(image).fingerprint() == before


def test_a_file_that_was_left_alone_for_a_while_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_tiff(tmp_path / "image", noise(80, 90))
    monkeypatch.setattr(contents, "SETTLED_NS", 0)
    with open_source(image) as source:
        source.fingerprint()
        monkeypatch.setattr("fullconv.sources.source.contents_of", None)
        assert not source.has_changed()
        monkeypatch.undo()
        rewrite(tmp_path)
        monkeypatch.setattr(contents, "SETTLED_NS", 0)
        assert source.has_changed()


@pytest.mark.parametrize(
    "sizes",
    [[1 << 30], [1 << 29, 5, 0, 1 << 20], [PIECE_BYTES * 2] * 3000, [3] * 20_000, [1 << 28] * 7],
)
def test_pieces_lie_in_their_files_and_are_not_many(sizes: list[int]) -> None:
    found = list(pieces(sizes))
    assert all(0 <= place <= place + count <= sizes[number] for number, place, count in found)
    assert 1 <= len(found) <= 3 * contents.PIECES
    assert found == list(pieces(sizes))
    if len(sizes) < 10:
        assert {number for number, _, _ in found} == set(range(len(sizes)))


def test_of_a_large_file_a_change_as_long_as_a_part_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(contents, "PIECES", 8)
    monkeypatch.setattr(contents, "PIECE_BYTES", 1 << 10)
    held = np.random.default_rng(0).bytes(1 << 21)
    file, part = tmp_path / "image", (1 << 21) // 8
    file.write_bytes(held)
    before = contents_of([file])
    assert before.is_sampled
    for place in range(0, len(held) - 2 * part, part // 3):
        changed = bytearray(held)
        changed[place : place + 2 * part] = bytes(2 * part)
        file.write_bytes(changed)
        assert contents_of([file]) != before
    file.write_bytes(held + b"x")
    assert contents_of([file]) != before
    file.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
    assert contents_of([file]) != before


@pytest.mark.skipif(os.name != "posix", reason="this system does not say when a file was changed")
def test_a_file_that_was_written_only_now_may_change_again_unseen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").write_bytes(b"pixels")
    assert contents.signature_of([tmp_path / "image"]) is None
    monkeypatch.setattr(contents, "SETTLED_NS", 0)
    assert contents.signature_of([tmp_path / "image"]) is not None


@pytest.mark.skipif(not UNREADABLE.exists(), reason="only Linux has a file that opens and fails")
@pytest.mark.parametrize("size", [0, 1 << 22])
def test_a_disk_that_fails_is_not_taken_for_a_file_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Read whole, and in pieces."""
    monkeypatch.setattr(contents, "WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(contents, "_size", lambda file: size)
    with pytest.raises(ImageError) as caught:
        contents_of([UNREADABLE])
    assert str(caught.value) == (
        "/proc/self/mem cannot be read (Input/output error); look at its disk, or copy it to "
        "another."
    )


def test_a_large_array_on_a_disk_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = noise(256, 1 << 15)
    whole = open_source(pixels)
    assert not whole.is_sampled
    monkeypatch.setattr(contents, "WHOLE_ARRAY_BYTES", 1 << 20)
    monkeypatch.setattr(contents, "PIECES", 2)
    few = open_source(pixels)
    assert few.is_sampled
    assert few.fingerprint() == open_source(pixels.copy()).fingerprint() != whole.fingerprint()


def test_the_files_of_slides_that_lie_in_several_are_found(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    from fullconv.sources.slide import slide_files

    (tmp_path / "a").mkdir()
    for name in ("a.mrxs", "a/Slidedat.ini", "a/Data0000.dat", "b.vms", "c.jpg", "d.dcm", "e.dcm"):
        (tmp_path / name).write_text("[x]\nImageFile=c.jpg\nNoLayers=1\n")
    for name, expected in (
        ("a.mrxs", ["a.mrxs", "Data0000.dat", "Slidedat.ini"]),
        ("b.vms", ["b.vms", "c.jpg"]),
        ("d.dcm", ["d.dcm", "e.dcm"]),
        ("f.ndpi", ["f.ndpi"]),
    ):
        assert [file.name for file in slide_files(tmp_path / name)] == expected
