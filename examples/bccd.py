"""Train a classifier of blood cells, convert it, and find the cells of microscope fields with it.

364 fields of 640 by 480 pixels with true boxes (BCCD) and an official split: crops are cut from the
training fields, the classifier and its hard negatives know nothing else, the validation fields
choose the best epoch and the thresholds, and the test fields are looked at once, at the end. This
script cuts and compares; training, converting, detecting and evaluating are fullconv's own.

The folder of the data is found by --data, else by the environment variable FULLCONV_DATA, else
it is shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fullconv
from bccd_crops import CLASSES, SCALES, Field, data_folder, read_fields, write_crops
from bccd_pictures import write_pictures
from fullconv.cli.training_lines import shown
from fullconv.detections.curves import ClassEvaluation

RECALL = {"Platelets": 0.92, "RBC": 0.94, "WBC": 0.98}
"""The thresholds are the highest that find so much of each class in the validation fields."""

FIRST_TRY = {
    "Platelets": {"recall": 0.87, "precision": 0.39},
    "RBC": {"recall": 0.93, "precision": 0.46},
    "WBC": {"recall": 0.97, "precision": 0.73},
}
"""What a plain network came to on the same test fields, before."""

LEAST_SCORE, IOU = 0.02, 0.2
FALSE_PER_IMAGE = (0.1, 1, 10)
"""At so many false boxes per image miss rates are told."""

PLAIN, HARD = "without hard negatives", "with hard negatives"


@dataclass(frozen=True)
class Options:
    """What a run is asked for: at most so many fields of each split, where that is given."""

    seed: int = 0
    epochs: int = 8
    rounds: int = 2
    fields: int | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What one classifier finds.

    Attributes
    ----------
    figures : dict
        Plain values, for JSON.
    curves : dict
        The evaluation of each class in the test fields, over all scores.
    found : Detections
        In the test fields, over the thresholds.
    """

    figures: dict[str, Any]
    curves: Mapping[str, ClassEvaluation]
    found: fullconv.Detections


