"""What `fullconv train` has made, beside histograms of gradients and a linear machine.

The classical detector of `hog_svm.py` learns the same crops, in `fashion-out/` and `bccd-out/`,
which `make fashion` and `make bccd` write with the models, and looks at the same windows of the
same images. It needs the environment of hog.txt, and the data where these commands find it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import fullconv
from fullconv.training.crops import find_crops
from fullconv.training.photos import Photos
from hog_photos import at_scale, detect, mine
from hog_svm import Choice, Detector, Numbers, choose, fit, lead
from measuring import interleaved, machine, print_machine

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "examples"))
OURS, HOG = "fullconv train", "HOG + linear SVM"


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of one part: pixels ``(N, h, w)`` or ``(N, h, w, 3)``, and class numbers."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path) -> Crops:
        """Read a folder of crops for each class."""
        found = find_crops(folder)
        pixels = []
        for crop in found.training:
            with Image.open(crop.path) as picture:
                pixels.append(np.asarray(picture))
        labels = np.array([crop.label for crop in found.training])
        return cls(np.stack(pixels), labels, found.classes)


@dataclass(frozen=True, eq=False)
class Learnt:
    """The classical detector, and what it has learnt."""

    detector: Detector
    choice: Choice
    described: Numbers
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, crops: Crops) -> Learnt:
        """Choose by cross-validation, and learn all crops."""
        choice = choose(crops.pixels, crops.labels)
        described = choice.descriptor.of_crops(crops.pixels)
        detector = fit(choice, described, crops.labels, crops.classes)
        print(f"chosen   {choice}", flush=True)
        return cls(detector, choice, described, crops.labels)

    def with_negatives(self, photos: Photos, background: int) -> Learnt:
        """Learn the false alarms in photos, too: one round, as Dalal and Triggs did."""
        more, labels, windows = mine(self.detector, photos, background)
        print(f"negatives {len(labels)} of {windows} windows of {len(photos)} photos", flush=True)
        described = np.concatenate([self.described, more])
        labels = np.concatenate([self.labels, labels])
        detector = fit(self.choice, described, labels, self.detector.classes)
        return replace(self, detector=detector, described=described, labels=labels)

    def accuracy(self, crops: Crops) -> float:
        """Return the share of crops whose class is right."""
        margins = self.detector.margins(self.choice.descriptor.of_crops(crops.pixels))
        return float((margins.argmax(axis=1) == crops.labels).mean())


def accuracy(fcn: fullconv.FullyConvolutional, crops: Crops) -> float:
    """Return the share of crops whose class is right."""
    said = [
        np.asarray(fcn(prepared(fcn, part))).argmax(axis=1).ravel()
        for part in np.array_split(crops.pixels, max(1, len(crops.pixels) // 500))
    ]
    return float((np.concatenate(said) == crops.labels).mean())


def prepared(fcn: fullconv.FullyConvolutional, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images ``(N, h, w)`` or ``(N, h, w, 3)`` as the network takes them."""
    planes = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
    return fcn.preprocessing.apply(np.ascontiguousarray(planes))


def speeds(
    fcn: fullconv.FullyConvolutional, detector: Detector, images: Sequence[NDArray[np.uint8]]
) -> dict[str, float]:
    """Return windows per second of both, from pixels in memory to scores of all windows."""

    def ours() -> int:
        return sum(np.asarray(fcn(prepared(fcn, image[None])))[0, 0].size for image in images)

    def hog() -> int:
        return sum(detector.heatmap(image)[0].size for image in images)

    runs: dict[str, Callable[[], int]] = {OURS: ours, HOG: hog}
    times = interleaved(runs, 5)
    return {name: run() / float(np.median(times[name])) for name, run in runs.items()}


