"""Image files that nobody should feed to fullconv, for `test_bad_images`.

``python tests/bad_images.py FOLDER`` writes them, to be tried by hand.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import zarr
from PIL import Image

SIZE = (96, 112)


def write_all(folder: Path) -> None:
    """Write the whole corpus into a folder."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    write_others(folder)
    write_pictures(folder, pixels)
    write_tiffs(folder, pixels)
    write_zarrs(folder, pixels)


def write_others(folder: Path) -> None:
    """Write what is no image, or no list of images."""
    (folder / "empty.png").write_bytes(b"")
    (folder / "empty.tif").write_bytes(b"")
    (folder / "text.jpg").write_text("Dear colleague, please find the image attached.\n" * 9)
    (folder / "text.tif").write_text("not a TIFF\n")
    (folder / "noise.png").write_bytes(np.random.default_rng(1).bytes(5000))
    (folder / "noise.ndpi").write_bytes(np.random.default_rng(2).bytes(5000))
    (folder / "noise.mrxs").write_bytes(b"\xff\xd8")
    (folder / "noise.vrt").write_bytes(np.random.default_rng(3).bytes(5000))
    (folder / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "bare").mkdir()
    (folder / "bare/notes.md").write_text("no images here\n")
    (folder / "list.txt").write_text("whole.png\nmissing.png\n")


def cut(path: Path, *parts: float) -> None:
    """Write beside a file what is left of it when only these parts arrive."""
    data = path.read_bytes()
    for part in parts:
        name = f"cut{round(100 * part)}_{path.name}"
        path.with_name(name).write_bytes(data[: int(len(data) * part)])


