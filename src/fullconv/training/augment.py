"""Crops varied at random, in plain PyTorch: shifts, sizes, light, and mirror images if allowed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from fullconv.choices import Flips
from fullconv.geometry import Sizes


@dataclass(frozen=True)
class Variation:
    """How much crops are varied; every number is the most, either way, drawn evenly.

    Attributes
    ----------
    shift : (float, float)
        Pixels down and across. An object lies up to half a step from the nearest window, so half
        the network's stride is what a detector must forgive.
    scale : float
        Share by which a crop is enlarged or reduced.
    gain, offset : float
        Brightness, as a factor's distance from 1, and as a share of the range of pixels.
    flips : {"none", "h", "hv"}
        Mirror images that are of the same class: none, left and right, or these and upside down.
    """

    shift: tuple[float, float]
    scale: float = 0.06
    gain: float = 0.15
    offset: float = 0.06
    flips: Flips = "none"

    @classmethod
    def for_stride(cls, stride: Sizes, window: Sizes, flips: Flips) -> Variation:
        """Return what fits a network's stride; at most an eighth of the window is shifted."""
        down, across = (min(s / 2, n / 8) for s, n in zip(stride, window, strict=True))
        return cls((down, across), flips=flips)

    def apply(
        self, crops: torch.Tensor, limits: tuple[float, float], generator: torch.Generator
    ) -> torch.Tensor:
        """Return crops ``(N, C, h, w)``, float32, varied; the generator alone decides how.

        Parameters
        ----------
        crops : torch.Tensor
            Pixels as they are stored.
        limits : (float, float)
            The least and the greatest pixel there can be; no result lies beyond them.
        generator : torch.Generator
            On the CPU, so that all devices draw the same.

        Notes
        -----
        Pixels in between are interpolated (bilinear), and what comes in at a border is its mirror
        image.
        """
        count, (h, w) = len(crops), crops.shape[-2:]
        # All is drawn for every crop, whatever of it is used: results then differ only by it.
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
