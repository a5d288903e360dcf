"""The options of a scan: everything except the network, the image and the place of the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any, Self, TypedDict

from fullconv.checking import are_whole, is_number
from fullconv.choices import DTYPES, LARGEST_SCALE
from fullconv.converted import FullyConvolutional
from fullconv.errors import ImageError, InputError
from fullconv.geometry import Sizes
from fullconv.preprocessing import Preprocessing
from fullconv.scanning.progress import Listener
from fullconv.sources import Source, fit_channels, open_source, resized
from fullconv.windows import check_cover
from fullconv.wording import extent, windows

MEMORY_BYTES = 512_000_000
"""Budget for the tensors of the tiles that are computed at a time. Pixels read ahead, decoded
blocks, scores that wait to be written, and a runtime's own memory come on top."""

MEMORY_WITH_HALO_BYTES = 1_000_000_000
"""The budget where tiles have a halo, most of which smaller tiles would compute again and again."""

MERGED_WITH_HALO_BYTES = 1_500_000_000
"""The same in ONNX Runtime, which merges the operations after a convolution into it, and takes
about half of the estimate: a scan by a one-pass ResNet-18 takes 1.4 GB in all, and 1.2 with the
budget before."""

MOST_WINDOWS = 1 << 36
"""Most windows of one scan. Their scores take 275 GB for each class, and some file formats let a
few bytes claim far more pixels than these have."""

Box = tuple[float, ...]


class ScanOptions(TypedDict, total=False):
    """The keywords that `scan` and `detect` share; `scan` says what each means."""

    classifier: Any
    origin: Mapping[str, str] | None
    preprocessing: Preprocessing | None
    level: int | None
    um_per_pixel: float | None
    own_um_per_pixel: float | None
    bands: Sequence[int] | None
    cover: str
    roi: Box | None
    mask: Any
    output: int
    dtype: str
    runtime: str
    precision: str
    device: str | None
    tile: Sizes | None
    memory_bytes: int | None
    windows_to_check: int
    resume: bool
    overwrite: bool
    repair: bool
    progress: Listener | None


def check_keywords(verb: str, given: Mapping[str, Any]) -> None:
    """Refuse a keyword that is none of `ScanOptions`.

    Raises
    ------
    TypeError
        As Python itself does for the keywords of a function.
    """
    for name in given:
        if name not in ScanOptions.__annotations__:
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}")


@dataclass(frozen=True)
class Options:
    """The keywords of `scan` that decide the scores; `scan` describes each."""

    preprocessing: Preprocessing | None = None
    level: int | None = None
    um_per_pixel: float | None = None
    own_um_per_pixel: float | None = None
    bands: Sequence[int] | None = None
    scale: float = 1.0
    cover: str = "whole"
    roi: Box | None = None
    mask: Any = None
    output: int = 0
    dtype: str = "float32"
    runtime: str = "native"
    precision: str = "f32"
    device: str | None = None
    tile: Sizes | None = None
    memory_bytes: int | None = None
    windows_to_check: int = 64

    def __post_init__(self) -> None:
        if str(self.dtype) not in DTYPES:
            raise InputError(f"scan(dtype={self.dtype!r}): expected {', '.join(DTYPES)}.")
        if not (is_number(self.scale) and 0 < self.scale <= LARGEST_SCALE):
            raise InputError(
                f"scan(scale={self.scale}): expected a number above 0 and up to {LARGEST_SCALE}; "
                f"0.5 halves the image, and finds objects of twice the size."
            )
        check_cover(self.cover)
        if self.memory_bytes is not None and not (
            is_number(self.memory_bytes) and self.memory_bytes >= 1
        ):
            raise InputError(f"scan(memory_bytes={self.memory_bytes}): expected at least 1 byte.")
        if self.bands is not None and not are_whole(self.bands, 0):
            raise InputError(
                f"scan(bands={self.bands}): expected a list of bands, counted from 1, as in [4, 3, "
                f"2]."
            )
        if not are_whole([self.output], 0):
            raise InputError(
                f"scan(output={self.output!r}): expected the number of one of the model's outputs, "
                f"from 0."
            )
        preprocessing = self.preprocessing
        if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
            raise InputError(
                f"scan(preprocessing={preprocessing!r}): expected a fullconv.Preprocessing, as in "
                f"Preprocessing(scale=1 / 255)."
            )
        if not are_whole([self.windows_to_check], 0):
            raise InputError(
                f"scan(windows_to_check={self.windows_to_check}): expected 0 or more windows."
            )

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return the options among some keywords; other keywords are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in given.items() if name in known})

    def check_tile(self, dimensions: int) -> None:
        """Check that a tile that is asked for has ``dimensions`` axes.

        Raises
        ------
        InputError
            If it does not.
        """
        tile: Any = self.tile
        if tile is not None and not (are_whole(tile, 1) and len(tile) == dimensions):
            raise InputError(f"scan(tile={tile}): expected {windows(dimensions)}, at least 1.")

    def prepared(self, fcn: FullyConvolutional) -> Preprocessing | None:
        """Return the preparation of pixels: the one asked for, else the model's own."""
        return self.preprocessing or fcn.preprocessing

    def memory(self, fcn: FullyConvolutional, runtime: str) -> int:
        """Return the budget for the tensors of all tiles computed at a time, in bytes."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        if not any(map(any, fcn.halo)):
            return MEMORY_BYTES
        return MERGED_WITH_HALO_BYTES if runtime == "onnxruntime" else MEMORY_WITH_HALO_BYTES

    def open(self, fcn: FullyConvolutional, source: Any) -> Source:
        """Open an image at the level, resolution and scale that is asked for, with the model's
        channels."""
        return self.fitted(fcn, self.read(fcn, source))

    def read(self, fcn: FullyConvolutional, source: Any) -> Source:
        """Open an image at the level and resolution that is asked for, with its own bands."""
        self.check_tile(fcn.grid.dimensions)
        preprocessing = self.prepared(fcn)
        um_per_pixel = self.um_per_pixel
        if um_per_pixel is None and self.level is None and preprocessing is not None:
            # An open source is at the resolution that was chosen for it.
            um_per_pixel = None if isinstance(source, Source) else preprocessing.um_per_pixel
        return open_source(
            source,
            level=self.level,
            um_per_pixel=um_per_pixel,
            own_um_per_pixel=self.own_um_per_pixel,
            bands=self.bands,
            dimensions=fcn.grid.dimensions,
        )

    def fitted(self, fcn: FullyConvolutional, image: Source) -> Source:
        """Return an open image with the model's channels, at the scale that is asked for."""
        image = fit_channels(image, fcn.shape.channels)
        if self.scale != 1:
            image = resized(image, [max(1, round(n * self.scale)) for n in image.size])
        fcn.shape.check_size(image.size)
        _check_count(fcn, image)
        return image


def _check_count(fcn: FullyConvolutional, image: Source) -> None:
    """Refuse an image that claims more pixels than can be scanned.

    Raises
    ------
    ImageError
        If it has too many windows.
    """
    grid = fcn.grid
    count = prod(
        max(0, (n - w) // s + 1) for n, w, s in zip(image.size, grid.window, grid.step, strict=True)
    )
    if count > MOST_WINDOWS:
        raise ImageError(
            f"{image.name} says that it is {extent(image.size)}, which is {count:.2g} windows at "
            f"this step, and fullconv scans up to {MOST_WINDOWS:.2g} at a time; choose a larger "
            f"step or a coarser level, or cut out a part."
        )
