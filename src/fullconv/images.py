"""What a converted model takes: the shape of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fullconv.errors import ImageError
from fullconv.geometry import Grid


@dataclass(frozen=True)
class ImageShape:
    """Channels of the images, and the windows that lie in them."""

    channels: int
    grid: Grid

    @property
    def two_windows(self) -> tuple[int, int]:
        """The size of an image of two windows, side by side."""
        (height, width), (_, step) = self.grid.window, self.grid.step
        return height, width + step


NUMBERS = ("float", "bfloat", "int", "uint", "bool")
"""How the names of types begin that are real numbers, in every framework."""


def check_numbers(call: str, dtype: object) -> None:
    """Refuse complex numbers, text, dates and objects.

    Raises
    ------
    ImageError
        With the name of the type.
    """
    name = str(getattr(dtype, "name", dtype)).removeprefix("torch.")
    if not name.startswith(NUMBERS):
        raise ImageError(
            f"{call}: expected whole or floating-point numbers; got {name}. Convert the array."
        )


def check_shape(shape: Sequence[int], channels: int, dtype: object) -> None:
    """Check that images are real numbers ``(N, channels, H, W)``."""
    check_numbers("fcn(images)", dtype)
    if len(shape) != 4:
        raise ImageError(
            f"fcn(images): expected (N, {channels}, H, W), four axes; got shape "
            f"{tuple(shape)}. For one image add the first axis: images[None]."
        )
    if shape[1] != channels:
        raise ImageError(
            f"fcn(images): the model takes {channels} channels, (N, {channels}, H, W); got "
            f"{shape[1]} in shape {tuple(shape)}. Convert the image, or move its channel axis "
            f"to the second place."
        )
