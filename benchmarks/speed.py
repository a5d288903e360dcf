"""Scores of every window: the converted network, the same by hand, and batches of crops.

Run it with ``python benchmarks/speed.py``. For every network and image size the contenders take
turns within one run; the table shows the median and the fastest and slowest repeat. Crops are
forwarded in the batch size that is best on this machine. Where forwarding all of them would take
minutes, some are measured and the time for all is told from them; the table says so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import fullconv
from measuring import Figure, arguments, interleaved, print_machine, write_json
from networks import VGG16, Small, by_hand, ready

STEP = 32
BATCHES = (1, 2, 4, 8, 16, 32, 64)
PATIENCE = 5.0
"""Seconds for the crops of one repeat; what needs longer is measured on some of them."""

Classify = Callable[[Any], Any]


@dataclass(frozen=True)
class Workload:
    """One network on one image size."""

    network: type[nn.Module]
    exact: bool
    size: int

    @property
    def windows(self) -> int:
        """Count the windows of the image."""
        return ((self.size - self.network.window[0]) // STEP + 1) ** 2

    def __str__(self) -> str:
        kind = "exact=True" if self.exact else "exact=False, padded at the image's border only"
        return (
            f"{self.network.__name__} ({kind}), {self.size}x{self.size}, "
            f"step {STEP}: {self.windows} windows"
        )


def crop(image: Any, window: tuple[int, int], start: int, stop: int) -> list[Any]:
    """Return the windows of an image from one number to another, row by row."""
    (h, w), columns = window, (image.shape[3] - window[1]) // STEP + 1
    return [
        image[:, :, y : y + h, x : x + w]
        for y, x in ((k // columns * STEP, k % columns * STEP) for k in range(start, stop))
    ]


def run_crops(
    classify: Classify, join: Classify, image: Any, window: tuple[int, int], batch: int, count: int
) -> None:
    """Cut the first ``count`` windows and forward them in batches."""
    for start in range(0, count, batch):
        classify(join(crop(image, window, start, min(start + batch, count))))


class Crops:
    """The crops as a contender: the best batch size, and as many of them as patience allows."""

    def __init__(self, classify: Classify, join: Classify, image: Any, workload: Workload) -> None:
        def run(batch: int, count: int) -> float:
            start = time.perf_counter()
            run_crops(classify, join, image, workload.network.window, batch, count)
            return (time.perf_counter() - start) / count

        run(1, 1)
        trials = {}
        for batch in (b for b in BATCHES if b <= workload.windows):
            trials[batch] = min(run(batch, batch) for _ in range(2))
            if trials[batch] > 1.3 * min(trials.values()):
                break
        self.batch = min(trials, key=trials.__getitem__)
        affordable = max(1, int(PATIENCE / trials[self.batch]) // self.batch) * self.batch
        self.count = min(workload.windows, affordable)
        self.scale = workload.windows / self.count
        self.run = lambda: run(self.batch, self.count)

    @property
    def note(self) -> str:
        """Say which batch, and whether all crops were run."""
        some = f", told from {self.count} crops" if self.scale > 1 else ""
        return f"batch {self.batch}{some}"


def measure(
    workload: Workload,
    label: str,
    contenders: dict[str, Callable[[], Any]],
    crops: Crops,
    repeats: int,
) -> list[Figure]:
    """Measure some contenders beside the crops, and print each against the crops."""
    name = f"crops, {label}"
    times = interleaved({**contenders, name: crops.run}, repeats)
    times[name] = [seconds * crops.scale for seconds in times[name]]
    notes = {name: crops.note}
    for hand in (held for held in contenders if held.startswith("by hand")):
        notes["fullconv, PyTorch"] = (
            f"{ratio(times['fullconv, PyTorch'], times[hand]):.2f} times the time by hand"
        )
    figures = [
        Figure.of(str(workload), contender, held, notes.get(contender, ""))
        for contender, held in times.items()
    ]
    for figure in figures:
        note = f" ({figure.note})" if figure.note else ""
        print(
            f"| {figure.contender}{note} | {figure.median:.3f} | "
            f"{figure.fastest:.3f} to {figure.slowest:.3f} | "
            f"{ratio(times[name], times[figure.contender]):.1f} |",
            flush=True,
        )
    return figures


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median over the rounds: contenders of one round ran side by side."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def in_torch(workload: Workload, repeats: int, image: np.ndarray) -> list[Figure]:
    """Measure PyTorch."""
    model, window = ready(workload.network), workload.network.window
    images = torch.from_numpy(image)
    fcn = fullconv.convert(model, window=window, step=STEP, exact=workload.exact)
    surgery = by_hand(model)

    @torch.no_grad()
    def hand() -> Any:
        return surgery(images)

    shapes = tuple(fcn(images).shape), tuple(hand().shape)
    assert shapes[0] == shapes[1], shapes
    crops = Crops(torch.no_grad()(model), torch.cat, images, workload)
    contenders = {"fullconv, PyTorch": lambda: fcn(images), "by hand, PyTorch": hand}
    return measure(workload, "PyTorch", contenders, crops, repeats)


def in_onnx_runtime(workload: Workload, repeats: int, image: np.ndarray) -> list[Figure]:
    """Measure ONNX Runtime."""
    proto = as_onnx(ready(workload.network), workload.network.window)
    fcn = fullconv.convert(proto, step=STEP, exact=workload.exact)
    crops = Crops(session(proto), np.concatenate, image, workload)
    del proto
    contenders = {"fullconv, ONNX Runtime": lambda: fcn(image)}
    return measure(workload, "ONNX Runtime", contenders, crops, repeats)


def exact_padded(workload: Workload, repeats: int, image: np.ndarray) -> list[Figure]:
    """Measure the exact form of a padded network in PyTorch."""
    model, images = ready(workload.network), torch.from_numpy(image)
    fcn = fullconv.convert(model, window=workload.network.window, step=STEP)
    crops = Crops(torch.no_grad()(model), torch.cat, images, workload)
    contenders = {"fullconv, PyTorch": lambda: fcn(images)}
    return measure(workload, "PyTorch", contenders, crops, repeats)


def as_onnx(model: nn.Module, window: tuple[int, int]) -> Any:
    """Return the classifier as PyTorch exports it, with a free batch."""
    import contextlib
    import io
    import logging
    import warnings

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 3, *window),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            verbose=False,
        )
    return program.model_proto


def session(proto: Any) -> Classify:
    """Return a function that runs the classifier in ONNX Runtime with its default settings."""
    import onnxruntime

    held = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = held.get_inputs()[0].name
    return lambda crops: held.run(None, {name: crops})[0]


def main() -> None:
    """Measure everything and print a table."""
    options = arguments("Scores of every window: converted, by hand, and from crops.")
    sizes = (256,) if options.quick else (512, 1024)
    figures: list[Figure] = []
    print_machine()
    for network, exact in ((VGG16, False), (Small, True)):
        for size in sizes:
            workload = Workload(network, exact, size)
            figures += table(workload, options.repeats, in_torch, in_onnx_runtime)
    figures += table(Workload(VGG16, True, sizes[0]), min(options.repeats, 3), exact_padded)
    write_json(options.json, figures)


def table(
    workload: Workload, repeats: int, *runs: Callable[[Workload, int, np.ndarray], list[Figure]]
) -> list[Figure]:
    """Print the head of a table, then its lines as they come."""
    print(f"\n**{workload}**\n")
    print("| contender | median s | fastest to slowest | times as fast as its crops |")
    print("|---|---|---|---|", flush=True)
    shape = (1, 3, workload.size, workload.size)
    image = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return [figure for run in runs for figure in run(workload, repeats, image)]


if __name__ == "__main__":
    main()
