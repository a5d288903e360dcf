"""A converted network, made ready to scan many images."""

from __future__ import annotations

import hashlib
from functools import cached_property

from fullconv.conversion.converted import FullyConvolutional
from fullconv.geometry.grid import Sizes
from fullconv.runtimes import Runtime
from fullconv.scanning.measure import choose_runtime
from fullconv.system.closing import Closing


class Engine(Closing):
    """The parts of a scan that all images share: the weights' hash, and runtimes, opened once.

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
        """A hash of everything that decides the network's scores."""
        fcn = self.fcn
        scored = fcn.framework.digest(fcn.model), fcn.grid.window, fcn.grid.step, fcn.report.exact
        return hashlib.sha256(repr(scored).encode()).hexdigest()

    def runtime(
        self, name: str, image: Sizes, precision: str, device: str | None, lanes: int
    ) -> Runtime:
        """Return a runtime of the network; the first call for one opens it.

        Parameters
        ----------
        name, precision, device
            As `scan` takes them.
        lanes : int
            Number of tiles to compute at a time.
        image : tuple of int
            Size of the image for which "auto" is measured.
        """
        key = name, precision, device, lanes
        if key not in self._open:
            self.fcn.idle()
            self._open[key] = choose_runtime(
                fcn=self.fcn,
                digest=self.digest,
                name=name,
                image=image,
                precision=precision,
                device=device,
                lanes=lanes,
            )
        return self._open[key]

    def close(self) -> None:
        """Close all runtimes."""
        for runtime in self._open.values():
            runtime.close()
        self._open.clear()
