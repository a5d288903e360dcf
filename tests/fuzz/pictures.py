"""Mutations of image files of every kind, to be scanned and to be found objects in."""

from __future__ import annotations

import contextlib
import io
import tempfile
from functools import cache
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
import zarr
from PIL import Image

from fuzz import Cases
from fuzz.bytes_of import mutated
from fuzz.scenes import Files, files_below, model_and_image
from scans import picture

SIZE = (40, 36)
SCAN = ["--step", "1x2", "--check", "4", "--no-resume"]


@cache
def pictures() -> dict[str, Files]:
    """Return images in order, each of one file or of a folder, by name."""
    pixels = picture(*SIZE)
    files: dict[str, Files] = {}
    for ending in ("png", "jpg", "webp", "bmp", "gif", "jp2", "tga", "ppm", "pcx", "dds", "sgi"):
        with contextlib.suppress(KeyError, OSError):  # Pillow may be built without one
            held = io.BytesIO()
            Image.fromarray(pixels).save(held, Image.registered_extensions()[f".{ending}"])
            files[ending] = {f"image.{ending}": held.getvalue()}
    coded = {
        "jxl": imagecodecs.jpegxl_encode(pixels),
        "jls": imagecodecs.jpegls_encode(pixels),
        "hdr": imagecodecs.rgbe_encode(pixels.astype(np.float32), header=True),
        "avif": imagecodecs.avif_encode(pixels),
        "deep.png": imagecodecs.png_encode(pixels.astype(np.uint16)),
        "deep.jpg": imagecodecs.jpeg8_encode(pixels.astype(np.uint16), bitspersample=12),
    }
    files |= {name: {f"image.{name}": data} for name, data in coded.items()}
    for name, options in TIFFS.items():
        held = io.BytesIO()
        tifffile.imwrite(held, pixels, photometric="rgb", **options)
        files[name] = {f"image-{name}.tif": held.getvalue()}
    with tempfile.TemporaryDirectory() as folder:
        for version in (2, 3):
            place = Path(folder, f"image{version}.zarr")
            zarr.create_array(place, data=pixels, chunks=(16, 16, 3), zarr_format=version)
        group = zarr.create_group(Path(folder, "ome.zarr"))
        group.create_array("0", data=pixels[..., 0], chunks=(16, 16))
        axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
        scale = [{"type": "scale", "scale": [0.5, 0.5]}]
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        group.attrs["ome"] = {
            "version": "0.5",
            "multiscales": [{"axes": axes, "datasets": datasets}],
        }
        for name in ("image2.zarr", "image3.zarr", "ome.zarr"):
            held_files = files_below(Path(folder, name))
            files[name] = {f"{name}/{file}": data for file, data in held_files.items()}
    return files


TIFFS = {
    "tiled": {"tile": (16, 16)},
    "deflate": {"tile": (16, 16), "compression": "zlib", "predictor": True},
    "jpeg": {"tile": (16, 16), "compression": "jpeg"},
    "strips": {"rowsperstrip": 7, "compression": "lzw"},
    "big": {"bigtiff": True, "tile": (16, 16), "compression": "zstd"},
    "ome": {"ome": True, "tile": (16, 16), "compression": "zlib"},
}


def cases(seed: int, count: int = 300) -> Cases:
    """Yield damaged images."""
    rng = np.random.default_rng(seed)
    names = list(pictures())
    for number in range(count):
        name = names[number % len(names)]
        files = dict(pictures()[name])
        file = str(rng.choice(list(files)))
        whats = []
        for _ in range(1 + int(rng.random() < 0.3)):
            what, files[file] = mutated(files[file] or b"\0", rng)
            whats.append(what)
        image = file if len(files) == 1 else file.partition("/")[0]
        if rng.random() < 0.7:
            call = ["scan", "model.onnx", image, "-o", "heat.zarr", *SCAN]
        else:
            call = ["detect", "model.onnx", image, "-o", "boxes.csv", "--step", "1x2"]
        files["model.onnx"] = model_and_image()["model.onnx"]
        yield f"{seed}-{number:04}-{name}-{'-'.join(whats)}", files, call
