"""A zarr folder is only a folder: bombs, links, pipes and codecs that make objects are refused."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import pickle
import struct
import zlib
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import zarr
from zarr.codecs import GzipCodec

from fullconv.errors import ImageError
from fullconv.sources import open_source
from fullconv.sources.inflating import SIZES, inflated, inflates_beyond
from measured import opened
from test_sources import check_pixels, noise

BECOMES = "{} cannot be read: the file is damaged or cut short (a chunk of it becomes more than 67"
OUT = "{}: its part {!r} leads out of the folder; put a copy of what is meant in its place."
ZEROS = bytes(100 * 1024**2)
SHAPE = (256, 256)


def array(path: Path, version: int = 3, **options: object) -> Path:
    """Write an array of 256x256, of which one chunk is written."""
    options = {"shape": SHAPE, "chunks": (64, 64), "dtype": "u1", **options}
    held = zarr.create_array(path, zarr_format=version, **options)
    held[:64, :64] = np.arange(4096, dtype="u1").reshape(64, 64)
    return path


def put(path: Path, data: bytes) -> None:
    """Put these bytes in the place of the first chunk."""
    chunk = path / ("c/0/0" if (path / "zarr.json").exists() else "0.0")
    chunk.write_bytes(data)


def change(path: Path, **changes: object) -> None:
    """Change the array's metadata."""
    file = path / ("zarr.json" if (path / "zarr.json").exists() else ".zarray")
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def unsized_zstd(blocks: int) -> bytes:
    """Return a frame that does not say its size, of so many blocks of 128 KB, each of one byte."""
    parts = [
        struct.pack("<I", (1 << 17 << 3) | 2 | (number == blocks - 1))[:3] + b"\0"
        for number in range(blocks)
    ]
    return b"\x28\xb5\x2f\xfd\0\x38" + b"".join(parts)


PACKED = {
    "zlib": zlib.compress(ZEROS, 1),
    "gzip": gzip.compress(ZEROS, 1),
    "bz2": bz2.compress(ZEROS, 1),
    "lzma": lzma.compress(ZEROS, preset=0),
    "zstd": bytes(numcodecs.Zstd(1).encode(ZEROS)),
    "lz4": bytes(numcodecs.LZ4(1).encode(ZEROS)),
    "blosc": bytes(numcodecs.Blosc("zstd").encode(ZEROS)),
}


@pytest.mark.parametrize("codec", SIZES)
def test_how_large_bytes_become_is_known_before(codec):
    assert inflates_beyond(codec, PACKED[codec], len(ZEROS) - 1)
    assert not inflates_beyond(codec, PACKED[codec], len(ZEROS))


@pytest.mark.parametrize("codec", SIZES)
def test_damaged_bytes_are_left_to_their_decoder(codec):
    for data in (b"", b"x", PACKED[codec][:3], np.random.default_rng(0).bytes(5000)):
        inflates_beyond(codec, data, 100)
    assert not inflates_beyond("gzip", b"\x1f\x8b" + bytes(100_000), 10)


def test_streams_that_follow_each_other_are_counted_together():
    part = gzip.compress(np.random.default_rng(0).bytes(50_000))
    assert inflates_beyond("gzip", part * 4, 199_999)
    assert not inflates_beyond("gzip", part * 4, 200_000)
    part = bz2.compress(bytes(50_000))
    assert inflates_beyond("bz2", part * 4, 199_999)


def test_a_frame_that_does_not_say_its_size_is_decompressed_to_the_limit():
    data = unsized_zstd(100)
    assert numcodecs.Zstd().decode(data) == bytes(100 << 17)
    assert inflates_beyond("zstd", data, (100 << 17) - 1)
    assert not inflates_beyond("zstd", data, 100 << 17)
    assert inflated("zstd", data) == bytes(100 << 17)


