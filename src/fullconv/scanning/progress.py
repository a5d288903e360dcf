"""Reports on the progress of a scan while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from fullconv.geometry.grid import Sizes
from fullconv.sources import Source
from fullconv.wording import unit


@dataclass(frozen=True)
class Progress:
    """The progress of a scan.

    Attributes
    ----------
    name : str
        Name of the image.
    windows, all_windows : int
        Windows scored so far, including those of earlier runs, and in all.
    pixels, all_pixels : int
        The same, in pixels of the image.
    fresh_pixels : int
        Those of ``pixels`` that this run has scored.
    seconds : float
        Time since this run began to score.
    unit : str
        The name of a pixel in the image: "pixels", "samples" or "voxels".
    """

    name: str
    windows: int
    all_windows: int
    pixels: int
    all_pixels: int
    fresh_pixels: int
    seconds: float
    unit: str = "pixels"

    @property
    def megapixels_per_s(self) -> float:
        """Millions of pixels of the image per second, in this run."""
        return self.fresh_pixels / 1e6 / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time that the rest will take at this rate; None before the first tile."""
        if not self.fresh_pixels:
            return None
        return (self.all_pixels - self.pixels) * self.seconds / self.fresh_pixels


Listener = Callable[[Progress], None]


class Meter:
    """Counts windows as they are scored, and reports the progress to a listener.

    Attributes
    ----------
    before, fresh : int
        Windows that earlier runs and this one have scored.
    """

    def __init__(
        self, image: Source, counts: Sizes, windows: int, progress: Listener | None
    ) -> None:
        self.name = image.name
        self.unit = unit(len(image.size), many=True)
        self.pixels = prod(image.size) / prod(counts)  # of the image, for every window
        self.all = windows
        self.before = self.fresh = 0
        self.start = time.monotonic()
        self.progress = progress

    def tell(self) -> None:
        """Report the progress."""
        if self.progress is None:
            return
        windows = self.before + self.fresh
        self.progress(
            Progress(
                name=self.name,
                windows=windows,
                all_windows=self.all,
                pixels=int(windows * self.pixels),
                all_pixels=int(self.all * self.pixels),
                fresh_pixels=int(self.fresh * self.pixels),
                seconds=time.monotonic() - self.start,
                unit=self.unit,
            )
        )
