"""A finished heatmap that lost scores, or holds others, says where, and is repaired there."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import zarr
from PIL import Image
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec

import fullconv
from data import REPOSITORY
from fullconv.errors import DamagedError, HeatmapWarning, InputError
from fullconv.scanning.check import verify_heatmap
from fullconv.scanning.digests import digest, is_sealed, sealed
from fullconv.scanning.heatmap import RECORD_CHANGED, Heatmap
from fullconv.scanning.progress import Progress
from fullconv.scanning.scanner import scan
from fullconv.sources import open_source
from scans import converted, crops_scores, padded_model, picture
from test_cli_scan import call

STEP, TILE = (2, 1), (9, 14)
IMAGE, OTHER = picture(60, 50), picture(60, 50, seed=1)
EXPECTED = crops_scores(IMAGE, STEP)
"""25 x 42 windows, in 3 x 3 tiles."""


def made(out: Path, image: Any = IMAGE, **options: Any) -> Heatmap:
    return scan(converted(STEP), image, out, **{"tile": TILE} | options)


def chunk(out: Path, row: int, column: int) -> Path:
    return out / "0" / "c" / "0" / f"{row}" / f"{column}"


def listed(folder: Path) -> list[str]:
    """Return what lies below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def remove(out: Path) -> None:
    chunk(out, 1, 2).unlink()


