"""The demonstration itself: one street, one classifier, all windows scored two ways.

Nothing is printed here; `run` returns a record, and the command line tells the story.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import fullconv
from fullconv.demo.pen import Box
from fullconv.demo.result import Find, Result
from fullconv.demo.scene import draw_scene
from fullconv.detections.drawing import draw_boxes, outline
from fullconv.detections.found import Detections
from fullconv.errors import OutputError
from fullconv.frameworks import find
from fullconv.geometry.grid import Grid
from fullconv.scanning.overlay import draw_overlay
from fullconv.system.files import whole

BATCH = 64
"""Crops per call: more are no faster on a CPU, and one at a time is slower."""

REPEATS = 5
STEP = 32
"""Pixels between windows: half a window's width."""

DRESS, DRESS_NAME = 1, "dress"
SCENE = "scene.png"
THRESHOLD = 0.5

SAME_DRESS_IOU = 0.2
"""Two windows whose intersection over union is larger than this are one find.

It is 0.33 for neighbours half a window apart across, and 0.23 for diagonal neighbours.
"""

WHITE = (255, 255, 255)


def run(folder: Path, seed: int = 0, model: Path | None = None) -> Result:
    """Draw, convert, score twice, compare, and write the pictures and the converted model.

    Parameters
    ----------
    folder : Path
        Created if missing.
    seed : int
        Seed of the street.
    model : Path, optional
        The dress classifier, as ONNX; by default the one that the package carries.

    Raises
    ------
    OutputError
        If the folder cannot be written to.
    """
    scene = draw_scene(seed)
    with resources.as_file(resources.files("fullconv.demo") / "dress.onnx") as packaged:
        path = model or packaged
        framework = find(path)
        classifier, _ = framework.open(path)
    fcn = fullconv.convert(classifier, step=STEP)
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
    detections = fullconv.detect(fcn, scene.image, THRESHOLD, SAME_DRESS_IOU, windows_to_check=0)
    found = tuple(
        Find(
            _whole(one.box),
            one.score,
            next((d for d in scene.dresses if _holds_center(d, one.box)), None),
        )
        for one in detections
    )
    truth = {SCENE: (np.array(scene.dresses), [DRESS_NAME] * len(scene.dresses))}
    evaluation = fullconv.evaluate(
        replace(detections, names=(SCENE,)), truth, match="center", classes=[DRESS_NAME]
    )

    height, width = fcn.grid.window
    overlay = draw_overlay(
        scene.image, heatmap, (height, width), STEP, [find.box for find in found]
    )
    make_folder(folder)
    _save_picture(Image.fromarray(scene.image), folder / SCENE)
    _save_picture(overlay, folder / "overlay.png")
    _save_picture(_boxes(scene.image, scene.dresses, detections), folder / "boxes.png")
    fcn.save(folder / "dress-fcn.onnx")
    return Result(
        seed=seed,
        size=(scene.image.shape[0], scene.image.shape[1]),
        dresses=scene.dresses,
        operations=len(classifier.graph.node),
        report=fcn.report,
        grid=fcn.grid,
        heatmap=heatmap,
        verification=verification,
        contrast=max(float(np.abs(np.diff(heatmap, axis=axis)).max()) for axis in (0, 1)),
        one_pass_s=one_pass_s,
        crops_s=crops_s,
        found=found,
        average_precision=evaluation.average_precision,
        folder=folder,
        files=(SCENE, "overlay.png", "boxes.png", "dress-fcn.onnx"),
    )


def cut(image: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Return every window of one image ``(1, C, H, W)`` as a crop: ``(windows, C, h, w)``."""
    rows, columns = grid.shape(image.shape[2:])
    boxes = [grid.box(row, column) for row in range(rows) for column in range(columns)]
    return np.concatenate([image[:, :, y0:y1, x0:x1] for x0, y0, x1, y1 in boxes])


def _boxes(image: NDArray[np.uint8], dresses: Sequence[Box], detections: Detections) -> Image.Image:
    """Draw the dresses as thin white outlines, and the detections over them."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    for box in dresses:
        outline(draw, box, WHITE, 1)
    d = detections
    return draw_boxes(picture, d.boxes, d.labels, d.scores, d.classes)


def _whole(box: Sequence[float]) -> Box:
    x0, y0, x1, y1 = (round(edge) for edge in box)
    return x0, y0, x1, y1


def _holds_center(dress: Box, window: Sequence[float]) -> bool:
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


def make_folder(folder: Path) -> None:
    """Create the folder of the demonstration if it is missing.

    Raises
    ------
    OutputError
        If it cannot be created.
    """
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