def test_a_dictionary_beyond_all_measure_is_too_much():
    wide = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}]
    assert inflates_beyond("lzma", lzma.compress(b"little", filters=wide), 1 << 20)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Read the whole corpus in a process of its own."""
    folder = tmp_path_factory.mktemp("zarrs")
    for codec, kind in {
        **{"zlib": numcodecs.Zlib, "bz2": numcodecs.BZ2, "lzma": numcodecs.LZMA},
        **{"lz4": numcodecs.LZ4, "blosc": numcodecs.Blosc},
    }.items():
        put(array(folder / f"{codec}.zarr", 2, compressors=kind()), PACKED[codec])
    put(array(folder / "zstd.zarr"), PACKED["zstd"])
    put(array(folder / "unsized.zarr"), unsized_zstd(800))
    put(array(folder / "gzip.zarr", compressors=GzipCodec()), PACKED["gzip"])
    shards = array(folder / "shards.zarr", chunks=(32, 32), shards=(64, 64))
    table = struct.pack("<QQ", 0, len(PACKED["zstd"])) * 4
    check = struct.pack("<I", crc32c(table))
    put(shards, PACKED["zstd"] + table + check)
    change(array(folder / "shape.zarr"), shape=[2**60, 2**60])
    grid = {"name": "regular", "configuration": {"chunk_shape": [2**40, 2**40]}}
    change(array(folder / "chunk.zarr"), chunk_grid=grid)
    deep = array(folder / "deep.zarr", chunks=(64, 64))
    grid = {"name": "regular", "configuration": {"chunk_shape": [2, 2**31]}}
    change(deep, chunk_grid=grid)
    change(array(folder / "twice.zarr", 2), filters=[{"id": "zlib", "level": 1}])
    change(array(folder / "object.zarr", 2), filters=[{"id": "pickle", "protocol": 5}])
    put(folder / "object.zarr", pickle.dumps(Evil()))
    change(
        array(folder / "strange.zarr", 2),
        filters=[{"id": "astype", "encode_dtype": "<U9999", "decode_dtype": "|u1"}],
    )
    put(array(folder / "secret.zarr", compressors=None), b"")
    (folder / "secret.zarr/c/0/0").unlink()
    (folder / "secret.zarr/c/0/0").symlink_to("/etc/passwd")
    tree = array(folder / "tree.zarr", compressors=None)
    for chunk in sorted(tree.glob("c/**/*"), reverse=True):
        chunk.rmdir() if chunk.is_dir() else chunk.unlink()
    (tree / "c").rmdir()
    (tree / "c").symlink_to("/etc")
    meta = array(folder / "meta.zarr")
    (meta / "zarr.json").rename(folder / "elsewhere.json")
    (meta / "zarr.json").symlink_to("../elsewhere.json")
    for name in ("pipe.zarr", "huge.zarr"):
        array(folder / name, compressors=None)
    (folder / "pipe.zarr/c/0/0").unlink()
    os.mkfifo(folder / "pipe.zarr/c/0/0")
    with open(folder / "huge.zarr/c/0/0", "wb") as file:
        file.truncate(20 * 10**9)
    array(folder / "long.zarr")
    with open(folder / "long.zarr/zarr.json", "r+b") as file:
        file.truncate(10**9)
    (array(folder / "nest.zarr") / "zarr.json").write_text("[" * 200_000)
    names = sorted(path.name for path in folder.glob("*.zarr"))
    return opened(names, folder)


def crc32c(data: bytes) -> int:
    """Return the checksum that zarr writes behind a shard's table."""
    checked = bytes(numcodecs.checksum32.CRC32C(location="end").encode(data))
    return int(struct.unpack("<I", checked[-4:])[0])


