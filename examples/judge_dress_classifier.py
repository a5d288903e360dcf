"""Say how many dresses a classifier finds in drawn streets that nobody trained on.

    python examples/judge_dress_classifier.py [MODEL] [--streets 60]

MODEL is the packaged one by default. Streets are searched at step 32, as the demonstration does it,
and at the network's own stride; a dress is found where it has the centre of a box inside, and every
further box is a false alarm.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import fullconv
from fullconv.demo import run
from fullconv.demo.scene import Scene, draw_scene
from fullconv.detections.evaluation import Evaluation

FIRST_HELD_OUT = 10_000
PACKAGED = Path(run.__file__).with_name("dress.onnx")


def search(model: Any, scenes: Sequence[Scene], step: int | None) -> Evaluation:
    """Return how well a classifier finds the dresses of scenes."""
    fcn = fullconv.convert(model, step=step)
    names = tuple(f"{number}.png" for number in range(len(scenes)))
    found = fullconv.detect(
        fcn,
        [scene.image for scene in scenes],
        run.THRESHOLD,
        run.SAME_DRESS_IOU,
        windows_to_check=0,
    )
    truth = {
        name: (np.array(scene.dresses), [run.DRESS_NAME] * len(scene.dresses))
        for name, scene in zip(names, scenes, strict=True)
    }
    return fullconv.evaluate(
        replace(found, names=names), truth, match="center", classes=[run.DRESS_NAME]
    )


def main() -> None:
    """Search, and print a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=PACKAGED)
    parser.add_argument("--streets", type=int, default=60)
    asked = parser.parse_args()
    scenes = [draw_scene(FIRST_HELD_OUT + number) for number in range(asked.streets)]
    for step in (run.STEP, None):
        dress = search(asked.model, scenes, step)[run.DRESS_NAME]
        hits = int(dress.hits.sum())
        print(
            f"{f'step {step}' if step else 'own stride':<10}  {len(scenes)} streets: {hits} of "
            f"{dress.truth} dresses found, {len(dress.hits) - hits} false alarms, average "
            f"precision {dress.average_precision:.4f}"
        )


if __name__ == "__main__":
    main()
