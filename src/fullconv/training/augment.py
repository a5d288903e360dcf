"""Random variations of crops in plain PyTorch: shift, size, brightness, and flips if allowed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from fullconv.choices import Flips
from fullconv.geometry.grid import Sizes


@dataclass(frozen=True)
class Variation:
    """How much crops are varied. Each number is the largest change in either direction, and changes
    are drawn uniformly.

    Attributes
    ----------
    shift : (float, float)
        Pixels down and across. An object lies up to half a step from the nearest window, so a
        detector must tolerate shifts of half the network's stride.
    scale : float
        Fraction by which a crop is enlarged or reduced.
    gain, offset : float
        Brightness: a factor, as its distance from 1, and an offset, as a fraction of the range of
        pixel values.
    flips : {"none", "h", "hv"}
        Mirror images that keep the class: none, left and right, or also upside down.
    """

    shift: tuple[float, float]
    scale: float = 0.06
    gain: float = 0.15
    offset: float = 0.06
    flips: Flips = "none"

    @classmethod
    def for_stride(cls, stride: Sizes, window: Sizes, flips: Flips) -> Variation:
        """Return the variation for a network's stride; shifts are at most an eighth of a window."""
        down, across = (min(s / 2, n / 8) for s, n in zip(stride, window, strict=True))
        return cls((down, across), flips=flips)

    def apply(
        self, crops: torch.Tensor, limits: tuple[float, float], generator: torch.Generator
    ) -> torch.Tensor:
        """Return varied crops ``(N, C, h, w)``, float32; only the generator decides how.

        Parameters
        ----------
        crops : torch.Tensor
            Pixels as they are stored.
        limits : (float, float)
            The least and the greatest possible pixel value; results are clamped to them.
        generator : torch.Generator
            On the CPU, so that all devices draw the same.

        Notes
        -----
        Pixels are interpolated bilinearly. Beyond its border a crop is continued by its mirror
        image.
        """
        count, (h, w) = len(crops), crops.shape[-2:]
        # Every number is drawn, used or not, so that settings do not change the other draws.
        drawn = torch.rand(count, 7, generator=generator) * 2 - 1
        zoom = 1 / (1 + self.scale * drawn[:, 0])
        down = drawn[:, 1] * 2 * self.shift[0] / h
        across = drawn[:, 2] * 2 * self.shift[1] / w
        across_sign = torch.where(drawn[:, 3] < 0, -1.0, 1.0) if self.flips != "none" else 1.0
        down_sign = torch.where(drawn[:, 4] < 0, -1.0, 1.0) if self.flips == "hv" else 1.0
        moved = crops.new_zeros(count, 2, 3, device="cpu")
        moved[:, 0, 0], moved[:, 0, 2] = zoom * across_sign, across
        moved[:, 1, 1], moved[:, 1, 2] = zoom * down_sign, down
        grid = F.affine_grid(moved.to(crops.device), list(crops.shape), align_corners=False)
        varied = F.grid_sample(crops, grid, padding_mode="reflection", align_corners=False)
        low, high = limits
        gain = (1 + self.gain * drawn[:, 5]).reshape(-1, 1, 1, 1).to(crops.device)
        light = (self.offset * (high - low) * drawn[:, 6]).reshape(-1, 1, 1, 1).to(crops.device)
        return varied.sub_(low).mul_(gain).add_(light + low).clamp_(low, high)
