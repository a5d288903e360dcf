"""Damaged images of every kind that is read."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from random import Random

import imagecodecs
import numpy as np
import tifffile
import zarr
from PIL import Image

from fuzz.case import Case
from fuzz.models import model
from fuzz.mutating import bytes_changed, json_changed, text_changed

SIZE = (72, 88)
Files = Mapping[str, bytes]

OME = (
    '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/'
    '2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
    f'SizeX="{SIZE[1]}" SizeY="{SIZE[0]}" SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="0.5" '
    'PhysicalSizeXUnit="um" PhysicalSizeY="0.5" PhysicalSizeYUnit="um"><Channel ID="Channel:0:0" '
    'SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
)
SVS = "Aperio Image Library v1\r\n88x72 [0,0 88x72] (32x32) JPEG/RGB Q=30|AppMag = 20|MPP = 0.5"

VRT = (
    f'<VRTDataset rasterXSize="{SIZE[1]}" rasterYSize="{SIZE[0]}"><SRS>EPSG:32631</SRS>'
    "<GeoTransform>500000, 0.5, 0, 5000000, 0, -0.5</GeoTransform>"
    + "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><ComplexSource><SourceFilename '
        f'relativeToVRT="1">part.tif</SourceFilename><SourceBand>{band}</SourceBand>'
        f'<SourceProperties RasterXSize="{SIZE[1]}" RasterYSize="{SIZE[0]}" DataType="Byte" '
        f'BlockXSize="32" BlockYSize="32"/><SrcRect xOff="0" yOff="0" xSize="{SIZE[1]}" ySize='
        f'"{SIZE[0]}"/><DstRect xOff="0" yOff="0" xSize="{SIZE[1]}" ySize="{SIZE[0]}"/>'
        "<ScaleRatio>1</ScaleRatio></ComplexSource></VRTRasterBand>"
        for band in (1, 2, 3)
    )
    + "</VRTDataset>"
)


def cases(seed: int) -> Iterator[Case]:
    """Yield damaged images, of one kind after the other."""
    chance, number = Random(seed), 0
    kinds = list(seeds())
    while True:
        for kind in kinds:
            files = dict(seeds()[kind])
            name = chance.choice(list(files))
            files[name] = _change(name)(files[name], chance)
            image = next(iter(files)).split("/")[0]
            argv = ("scan", "model.onnx", image, "-o", "heat.zarr", "--check", "0")
            yield Case(kind, f"{kind}-{number}", files | {"model.onnx": model()}, argv)
        number += 1


def _change(name: str) -> Callable[[bytes, Random], bytes]:
    def change(data: bytes, chance: Random) -> bytes:
        is_json = name.endswith((".json", ".zarray", ".zattrs", ".zgroup"))
        is_text = is_json or name.endswith((".vrt", ".hdr", ".asc", ".xml"))
        draw = chance.random()
        if is_json and draw < 0.8:
            return json_changed(data, chance)
        if (is_text and draw < 0.9) or (b"<OME" in data and draw < 0.5):
            return text_changed(data, chance)
        return bytes_changed(data, chance)

    return change


@cache
def seeds() -> Mapping[str, Files]:
    """Return sound images by kind, each as the files that it consists of."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    pixels[20:50] = 90
    found: dict[str, Files] = {
        **_pictures(pixels),
        **{name: {f"image.{name.split('-')[-1]}": data} for name, data in _coded(pixels).items()},
        **{f"tiff {name}": {"image.tif": data} for name, data in _tiffs(pixels).items()},
        **_zarrs(pixels),
        "npy": {"image.npy": _npy(pixels)},
    }
    try:
        import rasterio  # noqa: F401
    except ImportError:
        return found
    return found | _rasters(pixels)


PILLOWS = {"jpg": "JPEG", "jp2": "JPEG2000"}
"""What Pillow calls its formats, where it is not the ending."""


