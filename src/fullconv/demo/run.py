"""The demonstration itself: one street, one classifier, all windows scored two ways.

Nothing is printed here; `run` returns a record, and the command line tells the story.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import fullconv
from fullconv.overlay import draw_overlay
from fullconv.demo.pen import Box
from fullconv.demo.scene import draw_scene
from fullconv.errors import OutputError
from fullconv.files import whole
from fullconv.frameworks import find
from fullconv.geometry import Grid
from fullconv.report import Report
from fullconv.verification import Verification

BATCH = 64
"""Crops per call: more are no faster on a CPU, and one at a time is slower."""

REPEATS = 5
DRESS = 1
THRESHOLD = 0.5

SAME_DRESS_IOU = 0.2
"""Two windows that share more than this (intersection over union) are one find.

The window beside one, at half its width, shares 0.33, and the diagonal neighbour 0.23.
"""


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
        Seconds, medians of `REPEATS` runs: the picture at once; all crops in batches of `BATCH`.
    found : tuple of Find
        The best windows, the surest first.
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


def run(folder: Path, seed: int = 0) -> Result:
    """Draw, convert, score twice, compare, and write the pictures and the converted model.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    scene = draw_scene(seed)
    with resources.as_file(resources.files("fullconv.demo") / "dress.onnx") as path:
        framework = find(path)
        classifier, _ = framework.open(path)
    fcn = fullconv.convert(classifier)
    assert fcn.preprocessing is not None
    image = fcn.preprocessing.apply(scene.image.transpose(2, 0, 1))[None]
    rows, columns = fcn.grid.shape(scene.image.shape[:2])

    crops = cut(image, fcn.grid)
    classify = framework.classifier(classifier)
    one_pass_s, crops_s = _medians(
        lambda: fcn(image),
        lambda: [classify(crops[k : k + BATCH]) for k in range(0, len(crops), BATCH)],
    )
    heatmap = fcn(image)[0, DRESS]
    verification = fullconv.verify(fcn, classifier, image, windows=rows * columns)
    found = tuple(
        Find(box, score, next((d for d in scene.dresses if _holds_center(d, box)), None))
        for box, score in best_windows(heatmap, fcn.grid)
    )

    overlay = draw_overlay(
        scene.image, heatmap, fcn.grid.window, fcn.grid.step, [find.box for find in found]
    )
    _make_folder(folder)
    _save_picture(Image.fromarray(scene.image), folder / "scene.png")
    _save_picture(overlay, folder / "overlay.png")
    fcn.save(folder / "dress-fcn.onnx")
    return Result(
        seed,
        (scene.image.shape[0], scene.image.shape[1]),
        scene.dresses,
        len(classifier.graph.node),
        fcn.report,
        fcn.grid,
        heatmap,
        verification,
        max(float(np.abs(np.diff(heatmap, axis=axis)).max()) for axis in (0, 1)),
        one_pass_s,
        crops_s,
        found,
        folder,
        ("scene.png", "overlay.png", "dress-fcn.onnx"),
    )


def cut(image: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Return every window of one image ``(1, C, H, W)`` as a crop: ``(windows, C, h, w)``."""
    rows, columns = grid.shape(image.shape[2:])
    boxes = [grid.box(row, column) for row in range(rows) for column in range(columns)]
    return np.concatenate([image[:, :, y0:y1, x0:x1] for x0, y0, x1, y1 in boxes])


def best_windows(heatmap: NDArray[np.float32], grid: Grid) -> list[tuple[Box, float]]:
    """Return the windows over `THRESHOLD` that no surer window overlaps, the surest first.

    Greedy non-maximum suppression at `SAME_DRESS_IOU`.
    """
    places = sorted(np.argwhere(heatmap > THRESHOLD).tolist(), key=lambda p: -heatmap[p[0], p[1]])
    kept: list[tuple[Box, float]] = []
    for row, column in places:
        box = grid.box(row, column)
        if all(overlap(box, other) <= SAME_DRESS_IOU for other, _ in kept):
            kept.append((box, float(heatmap[row, column])))
    return kept


def overlap(a: Box, b: Box) -> float:
    """Return the intersection over union of two half-open boxes."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def _holds_center(dress: Box, window: Box) -> bool:
    x, y = (window[0] + window[2]) / 2, (window[1] + window[3]) / 2
    return dress[0] <= x < dress[2] and dress[1] <= y < dress[3]


def _medians(*ways: Callable[[], Any]) -> Sequence[float]:
    """Return each way's median time in seconds; they take turns, so that they share any noise."""
    for way in ways:
        way()
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(REPEATS):
        for way, seconds in zip(ways, times, strict=True):
            start = time.perf_counter()
            way()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"demo -o {folder}: the folder cannot be made: {error.strerror or error}; choose "
            f"another place."
        ) from None


def _save_picture(picture: Image.Image, path: Path) -> None:
    with whole(path) as temporary:
        picture.save(temporary)
