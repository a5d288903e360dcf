"""Pictures that are decoded whole: PNG, JPEG, WebP, Pillow's other formats, and `coded`."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullconv.errors import ImageError
from fullconv.geometry.grid import HeightWidth
from fullconv.sources import interlaced
from fullconv.sources.array import ArraySource
from fullconv.sources.coded import CODINGS, Coding, coding_of
from fullconv.sources.colours import GREY, of_picture
from fullconv.sources.contents import Contents, contents_of, contents_of_bytes, signature_of
from fullconv.sources.encoded import is_complete, jpeg_frame, png_pixels
from fullconv.sources.ground import find_place
from fullconv.sources.palettes import reduced
from fullconv.sources.pyramid import Pyramid
from fullconv.sources.source import Facts, Source
from fullconv.sources.trouble import DECODED_LIMIT_BYTES, check_whole, damaged, quiet, reading

FORMATS = (
    "PNG JPEG WEBP BMP DIB GIF JPEG2000 AVIF PPM PCX ICO ICNS DDS SGI QOI FITS SUN PSD "
    "MSP BLP DCX TGA"
).split()
"""Pillow's formats that hold a picture and no code. PostScript, for one, is a program."""

DEEP = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I": "=i4", "F": "=f4"}
"""Pillow's modes of more than 8 bits, and their dtypes."""

AS_THEY_ARE = ("L", "LA", "RGB", "RGBA", *DEEP)


class PictureSource(ArraySource):
    """A picture that was decoded whole, and the contents of its file at that time."""

    def __init__(self, path: Path, first: Contents, pixels: NDArray[Any], facts: Facts) -> None:
        super().__init__(str(path), pixels, facts)
        self._path, self._first = path, first

    def numbers(self) -> Source:
        with reading(self.name), quiet():
            indices = numbers_of(self._path)
        if indices is None or indices.shape != self.size:
            return self
        facts = replace(self.facts, channels=GREY)
        return PictureSource(self._path, self.first_contents(), indices[:, :, None], facts)

    def files(self) -> list[Path]:
        return [self._path]

    def contents(self) -> Contents:
        return contents_of(self.files())


def picture_format(start: bytes) -> str | None:
    """Return the format of a file, by its first 64 bytes; None if it is unknown."""
    coding = coding_of(start)
    if coding is not None:
        return coding
    Image.init()
    start = start.ljust(64, b"\0")  # some of Pillow's tests fail on shorter data
    for kind in FORMATS:
        factory, accepts = Image.OPEN.get(kind, (None, None))
        accepts = _is_tga if kind == "TGA" else accepts  # Pillow has no test for it
        # A format without a test of its first bytes would accept any file.
        if factory is not None and accepts is not None and accepts(start) is True:
            return kind
    return None


def _is_tga(start: bytes) -> bool:
    """Whether these bytes can be a TGA header (Truevision, TGA 2.0), which has no signature.

    Byte 1 says whether there is a palette; byte 2 whether the pixels are of the palette, colours or
    grey. Bytes 12 to 15 are width and height, 16 the bits of a pixel, and 17 the corner at which
    the picture begins.
    """
    has_palette, kind, bits, layout = start[1], start[2], start[16], start[17]
    return (
        (has_palette, kind & ~8) in ((1, 1), (0, 2), (0, 3))
        and bits in (8, 16, 24, 32)
        and layout < 64
        and any(start[12:14])
        and any(start[14:16])
    )


def open_header(file: IO[bytes], kind: str) -> Image.Image:
    """Return a picture after reading its header, and none of its pixels.

    `PIL.Image.open` refuses pictures of more than 179 million pixels; fullconv's own limit is in
    bytes (`check_whole`).
    """
    return Image.OPEN[kind][0](file, "")


def open_picture(path: Path, kind: str) -> Pyramid:
    """Decode a picture whole.

    Raises
    ------
    ImageError
        If it is damaged, or larger than `DECODED_LIMIT_BYTES` when decoded.
    """
    name = str(path)
    with reading(name), quiet():  # Pillow warns about unusual metadata, on stderr.
        signature = signature_of([path])
        size_bytes = path.stat().st_size
        if size_bytes > DECODED_LIMIT_BYTES:
            raise damaged(name, f"a picture of {size_bytes} bytes")
        data = path.read_bytes()
        first = contents_of_bytes(path, data, signature)
        coding = coding_of(data)
        if coding is not None:
            size, pixels = _by_imagecodecs(name, CODINGS[coding], data)
        else:
            size, pixels = _by_either(name, kind, data)
        if pixels.shape[:2] != size:
            raise damaged(name, "its parts disagree about its size")
        place = find_place(path)
    with_bands = pixels if pixels.ndim == 3 else pixels[:, :, None]
    return Pyramid(
        name,
        (size,),
        lambda level, facts: PictureSource(path, first, with_bands, facts),
        georeference=place.georeference,
        channels=of_picture(with_bands.shape[2]),
        remarks=place.remarks,
    )