def sheet(output: Path) -> dict[str, Any]:
    """Compare both on the sheet of 900 garments: a row of figures for each."""
    import garments

    learnt = Learnt.of(Crops.read(output / "crops/train"))
    held_out = Crops.read(output / "crops/test")
    fcn = fullconv.convert(output / "fashion.onnx")
    with Image.open(output / "sheet.png") as picture:
        pixels = np.asarray(picture)
    count, (h, w) = garments.TILES, garments.WINDOW
    tiles = pixels.reshape(count, h, count, w).swapaxes(1, 2).reshape(-1, h, w)
    scores = {
        OURS: np.asarray(fcn(prepared(fcn, tiles)))[:, :, 0, 0].T,
        HOG: lead(learnt.detector.margins(learnt.choice.descriptor.of_crops(tiles)).T),
    }
    right = {OURS: accuracy(fcn, held_out), HOG: learnt.accuracy(held_out)}
    per_second = speeds(fcn, learnt.detector, [pixels])
    classes = learnt.detector.classes
    corners = np.array([(x * w, y * h) for y in range(count) for x in range(count)])
    boxes = np.concatenate([corners, np.add(corners, (w, h))], axis=1)

    def judged(said: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
        image = np.zeros(len(boxes))
        found = fullconv.Detections(
            boxes, said, labels, image, classes, ("sheet.png",), ((count * h, count * w),)
        )
        return fullconv.evaluate(found, output / "sheet.json", match="center")[garments.DRESS]

    dress = classes.index(garments.DRESS)
    rows: dict[str, Any] = {}
    for name, held in scores.items():
        best = judged(held.max(axis=0), held.argmax(axis=0))
        curve = judged(held[dress], np.full(len(boxes), dress))
        rows[name] = {
            "accuracy of crops": right[name],
            **counted(garments.DRESS, best, curve),
            "windows per second": per_second[name],
        }
    return rows


def cells(output: Path, data: str | None) -> dict[str, Any]:
    """Compare both on the microscope fields: a row of figures for each."""
    import bccd

    folder = bccd.data_folder(data)
    fields = bccd.read_fields(folder)
    paths = {split: [field.path for field in held] for split, held in fields.items()}
    learnt = Learnt.of(Crops.read(output / "crops/train"))
    held_out = Crops.read(output / "crops/test")
    background = learnt.detector.classes.index("background")
    photos = Photos.find(paths["train"], folder / "Annotations", bccd.SCALES)
    # Hard negatives make it wary: of the crops, more are then called background.
    of_crops = learnt.accuracy(held_out)
    learnt = learnt.with_negatives(photos, background)
    fcn = fullconv.convert(output / "cells.onnx")

    def ours(split: str) -> fullconv.Detections:
        return fullconv.detect(fcn, paths[split], bccd.LEAST_SCORE, bccd.IOU, bccd.SCALES)

    def hog(split: str) -> fullconv.Detections:
        return detect(learnt.detector, paths[split], bccd.IOU, bccd.SCALES, background)

    right = {OURS: accuracy(fcn, held_out), HOG: of_crops}
    with Image.open(paths["test"][0]) as photo:
        images = [at_scale(photo.convert("RGB"), scale) for scale in bccd.SCALES]
    per_second = speeds(fcn, learnt.detector, images)
    rows: dict[str, Any] = {}
    for name, find in ((OURS, ours), (HOG, hog)):
        chosen = bccd.evaluate(find("val"), folder, fields["val"])
        least = {each: bccd.threshold(chosen[each], bccd.RECALL[each]) for each in bccd.CLASSES}
        found = find("test")
        curves = bccd.evaluate(found, folder, fields["test"])
        said = bccd.evaluate(bccd.over(found, least), folder, fields["test"])
        rows[name] = {"accuracy of crops": right[name]}
        for each in bccd.CLASSES:
            rows[name] |= counted(each, said[each], curves[each])
        rows[name]["windows per second"] = per_second[name]
    return rows


def counted(name: str, said: Any, curve: Any) -> dict[str, Any]:
    """Return what was found of a class, and falsely found, and its average precision."""
    hits = int(said.hits.sum())
    return {
        f"{name}: found": f"{hits} of {said.truth}",
        f"{name}: recall": said.recall,
        f"{name}: false": len(said.hits) - hits,
        f"{name}: AP": curve.average_precision,
    }


def tell(title: str, rows: dict[str, Any]) -> None:
    """Print a table with a column for each contender."""
    print(f"\n**{title}**\n\n| | {' | '.join(rows)} |\n|---|{'---|' * len(rows)}")
    for key in rows[OURS]:
        print(f"| {key} | {' | '.join(words(row[key]) for row in rows.values())} |", flush=True)


def words(figure: Any) -> str:
    """Return a share with three digits, and all else as whole numbers or as it is."""
    if isinstance(figure, float):
        return f"{figure:.3f}" if figure <= 1 else f"{figure:.0f}"
    return str(figure)


def main() -> None:
    """Compare on both sets, or on one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=("sheet", "cells"))
    parser.add_argument("--fashion", type=Path, default=Path("fashion-out"), metavar="FOLDER")
    parser.add_argument("--bccd", type=Path, default=Path("bccd-out"), metavar="FOLDER")
    parser.add_argument("--data", help="folder that holds bccd/")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures as JSON, too")
    options = parser.parse_args()
    print_machine()
    figures = {}
    for name, title, compare in (
        ("sheet", "Dresses on the sheet", lambda: sheet(options.fashion)),
        ("cells", "Blood cells in 72 fields", lambda: cells(options.bccd, options.data)),
    ):
        if options.only in (None, name):
            start = time.perf_counter()
            try:
                figures[name] = compare()
            except fullconv.FullconvError as error:
                raise SystemExit(
                    f"hog: {error} `make fashion` and `make bccd` come first."
                ) from None
            tell(f"{title} ({time.perf_counter() - start:.0f} s)", figures[name])
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), **figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