def cut(out: Path) -> None:
    whole = chunk(out, 1, 2).read_bytes()
    chunk(out, 1, 2).write_bytes(whole[: len(whole) // 2])


def empty(out: Path) -> None:
    chunk(out, 1, 2).write_bytes(b"")


def flip(out: Path) -> None:
    data = bytearray(chunk(out, 1, 2).read_bytes())
    data[len(data) // 2] ^= 8
    chunk(out, 1, 2).write_bytes(data)


def replace(out: Path) -> None:
    """Put there the same chunk of the heatmap of another image."""
    made(out.with_name("other.zarr"), OTHER, windows_to_check=0)
    shutil.copy(chunk(out.with_name("other.zarr"), 1, 2), chunk(out, 1, 2))


def edit(out: Path) -> None:
    array: Any = zarr.open_array(out, path="0", mode="r+")
    array[1, 10, 30] += 1


def turn(out: Path) -> None:
    """Put a folder in the place of the chunk."""
    chunk(out, 1, 2).unlink()
    chunk(out, 1, 2).mkdir()


def pipe(out: Path) -> None:
    chunk(out, 1, 2).unlink()
    os.mkfifo(chunk(out, 1, 2))


def lead_to_a_device(out: Path) -> None:
    chunk(out, 1, 2).unlink()
    chunk(out, 1, 2).symlink_to("/dev/zero")


def bomb(out: Path) -> None:
    """Put there 92 kB that claim 3 GB."""
    chunk(out, 1, 2).write_bytes(zstd_of_zeros(3_000_000_000))


def zstd_of_zeros(size: int, is_told: bool = True) -> bytes:
    """Return a frame of zstd (RFC 8878, section 3.1.1), in blocks of one byte repeated."""
    told = b"\xe0" + size.to_bytes(8, "little") if is_told else b"\x00\x38"
    blocks = []
    while size:
        block = min(1 << 17, size)
        size -= block
        blocks.append((block << 3 | 2 | (not size)).to_bytes(3, "little") + b"\0")
    return b"\x28\xb5\x2f\xfd" + told + b"".join(blocks)


HURTS: dict[Callable[[Path], None], str] = {
    remove: "missing",
    cut: "damaged (",
    empty: "damaged (",
    flip: "damaged (",
    replace: "not the scores that were scanned",
    edit: "not the scores that were scanned",
    turn: "missing",
    bomb: "damaged (",
}
if hasattr(os, "mkfifo"):
    HURTS |= {pipe: "damaged (", lead_to_a_device: "damaged ("}

WHERE = "rows 9 to 17 and columns 28 to 41 of the windows (pixels 28,18 to 50,46): "


@pytest.mark.parametrize("hurt", HURTS, ids=lambda hurt: hurt.__name__)
def test_what_is_lost_is_named_and_repaired(tmp_path: Path, hurt: Callable[[Path], None]) -> None:
    out = tmp_path / "heat.zarr"
    assert made(out).damage() == ()
    hurt(out)
    (damage,) = Heatmap.open(out).damage()
    assert (damage.rows, damage.columns, damage.box) == ((9, 18), (28, 42), (28, 18, 50, 46))
    assert str(damage).startswith(WHERE + HURTS[hurt])
    with pytest.raises(DamagedError) as caught:
        made(out)
    assert str(caught.value) == (
        f"{out} is damaged, {damage}; scan it once more with repair=True (--repair), which "
        f"computes only what is lost."
    )
    assert caught.value.damage == (damage,)
    with pytest.raises(DamagedError):
        verify_heatmap(Heatmap.open(out), padded_model(), open_source(IMAGE))
    told: list[Progress] = []
    heatmap = made(out, repair=True, progress=told.append)
    assert told[-1].windows - told[0].windows == 9 * 14, "of one tile"
    np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
    assert heatmap.damage() == ()
    assert not list(tmp_path.glob("*.part"))
    assert made(out).metadata["run"] == heatmap.metadata["run"]


def test_chunks_that_have_changed_places_are_both_named(tmp_path: Path) -> None:
    out = tmp_path / "heat.zarr"
    made(out)
    one, other = chunk(out, 0, 0), chunk(out, 1, 1)
    one.rename(out / "kept")
    other.rename(one)
    (out / "kept").rename(other)
    assert [damage.tile for damage in Heatmap.open(out).damage()] == [0, 4]
    np.testing.assert_array_equal(np.asarray(made(out, repair=True)), EXPECTED)


def test_of_much_damage_a_few_rectangles_are_named(tmp_path: Path) -> None:
    out = tmp_path / "heat.zarr"
    made(out)
    shutil.rmtree(out / "0" / "c")
    with pytest.raises(DamagedError, match=r"missing; rows 0 .*missing; and 6 more; scan it"):
        made(out)
    np.testing.assert_array_equal(np.asarray(made(out, repair=True)), EXPECTED)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_windows_that_were_left_out_by_choice_are_no_damage(tmp_path: Path, dtype: str) -> None:
    image = IMAGE.astype(np.float32)
    image[50, 40] = np.nan
    mask = np.zeros((6, 5), np.uint8)
    mask[2:, :3] = 1
    out = tmp_path / "heat.zarr"
    options: dict[str, Any] = {"mask": mask, "roi": (0, 0, 48, 60), "dtype": dtype}
    heatmap = made(out, image, **options)
    scores = np.asarray(heatmap)
    assert heatmap.damage() == ()
    assert heatmap.metadata["windows"] == np.isfinite(scores[0]).sum() < scores[0].size
    assert not chunk(out, 0, 2).exists(), "nothing of it was to be scanned"
    chunk(out, 1, 0).unlink()
    assert [damage.tile for damage in Heatmap.open(out).damage()] == [3]
    again = made(out, image, repair=True, **options)
    np.testing.assert_array_equal(np.asarray(again), scores)
    assert again.metadata["odd_windows"] == heatmap.metadata["odd_windows"]


def test_scores_in_steps_have_checksums_too(tmp_path: Path) -> None:
    fcn = fullconv.convert("src/fullconv/demo/dress.onnx")
    image = np.random.default_rng(0).integers(0, 256, (256, 200, 3), np.uint8)
    mask = np.ones((4, 4), np.uint8)
    mask[1, 0] = 0
    out = tmp_path / "heat.zarr"
    options: dict[str, Any] = {"mask": mask, "dtype": "uint8", "tile": (4, 4)}
    expected = np.asarray(scan(fcn, image, out, **options))
    assert np.isnan(expected).any()
    chunk(out, 0, 0).unlink()
    chunk(out, 1, 1).write_bytes(b"")
    damage = Heatmap.open(out).damage()
    assert [one.why.partition(" ")[0] for one in damage] == ["missing", "damaged"]
    heatmap = scan(fcn, image, out, repair=True, **options)
    np.testing.assert_array_equal(np.asarray(heatmap), expected)


def test_scores_where_nothing_was_to_be_scanned_are_damage(tmp_path: Path) -> None:
    out = tmp_path / "heat.zarr"
    made(out, roi=(0, 0, 20, 30))
    array: Any = zarr.open_array(out, path="0", mode="r+")
    array[:, 20, 40] = 1
    assert [damage.tile for damage in Heatmap.open(out).damage()] == [8]


# What describes the scores


CHANGED: dict[str, dict[str, Any]] = {
    "smaller": {"shape": [2, 20, 42]},
    "turned": {"shape": [2, 42, 25]},
    "int32": {"data_type": "int32", "fill_value": 0},
    "float16": {"data_type": "float16", "fill_value": "NaN"},
    "bool": {"data_type": "bool", "fill_value": False},
}


@pytest.mark.parametrize("how", ["lost", "garbage", *CHANGED])
def test_scores_that_nobody_can_read_are_all_named_and_computed_again(
    tmp_path: Path, how: str
) -> None:
    out = tmp_path / "heat.zarr"
    made(out)
    described = out / "0" / "zarr.json"
    if how == "lost":
        described.unlink()
    elif how == "garbage":
        described.write_bytes(b"\0" * 100)
    else:
        described.write_text(json.dumps(json.loads(described.read_text()) | CHANGED[how]))
    heatmap = Heatmap.open(out)
    assert heatmap.shape == (2, 25, 42)
    assert len(heatmap.damage()) == 9
    with pytest.raises(DamagedError, match="cannot be read"):
        np.asarray(heatmap)
    np.testing.assert_array_equal(np.asarray(made(out, repair=True)), EXPECTED)


@pytest.mark.parametrize(
    ("dtype", "other"),
    [("float32", "int32"), ("float32", "uint32"), ("float16", "int16"), ("uint8", "int8")],
)
def test_scores_of_another_type_are_damaged_whatever_their_bytes(
    tmp_path: Path, dtype: str, other: str
) -> None:
    out = tmp_path / "heat.zarr"
    fcn = fullconv.convert("src/fullconv/demo/dress.onnx")
    image = np.random.default_rng(0).integers(0, 256, (256, 200, 3), np.uint8)
    options: dict[str, Any] = {"dtype": dtype, "tile": (4, 4)}
    expected = np.asarray(scan(fcn, image, out, **options))
    described = out / "0" / "zarr.json"
    held = json.loads(described.read_text())
    described.write_text(json.dumps(held | {"data_type": other, "fill_value": 0}))
    with pytest.raises(DamagedError, match=f"an array of {other}, and {dtype} was scanned"):
        scan(fcn, image, out, **options)
    np.testing.assert_array_equal(scan(fcn, image, out, repair=True, **options), expected)


def test_a_record_that_was_edited_is_noticed_and_nothing_is_believed(tmp_path: Path) -> None:
    out = tmp_path / "heat.zarr"
    made(out)
    record = out / "zarr.json"
    text = record.read_text()
    assert '"odd_windows": 0' in text
    record.write_text(text.replace('"odd_windows": 0', '"odd_windows": 5'))
    (damage,) = Heatmap.open(out).damage()
    assert (damage.rows, damage.columns) == ((0, 25), (0, 42))
    with pytest.raises(DamagedError, match="their record was changed after it was written"):
        made(out)
    told: list[Progress] = []
    heatmap = made(out, repair=True, progress=told.append)
    assert told[0].windows == 0
    assert heatmap.metadata["odd_windows"] == 0
    assert heatmap.damage() == ()


TAKEN_OUT: dict[str, tuple[str, ...]] = {
    "checksums": ("checksums",),
    "and the seal": ("checksums", "seal"),
    "and the run": ("checksums", "seal", "run"),
    "and the windows": ("checksums", "seal", "run", "windows"),
    "all but the run": ("checksums", "seal", "windows"),
    "the seal": ("seal",),
}


@pytest.mark.parametrize("kind", TAKEN_OUT)
@pytest.mark.parametrize("is_sealed_anew", [False, True])
def test_a_record_without_its_checksums_is_none_of_before(
    tmp_path: Path, kind: str, is_sealed_anew: bool
) -> None:
    out = tmp_path / "heat.zarr"
    made(out)
    group = zarr.open_group(out, mode="r+")
    held: Any = group.attrs["fullconv"]
    held = {name: value for name, value in held.items() if name not in TAKEN_OUT[kind]}
    if is_sealed_anew and "checksums" not in held:
        held = sealed(held)
    group.attrs["fullconv"] = held
    with pytest.raises(DamagedError, match="their record was changed after it was written"):
        made(out)
    heatmap = made(out, repair=True)
    np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
    assert heatmap.damage() == ()


@pytest.mark.parametrize("is_before", [False, True])
@pytest.mark.parametrize(
    "name", ["odd_windows", "origin", "georeference", "um_per_pixel", "chosen", "region"]
)
def test_a_record_that_lacks_what_is_read_is_one_line(
    before: Path, folder: Path, name: str, is_before: bool
) -> None:
    out = before / "heat.zarr"
    if not is_before:
        shutil.rmtree(out)
        made(out, folder / "image.png")
    group = zarr.open_group(out, mode="r+")
    held: Any = group.attrs["fullconv"]
    del held[name]
    group.attrs["fullconv"] = held if is_before else sealed(held)
    for arguments, said in (
        (("verify", out), f"{name} in its record is missing or damaged"),
        ((*SCAN[:3], "-o", out, *SCAN[5:]), "or one whose record is damaged; move it away"),
    ):
        result = call(*arguments)
        assert result.exit_code in (2, 3)
        assert said in result.stderr
        assert "Traceback" not in result.stderr


def test_a_record_is_the_same_however_its_json_is_written() -> None:
    record = {"a": [1.0, 2.5, float("inf")], "b": {"c": True, "d": None}, "e": 3}
    held = json.loads(json.dumps(sealed(record)))
    assert is_sealed(held)
    assert is_sealed({"e": 3.0, "seal": held["seal"], "b": held["b"], "a": [1, 2.5, float("inf")]})
    assert not is_sealed(held | {"e": 4})
    assert not is_sealed(record)


def test_names_that_others_add_to_the_group_are_no_damage(tmp_path: Path) -> None:
    out = tmp_path / "heat.zarr"
    made(out)
    zarr.open_group(out, mode="r+").attrs["mine"] = {"a": 1}
    zarr.open_group(out, mode="r+").create_group("labels")
    assert Heatmap.open(out).damage() == ()


# The description for viewers


def level(told: dict[str, Any]) -> dict[str, Any]:
    held: dict[str, Any] = told["attributes"]["ome"]["multiscales"][0]["datasets"][0]
    return held


def twice(told: dict[str, Any]) -> None:
    whole = told["attributes"]["ome"]["multiscales"][0]
    whole["coordinateTransformations"] = [{"type": "scale", "scale": [1, 2, 2]}]


def turned(told: dict[str, Any]) -> None:
    told["attributes"]["ome"]["multiscales"][0]["axes"].reverse()


TOLD: dict[str, tuple[str, Callable[[dict[str, Any]], Any], str]] = {
    "scale": ("", lambda told: level(told)["coordinateTransformations"][0].update(scale=[1, 8, 8]),
              "scale)"),
    "translation": (
        "", lambda told: level(told)["coordinateTransformations"][1]["translation"].reverse(),
        "translation"),
    "twice": ("", twice, "scale, translation"),
    "no transforms": ("", lambda told: level(told).pop("coordinateTransformations"), "scale, tr"),
    "path": ("", lambda told: level(told).update(path="../other.zarr/0"), "path"),
    "axes": ("", turned, "axes"),
    "no ome": ("", lambda told: told["attributes"].pop("ome"), "ome"),
    "words": ("", lambda told: told["attributes"].update(ome={"multiscales": 7}), "ome"),
    "names": ("0", lambda told: told.update(dimension_names=["c", "x", "y"]), "dimension_names"),
    "empty": ("0", lambda told: told.update(fill_value=0.0), "fill_value"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOLD)
def test_what_viewers_are_told_is_compared_and_written_anew(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "heat.zarr"
    made(out)
    where, change, named = TOLD[kind]
    described = out / where / "zarr.json"
    held = json.loads(described.read_text())
    change(held)
    described.write_text(json.dumps(held))
    (damage,) = Heatmap.open(out).damage()
    assert (damage.tile, damage.is_lost) == (None, False)
    assert damage.why.startswith(f"their description for viewers ({named}")
    with pytest.raises(DamagedError, match="does not match the scan"):
        made(out)
    told: list[Progress] = []
    heatmap = made(out, repair=True, progress=told.append)
    assert [one.fresh_pixels for one in told] == [0], "no score was computed again"
    np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
    assert heatmap.damage() == ()


def test_verify_exits_with_4_where_viewers_are_told_otherwise(folder: Path) -> None:
    assert call(*SCAN).exit_code == 0
    described = folder / "heat.zarr" / "zarr.json"
    held = json.loads(described.read_text())
    TOLD["path"][1](held)
    described.write_text(json.dumps(held))
    result = call("verify", "heat.zarr")
    assert result.exit_code == 4
    assert "(path) does not match the scan\n" in result.stdout
    assert "NOT whole: all scores are there, and viewers show them in another" in result.stdout
    assert call(*SCAN, "--repair").exit_code == 0
    assert call("verify", "heat.zarr").exit_code == 0


def test_a_record_of_other_windows_is_a_changed_one(tmp_path: Path) -> None:
    out = tmp_path / "heat.zarr"
    made(out)
    group = zarr.open_group(out, mode="r+")
    held: Any = group.attrs["fullconv"]
    group.attrs["fullconv"] = held | {"window": [12, 20]}
    (damage,) = Heatmap.open(out).damage()
    assert (damage.why, damage.box) == (RECORD_CHANGED, (0, 0, 50, 60))


def test_what_a_geotiff_tells_maps_is_compared_too(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    image, out = tmp_path / "image.tif", tmp_path / "heat.tif"
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.1, 0, 500000.3, 0, -0.1, 5.2e6)}
    with rasterio.open(image, "w", width=50, height=60, count=3, dtype="uint8", **place) as raster:
        raster.write(IMAGE.transpose(2, 0, 1))
    for placed, changes in (
        (image, {"crs": "EPSG:32632", "transform": rasterio.Affine(1, 0, 7, 0, -1, 0)}),
        (IMAGE, {"transform": rasterio.Affine(1, 0, 9, 0, 1, 9)}),
        (IMAGE, {"nodata": 0}),
    ):
        assert made(out, placed, overwrite=True).damage() == ()
        for name, value in changes.items():
            with rasterio.open(out, "r+") as raster:
                setattr(raster, name, value)
            (damage,) = Heatmap.open(out).damage()
            assert damage.why.startswith(f"their description for viewers ({name})")
            assert made(out, placed, repair=True).damage() == ()


# Stored again


@pytest.mark.parametrize("kind", ["other codec", "big-endian", "chunks", "shards", "wider", "v2"])
def test_a_heatmap_that_was_stored_again_keeps_its_digests(tmp_path: Path, kind: str) -> None:
    out, again = tmp_path / "heat.zarr", tmp_path / "again.zarr"
    asked: dict[str, Any] = {"roi": (0, 0, 48, 60)}
    asked["dtype"] = "float16" if kind == "wider" else "float32"
    heatmap = made(out, **asked)
    expected = held = np.asarray(heatmap.array)
    options: dict[str, Any] = {
        "other codec": {"chunks": (2, *TILE), "compressors": BloscCodec()},
        "big-endian": {"chunks": (2, *TILE), "serializer": BytesCodec(endian="big")},
        "chunks": {"chunks": (1, 7, 5), "compressors": GzipCodec()},
        "shards": {"chunks": (2, 5, 7), "shards": (2, 10, 42)},
        "wider": {"chunks": (2, 25, 42)},
        "v2": {"chunks": (2, 10, 10)},
    }[kind]
    if kind == "wider":
        held = held.astype(np.float64)
    group = zarr.create_group(again, zarr_format=2 if kind == "v2" else 3)
    options |= {"shape": held.shape, "dtype": held.dtype, "fill_value": np.nan}
    array = group.create_array("0", **options)
    array[:] = held
    group.attrs.put(dict(zarr.open_group(out, mode="r").attrs))
    assert Heatmap.open(again).damage() == ()
    array[0, 3, 4] = np.nextafter(held[0, 3, 4], held.dtype.type(99))
    assert [damage.tile for damage in Heatmap.open(again).damage()] == [0]
    shutil.rmtree(out)
    again.rename(out)
    repaired = made(out, repair=True, **asked)
    np.testing.assert_array_equal(np.asarray(repaired), expected)
    assert repaired.metadata["checksums"] == heatmap.metadata["checksums"]
    assert sorted(os.listdir(out)) == ["0", "zarr.json"]


def test_a_digest_stands_on_shape_and_numbers_alone() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    scores[0, 0, 0] = np.nan
    other = scores.copy()
    other.view(np.uint32)[0, 0, 0] ^= 0x80000001  # another NaN
    expected = digest(scores, "float32")
    assert len(expected) == 16
    for same in (other, scores.astype(">f4"), np.asfortranarray(scores), scores.astype(np.float64)):
        assert digest(same, "float32") == expected
    for differs in (
        scores.transpose(0, 2, 1), scores.reshape(1, 6, 4), -scores,
        np.nan_to_num(scores), scores.astype(np.float64) * (1 + 1e-12), scores.view(np.int32),
    ):  # fmt: skip
        assert digest(differs, "float32") != expected


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_geotiff_has_the_digests_of_the_folder_and_says_where_it_is_damaged(
    tmp_path: Path, dtype: str
) -> None:
    rasterio = pytest.importorskip("rasterio")
    out = tmp_path / "heat.tif"
    heatmap = made(out, dtype=dtype)
    folder = made(tmp_path / "heat.zarr", dtype=dtype)
    assert heatmap.metadata["checksums"] == folder.metadata["checksums"]
    assert heatmap.damage() == ()
    with rasterio.open(out, "r+") as raster:
        block = raster.read(2)
        block[3, 5] *= 1 + 2**-20 if dtype == "float16" else 2
        raster.write(block, 2)
    assert [damage.tile for damage in Heatmap.open(out).damage()] == [0]
    with pytest.raises(DamagedError, match="not the scores that were scanned"):
        made(out, dtype=dtype)
    repaired = made(out, dtype=dtype, repair=True)
    np.testing.assert_array_equal(np.asarray(repaired), np.asarray(folder))
    assert sorted(os.listdir(tmp_path)) == ["heat.tif", "heat.zarr"]


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_geotiff_with_damaged_bytes_is_one_line(tmp_path: Path, part: float) -> None:
    pytest.importorskip("rasterio")
    out = tmp_path / "heat.tif"
    made(out)
    data = bytearray(out.read_bytes())
    data[int(part * len(data))] ^= 255
    out.write_bytes(data)
    with pytest.raises((DamagedError, InputError)) as caught:
        made(out)
    assert "\n" not in str(caught.value)


# The command line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    onnx.save(padded_model(), tmp_path / "model.onnx")
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SCAN = ("scan", "model.onnx", "image.png", "-o", "heat.zarr", "--tile", "14x9")


def test_scan_and_verify_exit_with_4_and_scan_repairs(folder: Path) -> None:
    assert call(*SCAN).exit_code == 0
    remove(folder / "heat.zarr")
    result = call(*SCAN)
    assert (result.exit_code, result.stderr) == (
        4,
        f"fullconv: error: heat.zarr is damaged, {WHERE}missing; scan it once more with "
        f"repair=True (--repair), which computes only what is lost.\n",
    )
    result = call("verify", "heat.zarr")
    assert (result.exit_code, result.stdout) == (
        4,
        f"damage                 {WHERE}missing\n"
        f"verdict                NOT whole: scores are lost, or are not those that were scanned; "
        f"the 'fullconv scan' that made it computes them again with --repair\n",
    )
    result = call("verify", "heat.zarr", "--json")
    assert result.exit_code == 4
    held = json.loads(result.stdout)
    assert held["damage"] == [
        {"rows": [9, 18], "columns": [28, 42], "box": [28, 18, 50, 46], "why": "missing"}
    ]
    assert held["passed"] is False
    result = call(*SCAN, "--repair")
    assert result.exit_code == 0
    assert result.stdout.endswith("wrote    heat.zarr, and kept what was whole of it\n")
    result = call("verify", "heat.zarr")
    assert result.exit_code == 0
    result = call(*SCAN, "--repair")
    assert result.exit_code == 0
    assert result.stdout.endswith(
        "done     heat.zarr was finished before; --overwrite scans again\n"
    )


def test_detect_repairs_what_it_has_kept(folder: Path) -> None:
    from fullconv.detections.detecting import detect

    def found() -> np.ndarray:
        return detect(converted(STEP), IMAGE, threshold=0, folder=folder / "kept", tile=TILE).boxes

    expected = found()
    (kept,) = (folder / "kept").iterdir()
    remove(kept)
    np.testing.assert_array_equal(found(), expected)
    assert Heatmap.open(kept).damage() == ()


# Made before heatmaps had checksums


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """Unpack what version 0.1.0 made of the same image and model, before there were checksums."""
    with zipfile.ZipFile(REPOSITORY / "tests" / "before_checksums.zip") as file:
        file.extractall(tmp_path)
    return tmp_path


def of_this_model(out: Path) -> None:
    """Have a heatmap of before be of this model, though how models are told apart may change."""
    from fullconv.scanning.engine import Engine

    group = zarr.open_group(out, mode="r+")
    record: Any = group.attrs["fullconv"]
    record["model"] = record["asked"]["model"] = Engine(converted(STEP)).digest
    group.attrs["fullconv"] = record


@pytest.mark.parametrize("name", ["heat.zarr", "heat.tif"])
def test_a_heatmap_of_before_opens_and_is_said_to_be_without_checksums(
    before: Path, folder: Path, name: str
) -> None:
    if name == "heat.tif":
        pytest.importorskip("rasterio")
    heatmap = Heatmap.open(before / name)
    np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
    assert heatmap.checksums is None
    assert heatmap.damage() == ()
    result = call("verify", before / name, "image.png", "--original", "model.onnx")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(
        f"note     {before / name} was made before heatmaps had checksums: of scores that were "
        f"lost or changed since, only those show that are missing or cannot be read\n"
    )


def test_a_heatmap_of_before_is_finished_and_its_missing_chunks_are_named(
    before: Path, folder: Path
) -> None:
    out = before / "heat.zarr"
    of_this_model(out)
    with pytest.warns(HeatmapWarning, match="was made before heatmaps had checksums: nobody can"):
        heatmap = made(out, folder / "image.png")
    assert heatmap.checksums is None
    remove(out)
    (damage,) = Heatmap.open(out).damage()
    assert str(damage) == f"{WHERE}missing"
    with pytest.raises(DamagedError):
        made(out, folder / "image.png")
    heatmap = made(out, folder / "image.png", repair=True)
    np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
    assert heatmap.checksums is not None
    assert heatmap.damage() == ()


@pytest.mark.parametrize(
    "changed",
    [{"data_type": "int32", "fill_value": 0}, {"data_type": "uint8"}, {"shape": [2, 20, 42]}],
)
def test_a_heatmap_of_before_of_another_type_or_shape_is_damaged(
    before: Path, changed: dict[str, Any]
) -> None:
    described = before / "heat.zarr" / "0" / "zarr.json"
    held = {**json.loads(described.read_text()), "fill_value": 0} | changed
    described.write_text(json.dumps(held))
    assert len(Heatmap.open(before / "heat.zarr").damage()) == 9


def test_an_unfinished_output_of_before_is_refused_and_kept(before: Path, folder: Path) -> None:
    out = before / "begun.zarr"
    held = (before / "begun.zarr.part" / "tiles").read_bytes()
    with pytest.raises(InputError) as caught:
        made(out, folder / "image.png")
    assert "an earlier version of fullconv, which kept no checksums; finish it" in str(
        caught.value
    ) or "another model" in str(caught.value)
    assert (before / "begun.zarr.part" / "tiles").read_bytes() == held
    heatmap = made(out, folder / "image.png", resume=False)
    np.testing.assert_array_equal(np.asarray(heatmap), EXPECTED)
    assert not (before / "begun.zarr.part").exists()
