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


def check_shape(shape: Sequence[int], channels: int) -> None:
    """Check that a shape is ``(N, channels, H, W)``."""
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