def _pictures(pixels: np.ndarray) -> dict[str, Files]:
    found = {}
    ways = ("png", "jpg", "webp", "bmp", "gif", "jp2", "tga", "ppm", "sgi", "pcx", "ico", "dds")
    for ending in (*ways, "avif", "qoi"):
        held = io.BytesIO()
        try:
            Image.fromarray(pixels).save(
                held, {"jpg": "JPEG", "jp2": "JPEG2000"}.get(ending, ending)
            )
        except (KeyError, OSError, ValueError):
            continue  # not built into this Pillow
        found[ending] = {f"image.{ending}": held.getvalue()}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    held = io.BytesIO()
    profile = b"\0\0\2\0ADBE" + bytes(504)
    options = {"exif": exif, "icc_profile": profile, "dpi": (300, 300)}
    Image.fromarray(pixels).save(held, "JPEG", progressive=True, **options)
    found["jpg with metadata"] = {"image.jpg": held.getvalue()}
    held = io.BytesIO()
    Image.fromarray(pixels).convert("P").save(held, "PNG", **options)
    found["png with metadata"] = {"image.png": held.getvalue()}
    return found


def _coded(pixels: np.ndarray) -> dict[str, bytes]:
    deep = pixels.astype(np.uint16) * 16
    return {
        "jxl": imagecodecs.jpegxl_encode(pixels),
        "jls": imagecodecs.jpegls_encode(pixels & 15),
        "hdr": imagecodecs.rgbe_encode(pixels.astype(np.float32), header=True),
        "deep-jpg": imagecodecs.jpeg8_encode(deep, bitspersample=12),
        "16bit-png": imagecodecs.png_encode(deep),
        "psd": b"8BPS\0\1"
        + bytes(6)
        + b"\0\3"
        + SIZE[0].to_bytes(4, "big")
        + SIZE[1].to_bytes(4, "big")
        + b"\0\x08\0\3"
        + bytes(12)
        + b"\0\0"
        + pixels.transpose(2, 0, 1).tobytes(),
    }


def _tiffs(pixels: np.ndarray) -> dict[str, bytes]:
    rgb = {"photometric": "rgb", "metadata": None}
    tiles = {**rgb, "tile": (32, 32)}
    grey = np.ascontiguousarray(pixels[:, :, 0])
    ways: dict[str, tuple[np.ndarray, dict[str, object]]] = {
        "deflate": (pixels, {**tiles, "compression": "zlib", "predictor": True}),
        "jpeg": (pixels, {**tiles, "compression": "jpeg"}),
        "lzw": (pixels, {**rgb, "compression": "lzw", "rowsperstrip": 7}),
        "zstd": (pixels, {**tiles, "compression": "zstd"}),
        "webp": (pixels, {**tiles, "compression": "webp"}),
        "plain": (pixels, rgb),
        "packbits": (pixels, {**rgb, "compression": "packbits"}),
        "big": (pixels, {**tiles, "bigtiff": True}),
        "bands apart": (pixels.transpose(2, 0, 1), {**tiles, "planarconfig": "separate"}),
        "palette": (grey, {"photometric": "palette", "colormap": _palette(), "metadata": None}),
        "float": (grey.astype(np.float32), {"photometric": "minisblack", "metadata": None}),
        "imagej": (grey, {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}),
        "ome": (pixels, {**tiles, "description": OME}),
        "svs": (pixels, {**tiles, "compression": "jpeg", "description": SVS}),
    }
    found = {}
    for name, (held, options) in ways.items():
        file = io.BytesIO()
        tifffile.imwrite(file, held, **options)  # type: ignore[arg-type]
        found[name] = file.getvalue()
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(pixels, subifds=1, **tiles)  # type: ignore[arg-type]
        writer.write(pixels[::2, ::2], subfiletype=1, **tiles)  # type: ignore[arg-type]
    return found | {"pyramid": file.getvalue()}


def _palette() -> np.ndarray:
    return np.arange(3 * 256, dtype=np.uint16).reshape(3, 256)


def _npy(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, pixels)
    return file.getvalue()


