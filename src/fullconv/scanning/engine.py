"""A converted network, made ready to scan many images."""

from __future__ import annotations

import hashlib
from functools import cached_property

from fullconv.closing import Closing
from fullconv.converted import FullyConvolutional
from fullconv.geometry import Sizes
from fullconv.runtimes import Runtime
from fullconv.scanning.measure import choose_runtime


class Engine(Closing):
    """What is the same for all images: the weights' hash, and what runs them, opened once.

    Attributes
    ----------
    fcn : FullyConvolutional
        The network; it must not change while the engine is used.
    """

    def __init__(self, fcn: FullyConvolutional) -> None:
        self.fcn = fcn
        self._open: dict[tuple[str, str, str | None, int], Runtime] = {}

    @cached_property
    def digest(self) -> str:
        """A hash of all that decides the network's scores."""
        fcn = self.fcn
        scored = fcn.framework.digest(fcn.model), fcn.grid.window, fcn.grid.step, fcn.report.exact
        return hashlib.sha256(repr(scored).encode()).hexdigest()

    def runtime(
        self, name: str, image: Sizes, precision: str, device: str | None, lanes: int
    ) -> Runtime:
        """Return what runs the network, opened by the first who asks.

        Parameters
        ----------
        name, precision, device
            As `scan` takes them.
        lanes : int
            Tiles that are to be computed at a time.
        image : tuple of int
            Size of the image for which "auto" is measured.
        """
        key = name, precision, device, lanes
        if key not in self._open:
            self.fcn.idle()
            self._open[key] = choose_runtime(
                self.fcn, self.digest, name, image, precision, device, lanes
            )
        return self._open[key]

    def close(self) -> None:
        """Close what was opened."""
        for runtime in self._open.values():
            runtime.close()
        self._open.clear()
