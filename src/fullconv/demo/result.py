"""What the demonstration shows, as records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullconv.demo.pen import Box
from fullconv.geometry import Grid
from fullconv.report import Report
from fullconv.verified import Verification


@dataclass(frozen=True)
class Find:
    """A window that is said to hold a dress.

    Attributes
    ----------
    box : (x0, y0, x1, y1)
        The window.
    score : float
        How sure the classifier is, from 0 to 1.
    dress : (x0, y0, x1, y1) or None
        The drawn dress that has the window's centre inside; None for a false alarm.
    """

    box: Box
    score: float
    dress: Box | None


@dataclass(frozen=True)
class Result:
    """What the demonstration has shown.

    Attributes
    ----------
    seed : int
        Of the drawn street.
    size : (int, int)
        Height and width of the picture.
    dresses : tuple of (x0, y0, x1, y1)
        Where the dresses were drawn.
    operations : int
        Operations of the classifier.
    report : Report
        What conversion changed.
    grid : Grid
        Window and step.
    heatmap : array
        Probability of a dress, (rows, columns), from the one pass.
    verification : Verification
        All windows against their crops.
    contrast : float
        Largest difference between neighbouring windows: what a shift by one window would cost.
    one_pass_s, crops_s : float
        Seconds, medians of some runs: the picture at once; all crops in batches.
    found : tuple of Find
        The best windows, the surest first.
    average_precision : float
        Of the finds: 1 where all dresses are found, and no false alarm is as sure as one of them.
    folder : Path
        Where the files are.
    files : tuple of str
        Their names.
    """

    seed: int
    size: tuple[int, int]
    dresses: tuple[Box, ...]
    operations: int
    report: Report
    grid: Grid
    heatmap: NDArray[np.float32]
    verification: Verification
    contrast: float
    one_pass_s: float
    crops_s: float
    found: tuple[Find, ...]
    average_precision: float
    folder: Path
    files: tuple[str, ...]

    @property
    def missed(self) -> tuple[Box, ...]:
        """Dresses that no find holds."""
        held = {find.dress for find in self.found}
        return tuple(box for box in self.dresses if box not in held)

    @property
    def false_alarms(self) -> int:
        """Finds where no dress is."""
        return sum(find.dress is None for find in self.found)