class Evil:
    """A pickle of this makes the folder ``RAN`` when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("RAN",)


EXPECTED = {
    **dict.fromkeys(
        (*("zlib", "bz2", "lzma", "lz4", "blosc", "zstd", "unsized", "gzip", "shards"),),
        BECOMES,
    ),
    "chunk": "{} is stored in chunks of 1099511627776x1099511627776 numbers, 1208925819614629.2 GB",
    "deep": "{} is stored in chunks of 2x2147483648 numbers, 4.3 GB each decoded",
    "twice": "{} is stored by the codec zlib and zstd, which fullconv does not read; save it again",
    "object": "{} ",
    "strange": "{} is stored by the codec astype, which fullconv does not read; save it again",
    "secret": "{}: its part 'c/0/0' leads out of the folder; put a copy of what is meant",
    # Chunks are read side by side, and either may be the first.
    "tree": " leads out of the folder; put a copy of what is meant",
    "meta": "{}: its part 'zarr.json' leads out of the folder; put a copy of what is meant",
    "pipe": "c/0/0 is a pipe, and images are read from files; save it as a file.",
    "huge": "{} cannot be read: the file is damaged or cut short (its part 'c/0/0' holds 20000 MB)",
    "long": "{} cannot be read: the file is damaged or cut short (its part 'zarr.json' holds 1000",
    "nest": "{} cannot be read: the file is damaged or cut short (",
}


@pytest.mark.parametrize("name", EXPECTED)
def test_one_line_refuses_it_in_little_memory_and_time(outcome, name):
    found = outcome[0][f"{name}.zarr"]
    assert found.line is not None
    assert EXPECTED[name].format(f"{name}.zarr") in found.line, found.line
    assert "\n" not in found.line
    assert found.grown_bytes < 500e6
    assert found.took_s < 20


def test_all_is_expected_and_nothing_is_printed(outcome):
    assert set(outcome[0]) - {f"{name}.zarr" for name in EXPECTED} == {"shape.zarr"}
    assert outcome[1] == ""


@pytest.mark.parametrize("compressor", ["blosc", "lz4", "zstd", "zlib", "gzip", "bz2", "lzma"])
def test_all_that_zarr_compresses_by_is_read(tmp_path, compressor):
    codec = numcodecs.get_codec({"id": compressor})
    filters = [numcodecs.Delta("u1"), numcodecs.Shuffle(1)]
    pixels = noise(100, 130, 3)
    zarr.create_array(
        *(tmp_path / "a.zarr",),
        **{"data": pixels, "chunks": (64, 64, 3), "zarr_format": 2},
        compressors=codec,
        filters=filters,
    )
    check_pixels(open_source(tmp_path / "a.zarr"), pixels)


def test_noise_in_large_chunks_and_shards_is_read(tmp_path):
    """Noise does not shrink: encoded chunks are a little larger than decoded ones."""
    pixels = np.random.default_rng(0).integers(0, 256, (600, 700, 3), dtype=np.uint8)
    for number, options in enumerate(
        [{"chunks": (600, 700, 3)}, {"chunks": (50, 50, 3), "shards": (600, 700, 3)}]
    ):
        zarr.create_array(tmp_path / f"{number}.zarr", data=pixels, **options)
        check_pixels(open_source(tmp_path / f"{number}.zarr"), pixels)


def test_a_folder_that_is_a_link_itself_is_read(tmp_path):
    array(tmp_path / "real.zarr")
    (tmp_path / "link.zarr").symlink_to("real.zarr")
    with open_source(tmp_path / "link.zarr") as source:
        assert source.read((0, 1), (0, 4)).ravel().tolist() == [0, 1, 2, 3]


def test_one_damaged_chunk_of_many_is_one_line_at_the_end_of_a_process(tmp_path):
    """zarr reads many chunks at a time; those that are left must not speak up at the exit."""
    path = array(tmp_path / "a.zarr", chunks=(8, 8))
    zarr.open_array(path, mode="r+")[:] = noise(*SHAPE, 1)[:, :, 0]
    for row in range(0, 32, 3):
        (path / f"c/{row}/1").write_bytes(b"damaged")
    found, printed = opened(["a.zarr"], tmp_path)
    assert "Zstd" in str(found["a.zarr"].line)
    assert printed == ""


def test_pictures_of_any_claimed_size_are_no_reason_to_wait(tmp_path):
    import fullconv
    from scans import converted

    change(array(tmp_path / "a.zarr", chunks=(64, 64)), shape=[2**60, 2**60])
    with pytest.raises(ImageError, match="says that it is 1152921504606846976x"):
        fullconv.scan(converted((1, 1)), tmp_path / "a.zarr", bands=[1])
