"""Results of the demonstration, as records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.report import Report
from fullconv.demo.pen import Box
from fullconv.geometry.grid import Grid
from fullconv.verification.verified import Verification


@dataclass(frozen=True)
class Find:
    """A window that the classifier takes for a dress.

    Attributes
    ----------
    box : (x0, y0, x1, y1)
        The window.
    score : float
        Probability of a dress, from 0 to 1.
    dress : (x0, y0, x1, y1) or None
        The drawn dress whose box holds the window's centre; None for a false alarm.
    """

    box: Box
    score: float
    dress: Box | None


@dataclass(frozen=True)
class Result:
    """Results of one run of the demonstration.

    Attributes
    ----------
    seed : int
        Seed of the drawn street.
    size : (int, int)
        Height and width of the picture.
    dresses : tuple of (x0, y0, x1, y1)
        True boxes of the dresses.
    operations : int
        Number of operations in the classifier.
    report : Report
        Report of the conversion.
    grid : Grid
        Window and step.
    heatmap : array
        Probability of a dress, (rows, columns), from the one pass.
    verification : Verification
        Comparison of all windows with their crops.
    contrast : float
        Largest difference between scores of neighbouring windows: the error that a shift by one
        window would cause.
    one_pass_s, crops_s : float
        Median seconds of some runs, for the picture in one pass and for all crops in batches.
    found : tuple of Find
        The windows that are kept, highest score first.
    average_precision : float
        Of the finds; 1 if every dress is found, with a higher score than any false alarm.
    folder : Path
        Folder of the files.
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
        """Dresses that were not found."""
        hit = {find.dress for find in self.found}
        return tuple(box for box in self.dresses if box not in hit)

    @property
    def false_alarms(self) -> int:
        """Number of finds that are no dress."""
        return sum(find.dress is None for find in self.found)
