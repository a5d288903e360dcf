"""Crops against the converted network, side by side, on the user's own model and image."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.converted import FullyConvolutional
from fullconv.geometry.grid import unraveled
from fullconv.verification.verifying import opened

BATCHES = (1, 4, 16, 64)
PATIENCE_S = 10.0
"""If all crops would take longer, their time is extrapolated from some of them."""


@dataclass(frozen=True)
class Timing:
    """One way to score all windows of an image.

    Attributes
    ----------
    name : str
        The way: ``crops``, ``exact`` or ``approximate``.
    seconds : float
        Median over the rounds, for all windows.
    faster : float
        Median over the rounds of the crops' time over this one's.
    counted : float
        By how many times fewer multiply-accumulates it needs than crops.
    """

    name: str
    seconds: float
    faster: float
    counted: float


@dataclass(frozen=True)
class Benchmark:
    """The measurements of `run_benchmark`.

    Attributes
    ----------
    windows : int
        Windows of the image.
    batch : int
        Crops at a time, the fastest of those tried.
    crops_run : int
        Crops that were run in a round; the time of all is extrapolated from them.
    rounds : int
    ways : tuple of Timing
        The crops first.
    """

    windows: int
    batch: int
    crops_run: int
    rounds: int
    ways: tuple[Timing, ...]


def run_benchmark(
    exact: FullyConvolutional,
    approximate: FullyConvolutional,
    classifier: Any,
    image: NDArray[np.float32],
    rounds: int = 3,
) -> Benchmark:
    """Measure crops, the exact and the approximate form, in turns, in the model's own framework.

    Parameters
    ----------
    exact, approximate
        Two conversions of the classifier, at the same step.
    classifier
        The classifier, as `convert` takes it.
    image : NDArray
        Prepared pixels ``(1, C, *size)``, at least as large as the window.
    rounds : int
        How often each is run; a first round is not counted.
    """
    framework, grid = exact.framework, exact.grid
    of, classifier = opened(exact, classifier)
    classify = of.classifier(classifier, exact.shape.takes)
    images = framework.images(exact.model, image)
    counts = grid.shape(image.shape[2:])

    def crops(batch: int, count: int) -> float:
        start = time.perf_counter()
        for first in range(0, count, batch):
            places = [unraveled(k, counts) for k in range(first, min(first + batch, count))]
            pixels = [images[(..., *grid.slices(*place))] for place in places]
            classify(exact.shape.as_crops(framework.join(pixels, 0)))
        return (time.perf_counter() - start) / count

    total = prod(counts)
    crops(1, 1)
    trials = {batch: crops(batch, batch) for batch in BATCHES if batch <= total}
    batch = min(trials, key=trials.__getitem__)
    count = min(total, max(batch, int(PATIENCE_S / trials[batch]) // batch * batch))
    runs: dict[str, Callable[[], float]] = {
        "crops": lambda: crops(batch, count) * total,
        "exact": lambda: _seconds(lambda: exact.scores(images)),
        "approximate": lambda: _seconds(lambda: approximate.scores(images)),
    }
    if exact.report.exact and approximate.report.exact:
        del runs["approximate"]  # nothing pads: it is the same network
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            seconds = run()
            if number:
                times[name].append(seconds)
    cost = exact.report.cost
    counted = {
        "crops": 1.0,
        "exact": cost.crops / max(1, cost.exact),
        "approximate": cost.crops / max(1, cost.approximate),
    }
    ways = tuple(
        Timing(
            name,
            statistics.median(measured),
            statistics.median(a / b for a, b in zip(times["crops"], measured, strict=True)),
            counted[name],
        )
        for name, measured in times.items()
    )
    return Benchmark(total, batch, count, rounds, ways)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
