"""The options of a scan: everything except the network, the image and the place of the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fullconv.checking import are_whole, is_number
from fullconv.choices import DTYPES, LARGEST_SCALE, Cover, Dtype, Precision, RuntimeChoice
from fullconv.errors import InputError
from fullconv.geometry.grid import Sizes
from fullconv.geometry.windows import check_cover
from fullconv.keywords import Keywords
from fullconv.preprocessing import Preprocessing
from fullconv.wording import windows

if TYPE_CHECKING:
    from fullconv.conversion.converted import FullyConvolutional
    from fullconv.sources.given import ImageLike

SCAN_BUDGET_BYTES = 512_000_000
"""Budget for the tensors of the tiles that are computed at a time. Pixels read ahead, decoded
blocks, scores that wait to be written, and a runtime's own memory come on top."""

MEMORY_WITH_HALO_BYTES = 1_000_000_000
"""The budget where tiles have a halo, most of which smaller tiles would compute again and again."""

MERGED_WITH_HALO_BYTES = 1_500_000_000
"""The same in ONNX Runtime, which merges the operations after a convolution into it, and takes
about half of the estimate: a scan by a one-pass ResNet-18 takes 1.4 GB in all, and 1.2 with the
budget before."""


@dataclass(frozen=True)
class Options(Keywords):
    """The keywords of `scan` that decide the scores; `scan` describes each."""

    preprocessing: Preprocessing | None = None
    level: int | None = None
    um_per_pixel: float | None = None
    own_um_per_pixel: float | None = None
    bands: Sequence[int] | None = None
    resize: float = 1.0
    cover: Cover = "whole"
    roi: Sequence[float] | None = None
    mask: ImageLike | None = None
    output: int = 0
    dtype: Dtype = "float32"
    runtime: RuntimeChoice = "native"
    precision: Precision = "f32"
    device: str | None = None
    tile: Sizes | None = None
    memory_bytes: int | None = None
    windows_to_check: int = 64

    def __post_init__(self) -> None:
        if str(self.dtype) not in DTYPES:
            raise InputError(f"scan(dtype={self.dtype!r}): expected {', '.join(DTYPES)}.")
        if not (is_number(self.resize) and 0 < self.resize <= LARGEST_SCALE):
            raise InputError(
                f"scan(resize={self.resize}): expected a number above 0 and up to {LARGEST_SCALE}; "
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
        """Return the preparation of pixels: the one asked for, else the model's own.

        Raises
        ------
        InputError
            If the model holds its preprocessing, and pixels would be prepared twice.
        """
        given = self.preprocessing
        if fcn.embedded.preprocessing is not None and given is not None and given.changes_pixels:
            raise InputError(
                f"scan(preprocessing={given!r}): the model holds its preprocessing, "
                f"{fcn.embedded.preprocessing.formula}, and takes bytes; leave it out, or convert "
                f"the classifier without embedded preprocessing."
            )
        return given or fcn.preprocessing

    def memory(self, fcn: FullyConvolutional, runtime: str) -> int:
        """Return the budget for the tensors of all tiles computed at a time, in bytes."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        if not any(map(any, fcn.halo)):
            return SCAN_BUDGET_BYTES
        return MERGED_WITH_HALO_BYTES if runtime == "onnxruntime" else MEMORY_WITH_HALO_BYTES


@dataclass(frozen=True)
class OutputOptions(Keywords):
    """The options for an output that exists already; `scan` explains each."""

    resume: bool = True
    overwrite: bool = False
    repair: bool = False
