"""What a converted model takes: the shape of its images, and how their pixels are prepared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from fullconv.errors import ImageError, InputError
from fullconv.geometry import Grid


@dataclass(frozen=True)
class ImageShape:
    """Channels of the images, and the windows that lie in them."""

    channels: int
    grid: Grid


@dataclass(frozen=True)
class Preprocessing:
    """What happens to pixels before the network: ``(pixel * scale - mean) / std``, per channel.

    Attributes
    ----------
    scale : float
        1 / 255 for networks trained on pixels between 0 and 1.
    mean, std : tuple of float
        One number, or one per channel.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if any(number == 0 for number in self.std):
            raise InputError(
                f"Preprocessing(std={self.std}): a std of 0 divides by zero; give each channel's "
                f"standard deviation, or 1."
            )
        if not all(isfinite(number) for number in (self.scale, *self.mean, *self.std)):
            raise InputError(f"{self}: expected finite numbers.")

    def apply(self, pixels: Any) -> Any:
        """Prepare pixels ``(..., C, H, W)``; returns float32."""
        import numpy as np

        mean, std = (
            np.asarray(numbers, dtype=np.float32).reshape(-1, 1, 1)
            for numbers in (self.mean, self.std)
        )
        return (np.asarray(pixels, dtype=np.float32) * np.float32(self.scale) - mean) / std

    def to_json(self) -> str:
        """Return what a model file stores."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read what a model file stores."""
        held = json.loads(text)
        return cls(float(held["scale"]), tuple(held["mean"]), tuple(held["std"]))


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