def run(data: Path, output: Path, options: Options) -> dict[str, Any]:
    """Cut, train, find and compare; returns the figures, and writes them with all else."""
    start = time.perf_counter()
    fields = {split: held[: options.fields] for split, held in read_fields(data).items()}
    crops = output / "crops"
    shutil.rmtree(crops, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    counts = {
        # `fullconv train` calls what it judges by "test"; here that is the validation fields.
        "train": write_crops(fields["train"], crops / "train", options.seed),
        "test": write_crops(fields["val"], crops / "test", options.seed),
    }
    for part, held in counts.items():
        told = ", ".join(f"{count} {name}" for name, count in held.items())
        print(f"crops/{part}: {told}", flush=True)
    results = {}
    for words, name in ((PLAIN, "cells-plain"), (HARD, "cells")):
        print(f"\n{words}", flush=True)
        trained, seconds = train(crops, output / f"{name}.onnx", data, fields, options, words)
        result = judge(output / f"{name}.onnx", data, fields)
        result.figures["training_s"] = round(seconds, 1)
        result.figures["held_out"] = trained.confusion.as_dict()
        result.figures["rounds"] = [
            {"photos": one.photos, "windows": one.windows, "alarms": one.alarms, "added": one.added}
            | {"seconds": round(one.seconds, 1)}
            for one in trained.rounds
        ]
        results[words] = result
        tell(result.figures)
    figures = {
        "fields": {split: len(held) for split, held in fields.items()},
        "crops": counts,
        "first_try": FIRST_TRY,
        "runs": {words: result.figures for words, result in results.items()},
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
    }
    results[HARD].found.save(output / "boxes.csv")
    (output / "report.json").write_text(json.dumps(figures, indent=2) + "\n")
    curves = {words: result.curves for words, result in results.items()}
    write_pictures(output, fields["test"][0], results[HARD].found, curves)
    print(
        f"\n{figures['seconds']:.0f} s in all; wrote {output}/: cells.onnx, cells-plain.onnx, "
        f"crops/, boxes.csv, report.json, field.png (white: true boxes), misses.png"
    )
    return figures


def train(
    crops: Path,
    out: Path,
    data: Path,
    fields: Mapping[str, Sequence[Field]],
    options: Options,
    words: str,
) -> tuple[fullconv.Trained, float]:
    """Return a classifier, and the seconds it took; hard negatives come from training fields."""
    photos: dict[str, Any] = {
        "negatives": [field.path for field in fields["train"]],
        "truth": data / "Annotations",
        "scales": SCALES,
        "rounds": options.rounds,
    }
    start = time.perf_counter()
    with shown(as_json=False) as listener:
        trained = fullconv.train(
            crops,
            out,
            epochs=options.epochs,
            seed=options.seed,
            flips="hv",
            overwrite=True,
            progress=listener,
            **(photos if words == HARD else {}),
        )
    return trained, time.perf_counter() - start


def judge(model: Path, data: Path, fields: Mapping[str, Sequence[Field]]) -> Result:
    """Choose thresholds in the validation fields, and evaluate in the test fields."""
    fcn = fullconv.convert(model)
    start = time.perf_counter()
    found = {
        split: fullconv.detect(
            fcn, [field.path for field in fields[split]], LEAST_SCORE, IOU, SCALES
        )
        for split in ("val", "test")
    }
    seconds = time.perf_counter() - start
    chosen = evaluate(found["val"], data, fields["val"])
    thresholds = {name: threshold(chosen[name], RECALL[name]) for name in CLASSES}
    kept = over(found["test"], thresholds)
    curves = evaluate(found["test"], data, fields["test"])
    overlapping = evaluate(found["test"], data, fields["test"], match="iou")
    at_thresholds = evaluate(kept, data, fields["test"])
    figures = {
        name: {
            "threshold": thresholds[name],
            "truth": at_thresholds[name].truth,
            "found": int(at_thresholds[name].hits.sum()),
            "false": int((~at_thresholds[name].hits).sum()),
            "recall": at_thresholds[name].recall,
            "precision": at_thresholds[name].precision,
            "average_precision": curves[name].average_precision,
            "average_precision_iou_0.5": overlapping[name].average_precision,
            "log_average_miss_rate": curves[name].log_average_miss_rate,
            "miss_rate_at": {f"{rate:g}": misses(curves[name], rate) for rate in FALSE_PER_IMAGE},
            "best_recall": curves[name].recall,
        }
        for name in CLASSES
    }
    return Result({"classes": figures, "detecting_s": round(seconds, 1)}, curves, kept)


def evaluate(
    found: fullconv.Detections, data: Path, fields: Sequence[Field], match: Any = "center"
) -> dict[str, ClassEvaluation]:
    """Return the evaluation of each class in some fields."""
    names = [field.path.stem for field in fields]
    held = fullconv.evaluate(
        found, data / "Annotations", match=match, classes=CLASSES, images=names
    )
    return {name: held[name] for name in CLASSES}


def threshold(curve: ClassEvaluation, recall: float) -> float:
    """Return the highest score down to which so much is found, or that of the last detection."""
    enough = np.flatnonzero(curve.recalls >= recall)
    scores = curve.scores
    return float(scores[enough[0]] if len(enough) else scores[-1] if len(scores) else LEAST_SCORE)


def misses(curve: ClassEvaluation, rate: float) -> float:
    """Return the miss rate with at most so many false boxes per image."""
    allowed = int(np.searchsorted(curve.false_per_image, rate, side="right"))
    return float(curve.miss_rates[allowed - 1]) if allowed else 1.0


def over(found: fullconv.Detections, thresholds: Mapping[str, float]) -> fullconv.Detections:
    """Return the detections that reach the threshold of their class."""
    least = np.array([thresholds.get(name, 0.0) for name in found.classes])
    kept = found.scores >= least[found.labels]
    return replace(
        found,
        **{name: getattr(found, name)[kept] for name in ("boxes", "scores", "labels", "images")},
        probabilities=None if found.probabilities is None else found.probabilities[kept],
    )


def tell(figures: Mapping[str, Any]) -> None:
    """Print a line for each class."""
    for name, held in figures["classes"].items():
        before = FIRST_TRY[name]
        print(
            f"{name:9s} {held['found']} of {held['truth']} found, {held['false']} false: recall "
            f"{held['recall']:.3f} (first try {before['recall']}), precision "
            f"{held['precision']:.3f} ({before['precision']}), average precision "
            f"{held['average_precision']:.3f}, at IoU 0.5 {held['average_precision_iou_0.5']:.3f}, "
            f"missed with 0.1, 1, 10 false per image "
            f"{', '.join(f'{rate:.3f}' for rate in held['miss_rate_at'].values())}",
            flush=True,
        )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder that holds bccd/")
    parser.add_argument("-o", "--output", type=Path, default=Path("bccd-out"))
    parser.add_argument("--seed", type=int, default=Options.seed)
    parser.add_argument("--epochs", type=int, default=Options.epochs)
    parser.add_argument("--rounds", type=int, default=Options.rounds, help="of hard negatives")
    parser.add_argument("--fields", type=int, help="at most so many of each split")
    parser.add_argument(
        "--threads", type=int, default=1, help="more round, and so train, differently"
    )
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    run(
        data_folder(asked.data),
        asked.output,
        Options(asked.seed, asked.epochs, asked.rounds, asked.fields),
    )


if __name__ == "__main__":
    main()
