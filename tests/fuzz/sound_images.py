"""Images that are in order, of every kind that is read, for mutations to begin from."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
import zarr
from PIL import Image

from fuzz.case import Files
from fuzz.scenes import files_below, pixels

SIZE = (72, 88)

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


@cache
def sound_images() -> Mapping[str, Files]:
    """Return images by their kind, each as the files that it consists of."""
    drawn = pixels(*SIZE)
    found: dict[str, Files] = {
        **_pictures(drawn),
        **{name: {f"image.{name.split('-')[-1]}": data} for name, data in _coded(drawn).items()},
        **{f"tiff {name}": {"image.tif": data} for name, data in _tiffs(drawn).items()},
        **_zarrs(drawn),
        "npy": {"image.npy": _npy(drawn)},
    }
    if find_spec("rasterio") is None:
        return found
    return found | _rasters(drawn)


PICTURES = (
    *("png", "jpg", "webp", "bmp", "gif", "jp2", "tga", "ppm", "sgi", "pcx", "ico", "dds", "avif"),
    "qoi",
)


def _pictures(pixels: np.ndarray) -> dict[str, Files]:
    found: dict[str, Files] = {}
    for ending in PICTURES:
        with suppress(KeyError, OSError, ValueError):  # not built into this Pillow
            found[ending] = {f"image.{ending}": _picture(pixels, ending)}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    profile = b"\0\0\2\0ADBE" + bytes(504)
    more = {"exif": exif, "icc_profile": profile, "dpi": (300, 300)}
    data = _picture(pixels, "jpg", progressive=True, **more)
    found["jpg with metadata"] = {"image.jpg": data}
    palette = Image.fromarray(pixels).convert("P")
    found["png with metadata"] = {"image.png": _picture(palette, "png", **more)}
    return found


def _picture(pixels: np.ndarray | Image.Image, ending: str, **more: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    held = io.BytesIO()
    image.save(held, Image.registered_extensions()[f".{ending}"], **more)
    return held.getvalue()


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
            found[f"zarr v{version}"] = files_below(place, "image.zarr")
            ome = Path(folder, f"ome{version}")
            group = zarr.create_group(ome, zarr_format=version)
            for level in (0, 1):
                part = np.ascontiguousarray(pixels[:: 2**level, :: 2**level])
                group.create_array(f"{level}", data=part, chunks=(32, 32, 3))
            group.attrs.update(_ome_attributes(version))
            found[f"ome-zarr v{version}"] = files_below(ome, "image.zarr")
        place = Path(folder, "shards")
        zarr.create_array(place, data=pixels, chunks=(16, 16, 3), shards=(64, 64, 3))
        found["zarr shards"] = files_below(place, "image.zarr")
        place = Path(folder, "gzip")
        gzip = zarr.codecs.GzipCodec()
        zarr.create_array(place, data=pixels, chunks=(32, 32, 3), compressors=gzip)
        found["zarr gzip"] = files_below(place, "image.zarr")
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
