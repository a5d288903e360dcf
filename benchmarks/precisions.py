"""Sizes, speeds and agreements of networks in f32, f16, bf16 and 8-bit integers.

Run it with ``python benchmarks/precisions.py``. Every network is converted once in each precision,
and quantized on photos, drawn streets as the demo has them. On one more street the contenders take
turns, and their scores are compared with those of crops, scored one at a time by the classifier in
f32. The dress detector is trained. The other two have random weights that behave like trained ones,
of 10 classes: their sizes and times are those of trained ones. Their best class hardly changes from
window to window, so that the differences say more than how often it agrees.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

import fullconv
from fullconv.demo.scene import draw_scene
from fullconv.errors import FullconvError
from fullconv.preprocessing import KNOWN
from fullconv.quantizing.agreement import Agreement, crop_scorer, measure
from fullconv.quantizing.photos import PhotoPart, draw
from fullconv.runtimes import Runtime, open_runtime
from measuring import Figure, arguments, interleaved, print_machine, ratio, write_json
from networks import VGG16, ResNet18, as_onnx, with_random_weights

CLASSES = 10
KEPT = 7
"""The street that is kept back; those to calibrate on come before it."""


@dataclass(frozen=True)
class Workload:
    """A network, and the size of the streets that it is tried on."""

    name: str
    classifier: Any
    window: tuple[int, int]
    size: tuple[int, int]
    preprocessing: fullconv.Preprocessing | None

    def street(self, seed: int) -> np.ndarray:
        """Return a drawn photo."""
        rows, columns = self.size
        return draw_scene(seed, (max(320, rows), max(512, columns))).image[:rows, :columns]


def dress() -> Workload:
    """Return the classifier of the demo."""
    model = onnx.load(str(resources.files("fullconv.demo") / "dress.onnx"))
    return Workload("dress detector", model, (128, 64), (512, 1024), None)


def random(network: Callable[..., nn.Module]) -> Workload:
    """Return a network with random weights."""
    torch.manual_seed(0)
    model = network(classes=CLASSES)
    imagenet = KNOWN["imagenet"]
    scene = np.moveaxis(draw_scene(99).image, -1, 0)
    prepared = torch.from_numpy(imagenet.apply(scene[None]))
    crops = torch.cat([prepared[..., 100:324, x : x + 224] for x in range(0, 800, 100)])
    model = with_random_weights(model, crops)
    proto = as_onnx(model, (224, 224))
    return Workload(type(model).__name__, proto, (224, 224), (320, 352), imagenet)


WORKLOADS = {
    "dress": dress,
    "resnet18": lambda: random(ResNet18),
    "vgg16": lambda: random(VGG16),
}


def contenders(work: Workload) -> tuple[dict[str, tuple[Any, Runtime]], fullconv.Quantized]:
    """Return every precision in every runtime that computes it: the network, and what runs it."""

    def converted(precision: str | None) -> fullconv.FullyConvolutional:
        given = {"preprocessing": work.preprocessing, "check": False, "step": 32}
        return fullconv.convert(work.classifier, work.window, precision=precision, **given)

    single = converted(None)
    streets = [work.street(seed) for seed in range(KEPT)]
    made = fullconv.quantize(single, streets, classifier=work.classifier, windows=96)
    networks = {"f32": single, "f16": converted("f16"), "bf16": converted("bf16"), "int8": made.fcn}
    found: dict[str, tuple[Any, Runtime]] = {}
    for name, fcn in networks.items():
        for runtime in ("onnxruntime", "openvino"):
            try:
                found[f"{name}, {runtime}"] = fcn, open_runtime(fcn, runtime)
            except FullconvError as error:
                print(f"{name}, {runtime}: {error}", flush=True)
    return found, made


def agreement(fcn: Any, runtime: Runtime, parts: list[PhotoPart], of_crops: list[Any]) -> Agreement:
    """Compare what a runtime computes with the scores of crops."""

    def run(images: Any) -> Any:
        outputs = runtime.run(images)
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    measured = copy.copy(fcn)
    measured._run = run
    return measure(measured, parts, of_crops)


def measured(work: Workload, repeats: int) -> list[Figure]:
    """Measure one network, and print its rows."""
    found, made = contenders(work)
    single = found["f32, onnxruntime"][0]
    kept = work.street(KEPT)
    (part,) = draw(single, [kept], 96, 1).kept
    part.places += draw(single, [kept], 96, 1).calibration[0].places
    of_crops = [crop_scorer(single, work.classifier)(part)]
    runs = {name: lambda own=runtime: own.run(part.pixels) for name, (_, runtime) in found.items()}
    times = interleaved(runs, repeats)
    base = times["f32, onnxruntime"]
    figures = []
    for name, (fcn, runtime) in found.items():
        agreed = agreement(fcn, runtime, [part], of_crops)
        figure = Figure.of(work.name, name, times[name], str(agreed))
        figures.append(figure)
        precision, where = name.split(", ")
        print(
            f"| {work.name} | {precision} | {where}, in {runtime.precision} "
            f"| {fcn.model.ByteSize() / 1e6:.3g} | {milliseconds(figure.median)} "
            f"({milliseconds(figure.fastest)}–{milliseconds(figure.slowest)}) "
            f"| {ratio(times[name], base):.2f} "
            f"| {100 * agreed.same_class:.1f} % of {agreed.windows} "
            f"| {agreed.mean_difference:.2g} | {agreed.max_difference:.2g} "
            f"of {agreed.largest:.2g} |",
            flush=True,
        )
    left = f"; in f32: {', '.join(made.left_out)}" if made.left_out else ""
    print(
        f"<!-- {work.name}: {made.layers - len(made.left_out)} of {made.layers} layers in int8"
        f"{left} -->",
        flush=True,
    )
    return figures


def milliseconds(seconds: float) -> str:
    """Return a time in three digits, without an exponent."""
    number = seconds * 1e3
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def main() -> None:
    """Measure every network, and print a table."""
    options = arguments("Networks in f32, f16, bf16 and int8.", tuple(WORKLOADS))
    print_machine()
    print(
        "\n| network | file | runtime | MB | ms | of f32's time | same best class "
        "| mean difference | largest difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    figures = []
    for name, make in WORKLOADS.items():
        if options.only in (None, name):
            figures += measured(make(), options.repeats)
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
