"""Exact scores of every window from networks that pad: converted, and batches of crops.

Run it with ``python benchmarks/padded.py``. For every network and runtime the contenders take turns
within one run, as in `speed`; crops are forwarded in the batch size that is best on this machine,
and where all of them would take minutes, the time is extrapolated from some of them, as the table
says. The ceiling beside the times is counted from the network's layers and not measured (see
`ceiling`): as many times fewer multiply-accumulates do all windows of this image need, if all that
exact windows can share is computed once. The approximate form pads at the image's border only: it
is there for scale, for its scores are not those of the crops, and the ceiling is not its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

import fullconv
from ceiling import Ceiling, ceiling
from measuring import Crops, Figure, arguments, interleaved, print_machine, ratio, write_json
from networks import VGG16, ResNet50, as_onnx, ready, session

STEP = 32


@dataclass(frozen=True)
class Workload:
    """One network with square windows on one square image."""

    name: str
    network: type[nn.Module]
    side: int
    size: int

    @property
    def window(self) -> tuple[int, int]:
        return self.side, self.side

    @cached_property
    def ceiling(self) -> Ceiling:
        """Count the network's multiply-accumulates."""
        with torch.device("meta"):
            return ceiling(self.network(), self.window, STEP)

    def __str__(self) -> str:
        image = self.size, self.size
        return (
            f"{self.network.__name__}, window {self.side}x{self.side}, {self.size}x{self.size}, "
            f"step {STEP}: {prod(self.ceiling.windows(image))} windows, "
            f"ceiling {self.ceiling.of_image(image):.2f} "
            f"({self.ceiling.endless:.2f} on an endless image)"
        )


WORKLOADS = (
    Workload("vgg16", VGG16, 224, 768),
    Workload("resnet50", ResNet50, 224, 768),
    Workload("resnet50-512", ResNet50, 512, 1024),
)


def in_torch(workload: Workload, repeats: int, image: np.ndarray) -> list[Figure]:
    """Measure PyTorch."""
    model, images = ready(workload.network), torch.from_numpy(image)
    exact, near = (
        fullconv.convert(model, window=workload.window, step=STEP, exact=exact)
        for exact in (True, False)
    )
    crops = Crops(torch.no_grad()(model), torch.cat, images, workload.window, STEP)
    runs = {"exact": lambda: exact(images), "approximate": lambda: near(images)}
    return measure(workload, "PyTorch", runs, crops, repeats)


def in_onnx_runtime(workload: Workload, repeats: int, image: np.ndarray) -> list[Figure]:
    """Measure ONNX Runtime."""
    proto = as_onnx(ready(workload.network), workload.window)
    exact, near = (fullconv.convert(proto, step=STEP, exact=exact) for exact in (True, False))
    crops = Crops(session(proto), np.concatenate, image, workload.window, STEP)
    del proto
    runs = {"exact": lambda: exact(image), "approximate": lambda: near(image)}
    return measure(workload, "ONNX Runtime", runs, crops, repeats)


def measure(
    workload: Workload,
    runtime: str,
    runs: dict[str, Callable[[], Any]],
    crops: Crops,
    repeats: int,
) -> list[Figure]:
    """Measure both forms beside the crops, and print each against the crops and the ceiling."""
    times = interleaved({**runs, "crops": crops.run}, repeats)
    times["crops"] = [seconds * crops.scale for seconds in times["crops"]]
    limit = workload.ceiling.of_image((workload.size, workload.size))
    figures = []
    for form, held in times.items():
        faster = ratio(times["crops"], held)
        note = crops.note if form == "crops" else f"{faster:.2f} times as fast as its crops"
        if form == "exact":
            note += f", ceiling {limit:.2f}"
        figure = Figure.of(str(workload), f"{form}, {runtime}", held, note)
        figures.append(figure)
        about = f" ({crops.note})" if form == "crops" else ""
        print(
            f"| {figure.contender}{about} | {figure.median:.3f} "
            f"| {figure.fastest:.3f} to {figure.slowest:.3f} "
            f"| {faster:.2f} | {f'{limit:.2f}' if form == 'exact' else ''} |",
            flush=True,
        )
    return figures


def main() -> None:
    """Measure everything and print a table for each workload."""
    options = arguments(
        "Exact scores of every window of networks that pad, and from crops.",
        [workload.name for workload in WORKLOADS],
    )
    print_machine()
    figures: list[Figure] = []
    for workload in WORKLOADS:
        if options.only not in (None, workload.name):
            continue
        if options.quick:
            workload = replace(workload, size=workload.side + 2 * STEP)
        print(f"\n**{workload}**\n")
        print(
            "| contender | median s | fastest to slowest | times as fast as its crops | ceiling |"
        )
        print("|---|---|---|---|---|", flush=True)
        shape = (1, 3, workload.size, workload.size)
        image = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        for run in (in_torch, in_onnx_runtime):
            figures += run(workload, options.repeats, image)
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