def write_pictures(folder: Path, pixels: np.ndarray) -> None:
    """Write pictures that are cut short or too large."""
    for ending in ("png", "jpg", "webp", "bmp", "gif", "jp2"):
        Image.fromarray(pixels).save(folder / f"whole.{ending}")
        cut(folder / f"whole.{ending}", 0.1, 0.5, 0.9)
    image = Image.fromarray(pixels)
    image.save(folder / "progressive.jpg", progressive=True)
    cut(folder / "progressive.jpg", 0.5)
    (folder / "bomb.png").write_bytes(png_of(100_000, 100_000))
    (folder / "thin.png").write_bytes(png_of(2**31 - 1, 1))
    (folder / "nothing.png").write_bytes(png_of(0, 5))
    data = bytearray((folder / "whole.jpg").read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    (folder / "bomb.jpg").write_bytes(data)
    data = bytearray((folder / "whole.bmp").read_bytes())
    data[18:26] = struct.pack("<ii", 90_000, 90_000)
    (folder / "bomb.bmp").write_bytes(data)
    write_coded(folder, pixels)


def write_coded(folder: Path, pixels: np.ndarray) -> None:
    """Write the same of kinds that Pillow does not know."""
    deep = pixels.astype(np.uint16) * 16
    encoded = {
        "jxl": imagecodecs.jpegxl_encode(pixels),
        "jls": imagecodecs.jpegls_encode(pixels & 15),  # noise of all bits would grow
        "hdr": imagecodecs.rgbe_encode(pixels.astype(np.float32), header=True),
        "jpe": imagecodecs.jpeg8_encode(deep, bitspersample=12),
    }
    for ending, data in encoded.items():
        (folder / f"whole.{ending}").write_bytes(data)
        cut(folder / f"whole.{ending}", 0.1, 0.5, 0.9)
    # Of JPEG XL, bit by bit from the lowest: no multiple of 8; a height of 30 bits, less one; no
    # known ratio; and a width alike.
    side = 0b11 | (90_000 - 1) << 2
    (folder / "bomb.jxl").write_bytes(
        b"\xff\x0a" + (side << 1 | side << 36).to_bytes(9, "little") + bytes(50)
    )
    for ending, marker in (("jls", b"\xff\xf7"), ("jpe", b"\xff\xc1")):
        data = bytearray(encoded[ending])
        frame = data.index(marker)
        data[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
        (folder / f"bomb.{ending}").write_bytes(data)
    size = b"-Y %d +X %d" % SIZE
    (folder / "bomb.hdr").write_bytes(encoded["hdr"].replace(size, b"-Y 90000 +X 90000"))


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and brings next to nothing for it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(100_000))
    start = b"\x89PNG\r\n\x1a\n"
    return start + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def write_tiffs(folder: Path, pixels: np.ndarray) -> None:
    """Write TIFFs whose tags or tiles are wrong."""
    rgb = {"photometric": "rgb", "metadata": None}
    tiles = {**rgb, "tile": (32, 32)}
    tifffile.imwrite(folder / "deflate.tif", pixels, compression="zlib", **tiles)
    tifffile.imwrite(folder / "jpeg.tif", pixels, compression="jpeg", **tiles)
    tifffile.imwrite(folder / "webp.tif", pixels, compression="webp", **tiles)
    tifffile.imwrite(folder / "plain.tif", pixels, **rgb)
    # Where tifffile puts the tags before the pixels, libtiff puts them behind.
    Image.fromarray(pixels).save(folder / "libtiff.tif", compression="tiff_deflate")
    for name in ("deflate", "jpeg", "plain", "libtiff"):
        cut(folder / f"{name}.tif", 0.02, 0.5, 0.9)
    source = folder / "deflate.tif"
    changes = {
        "wide": (256, 2**31 - 1),
        "high": (257, 2**31 - 1),
        "no_width": (256, 0),
        "no_height": (257, 0),
        "no_tile": (322, 0),
        "huge_tile": (322, 2**30),
        "unknown_compression": (259, 4242),
        "cmyk": (262, 5),
        "lab": (262, 8),
        "odd_bits": (258, 77),
    }
    for name, (tag, value) in changes.items():
        retag(source, folder / f"{name}.tif", tag, value)
    retag(source, folder / "high.bif", 257, 2**31 - 1)
    retag(source, folder / "huge_tile.svs", 322, 2**30)
    retag(source, folder / "huge_tile.scn", 322, 2**30)
    cmyk = folder / "cmyk.tif"
    retag(cmyk, folder / "cmyk_high.tif", 257, 2**31 - 1)
    retag(folder / "plain.tif", folder / "plain_high.tif", 257, 2**20)
    replace_tiles(source, folder / "tile_bomb.tif", zlib.compress(bytes(50_000_000), 9))
    replace_tiles(source, folder / "tile_noise.tif", b"\x17" * 900)
    replace_tiles(source, folder / "tile_short.tif", zlib.compress(bytes(100)))
    replace_tiles(folder / "jpeg.tif", folder / "jpeg_bomb.tif", jpeg_bomb(folder))
    replace_tiles(folder / "jpeg.tif", folder / "jpeg_cut.tif", half_a_jpeg(folder))
    large = folder / "large.webp"
    Image.new("RGB", (2500, 2500)).save(large)
    replace_tiles(folder / "webp.tif", folder / "webp_bomb.tif", large.read_bytes())
    large.unlink()
    beyond(source, folder / "beyond.tif")
    loop(source, folder / "loop.tif")
    tifffile.imwrite(folder / "stack.tif", np.zeros((5, *SIZE), np.uint8), metadata={"axes": "ZYX"})
    tifffile.imwrite(folder / "complex.tif", np.zeros(SIZE, np.complex64), metadata=None)
    odd = np.full(SIZE, np.nan, np.float32)
    tifffile.imwrite(folder / "nan.tif", odd)


def retag(source: Path, path: Path, tag: int, value: int) -> None:
    """Copy a TIFF, with another number in one tag."""
    with tifffile.TiffFile(source) as tiff:
        held = tiff.pages.first.tags[tag]
        at, size = held.valueoffset, {3: 2, 4: 4}[int(held.dtype)]
    if size == 2 and value > 65535:  # as a long, of which the field has room for one
        data = bytearray(source.read_bytes())
        data[held.offset + 2 : held.offset + 4] = struct.pack("<H", 4)
        data[at : at + 4] = struct.pack("<I", value)
        path.write_bytes(data)
        return
    patch(source, path, at, struct.pack("<H" if size == 2 else "<I", value) * held.count)


def patch(source: Path, path: Path, at: int, data: bytes) -> None:
    """Copy a file, with other bytes at one place."""
    held = bytearray(source.read_bytes())
    held[at : at + len(data)] = data
    path.write_bytes(held)


def replace_tiles(source: Path, path: Path, tile: bytes) -> None:
    """Copy a TIFF whose every tile is another one."""
    with tifffile.TiffFile(source) as tiff:
        tags = tiff.pages.first.tags
        places = [(tags[324], len(source.read_bytes())), (tags[325], len(tile))]
    held = bytearray(source.read_bytes())
    for tag, value in places:
        code = {3: "H", 4: "I"}[int(tag.dtype)]
        room = struct.pack(f"<{tag.count}{code}", *[value] * tag.count)
        held[tag.valueoffset : tag.valueoffset + len(room)] = room
    path.write_bytes(bytes(held) + tile)


def jpeg_bomb(folder: Path) -> bytes:
    """Return a JPEG that says it is 65,000 pixels wide and high."""
    return (folder / "bomb.jpg").read_bytes()


def half_a_jpeg(folder: Path) -> bytes:
    """Return the first half of a JPEG tile."""
    with tifffile.TiffFile(folder / "jpeg.tif") as tiff:
        page = tiff.pages.first
        at, count = page.dataoffsets[0], page.databytecounts[0]
    return (folder / "jpeg.tif").read_bytes()[at : at + count // 2]


def beyond(source: Path, path: Path) -> None:
    """Copy a TIFF whose tiles lie behind its end."""
    with tifffile.TiffFile(source) as tiff:
        tag = tiff.pages.first.tags[324]
    patch(source, path, tag.valueoffset, struct.pack("<I", 2**31) * tag.count)


def loop(source: Path, path: Path) -> None:
    """Copy a TIFF whose first page is followed by itself."""
    with tifffile.TiffFile(source) as tiff:
        page = tiff.pages.first
        next_at = page.offset + 2 + 12 * len(page.tags)
    patch(source, path, next_at, struct.pack("<I", page.offset))


def write_zarrs(folder: Path, pixels: np.ndarray) -> None:
    """Write zarr folders that lack something."""
    (folder / "bare.zarr").mkdir()
    (folder / "bare.zarr/c").mkdir()
    (folder / "bare.zarr/c/0").write_bytes(b"chunk")
    group = zarr.create_group(folder / "group.zarr")
    group.create_array("one", data=pixels, chunks=pixels.shape)
    for name, path in (("missing_array", "0"), ("outside", "../whole.zarr")):
        group = zarr.create_group(folder / f"{name}.zarr")
        axes = [{"name": axis, "type": "space"} for axis in "yx"]
        image = {"axes": axes, "datasets": [{"path": path, "coordinateTransformations": []}]}
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    group = zarr.create_group(folder / "empty_level.zarr")
    axes = [{"name": axis, "type": "space"} for axis in "yxc"]
    datasets = []
    for level, size in enumerate([SIZE, (0, 56)]):
        group.create_array(str(level), shape=(*size, 3), dtype="uint8", chunks=(32, 32, 3))
        datasets.append({"path": str(level), "coordinateTransformations": []})
    image = {"axes": axes, "datasets": datasets}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    whole = {"data": pixels, "chunks": (32, 32, 3)}
    for name in ("whole", "bad_chunk", "bad_json", "huge_chunk", "text", "nothing"):
        zarr.create_array(folder / f"{name}.zarr", **whole)
    (folder / "bad_chunk.zarr/c/1/1/0").write_bytes(b"\x00" * 40)
    (folder / "bad_json.zarr/zarr.json").write_text('{"zarr_format": 3, "node_type": "arr')
    remake(folder / "huge_chunk.zarr", shape=[10**6, 10**6, 3], chunk_shape=[10**6, 10**6, 3])
    remake(folder / "nothing.zarr", shape=[0, 5, 3])
    remake(folder / "text.zarr", data_type="complex64", fill_value=[0.0, 0.0])


def remake(path: Path, **changes: object) -> None:
    """Change the metadata of a zarr array."""
    held = json.loads((path / "zarr.json").read_text())
    for name, value in changes.items():
        if name == "chunk_shape":
            held["chunk_grid"]["configuration"]["chunk_shape"] = value
        else:
            held[name] = value
    (path / "zarr.json").write_text(json.dumps(held))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    write_all(target)