def _zarrs(pixels: np.ndarray) -> dict[str, Files]:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for version in (2, 3):
            place = Path(folder, f"{version}")
            zarr.create_array(place, data=pixels, chunks=(32, 32, 3), zarr_format=version)
            found[f"zarr v{version}"] = _below(place, "image.zarr")
            ome = Path(folder, f"ome{version}")
            group = zarr.create_group(ome, zarr_format=version)
            for level in (0, 1):
                part = np.ascontiguousarray(pixels[:: 2**level, :: 2**level])
                group.create_array(f"{level}", data=part, chunks=(32, 32, 3))
            group.attrs.update(_ome_attributes(version))
            found[f"ome-zarr v{version}"] = _below(ome, "image.zarr")
        place = Path(folder, "shards")
        zarr.create_array(place, data=pixels, chunks=(16, 16, 3), shards=(64, 64, 3))
        found["zarr shards"] = _below(place, "image.zarr")
        place = Path(folder, "gzip")
        gzip = zarr.codecs.GzipCodec()
        zarr.create_array(place, data=pixels, chunks=(32, 32, 3), compressors=gzip)
        found["zarr gzip"] = _below(place, "image.zarr")
    return found


def _ome_attributes(version: int) -> dict[str, object]:
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "yx"]
    axes.append({"name": "c", "type": "channel"})
    datasets = [
        {
            "path": f"{level}",
            "coordinateTransformations": [
                {"type": "scale", "scale": [0.5 * 2**level, 0.5 * 2**level, 1.0]},
                {"type": "translation", "translation": [0.0, 0.0, 0.0]},
            ],
        }
        for level in (0, 1)
    ]
    multiscales = [{"version": "0.4", "name": "image", "axes": axes, "datasets": datasets}]
    if version == 2:
        return {"multiscales": multiscales}
    return {"ome": {"version": "0.5", "multiscales": multiscales}}


def _below(folder: Path, name: str) -> Files:
    return {
        f"{name}/{Path(place, file).relative_to(folder).as_posix()}": Path(place, file).read_bytes()
        for place, _, files in os.walk(folder)
        for file in files
    }


def _rasters(pixels: np.ndarray) -> dict[str, Files]:
    import rasterio

    found: dict[str, Files] = {}
    options = {
        "GTiff": ("geo.tif", {"tiled": True, "blockxsize": 32, "blockysize": 32}),
        "HFA": ("image.img", {}),
        "ENVI": ("image.bil", {"interleave": "bil"}),
    }
    with tempfile.TemporaryDirectory() as folder:
        for driver, (name, more) in options.items():
            path = Path(folder, name)
            with rasterio.open(
                *(path, "w", driver, SIZE[1], SIZE[0], 3),
                **{"crs": "EPSG:32631", "dtype": "uint8", **more},
                transform=rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5000000),
            ) as file:
                file.write(pixels.transpose(2, 0, 1))
            ours = [path, *Path(folder).glob(f"{path.stem}*.hdr")]
            found[f"raster {driver}"] = {path.name: path.read_bytes() for path in ours}
    part = found["raster GTiff"]["geo.tif"]
    found["raster VRT"] = {"image.vrt": VRT.encode(), "part.tif": part}
    grid = "\n".join(" ".join(map(str, row)) for row in pixels[:, :, 0].tolist())
    head = f"ncols {SIZE[1]}\nnrows {SIZE[0]}\nxllcorner 0\nyllcorner 0\ncellsize 1\n"
    found["raster AAIGrid"] = {"image.asc": (head + grid).encode()}
    found["raster netCDF"] = {"image.nc": _netcdf(pixels[:, :, 0])}
    return found


def _netcdf(grey: np.ndarray) -> bytes:
    """Return a classic netCDF file (version 1): two dimensions, and a variable of bytes."""

    def number(value: int) -> bytes:
        return value.to_bytes(4, "big")

    def name(letter: bytes) -> bytes:
        return number(1) + letter + bytes(3)

    head = b"CDF\1" + number(0) + number(10) + number(2)
    head += b"".join(name(n) + number(side) for n, side in zip((b"y", b"x"), SIZE, strict=True))
    head += bytes(8) + number(11) + number(1) + name(b"z")
    head += number(2) + number(0) + number(1) + bytes(8) + number(1) + number(grey.size)
    return head + number(len(head) + 4) + grey.tobytes()