def _by_imagecodecs(name: str, coding: Coding, data: bytes) -> tuple[HeightWidth, NDArray[Any]]:
    """Return the size in a picture's header, and its pixels, decoded by imagecodecs."""
    shape = coding.shape(data)
    if shape is None:
        raise damaged(name, "it does not say its size as most do")
    if not coding.is_whole(data):
        raise damaged(name, "it ends early")
    check_whole(name, *shape)
    return shape[0], coding.decode(data)


def _by_either(name: str, kind: str, data: bytes) -> tuple[HeightWidth, NDArray[Any]]:
    """Return the size in a picture's header, and its pixels, for a format of Pillow's."""
    _refuse_unread(name, kind, data)
    with open_header(io.BytesIO(data), kind) as image:
        width, height = image.size
        check_whole(name, (height, width), _pixel_bytes(image, kind, data))
        return (height, width), _decode(image, kind, data)


def _refuse_unread(name: str, kind: str, data: bytes) -> None:
    """Refuse valid files that Pillow would call damaged, or would take too long to read."""
    variant = None
    if kind == "JPEG":
        frame = jpeg_frame(data)
        if frame is None:
            raise damaged(name, "truncated before it says its size")
        if frame.bits > 8:
            variant = f"a JPEG of {frame.bits} bits in {frame.bands} colours"
    elif kind == "PSD" and data[4:6] + data[22:24] not in (b"\0\1\0\1", b"\0\1\0\x08"):
        variant = "a Photoshop file of more than 8 bits, or a large one (PSB)"
    elif kind == "FITS" and b"ZCMPTYPE" in data:
        variant = "a compressed FITS"  # its decoded size is not in the header
    if variant:
        raise ImageError(
            f"{name} is {variant}, which fullconv does not read; save it as TIFF or PNG, in RGB or "
            f"grey."
        )


def _pixel_bytes(image: Image.Image, kind: str, data: bytes) -> int:
    """Return the bytes of a decoded pixel, or an upper bound where the header does not say."""
    if image.mode in DEEP:
        return np.dtype(DEEP[image.mode]).itemsize
    deep = kind == "JPEG2000" or (kind == "PNG" and data[24] == 16)
    return (4 if image.mode in ("P", "PA") else len(image.getbands())) * (2 if deep else 1)


def _decode(image: Image.Image, kind: str, data: bytes) -> NDArray[Any]:
    """Decode the pixels ``(H, W)`` or ``(H, W, bands)``, by imagecodecs where possible.

    imagecodecs is several times as fast as Pillow, and gives the same pixels for grey and RGB JPEG.
    It keeps the 16 bits of colour PNG and JPEG 2000, of which Pillow drops the lower 8.
    """
    import imagecodecs

    pixels: NDArray[Any]
    if kind == "JPEG" and image.mode in ("L", "RGB") and is_complete(data):
        pixels = imagecodecs.jpeg_decode(data)
    elif kind == "PNG" and not interlaced.is_interlaced(data):
        pixels = imagecodecs.png_decode(png_pixels(data))
    elif kind == "PNG":
        pixels = interlaced.decode(data)
    elif kind == "JPEG2000" and image.mode in ("L", "LA", "RGB", "RGBA", "I;16"):
        pixels = imagecodecs.jpeg2k_decode(data)
    else:
        return _by_pillow(image)
    return pixels


def numbers_of(path: Path) -> NDArray[Any] | None:
    """Return the palette indices ``(H, W)`` of a picture with a palette of colours, else None."""
    with open(path, "rb") as file:
        kind = picture_format(file.read(64))
        if kind not in FORMATS:
            return None
        file.seek(0)
        with open_header(file, kind) as image:
            if image.mode not in ("P", "PA"):
                return None
            image.load()
            palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
            numbers = image if image.mode == "P" else image.getchannel("P")
            return None if reduced(palette).shape[1] == 1 else np.asarray(numbers)


def _by_pillow(image: Image.Image) -> NDArray[Any]:
    image.load()
    if image.mode in DEEP:
        return np.asarray(image).astype(np.dtype(DEEP[image.mode]).newbyteorder("="), copy=False)
    if image.mode not in AS_THEY_ARE:
        see_through = image.mode in ("PA", "La", "RGBa") or "transparency" in image.info
        wanted = "RGBA" if see_through else "L" if image.mode == "1" else "RGB"
        image = image.convert(wanted)
    return np.asarray(image)
