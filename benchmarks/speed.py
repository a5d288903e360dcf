"""Scores of every window: the converted network, the same by hand, and batches of crops.

Run it with ``python benchmarks/speed.py``. For every network and image size the contenders take
turns within one run; the table shows the median and the fastest and slowest repeat. Crops are
forwarded in the batch size that is best on this machine. Where forwarding all of them would take
minutes, some are measured and the time for all is extrapolated from them; the table says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import fullconv
from measuring import Crops, Figure, arguments, interleaved, print_machine, ratio, write_json
from networks import VGG16, Small, as_onnx, by_hand, ready, session

STEP = 32


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
    crops = Crops(torch.no_grad()(model), torch.cat, images, window, STEP)
    contenders = {"fullconv, PyTorch": lambda: fcn(images), "by hand, PyTorch": hand}
    return measure(workload, "PyTorch", contenders, crops, repeats)


def in_onnx_runtime(workload: Workload, repeats: int, image: np.ndarray) -> list[Figure]:
    """Measure ONNX Runtime."""
    proto = as_onnx(ready(workload.network), workload.network.window)
    fcn = fullconv.convert(proto, step=STEP, exact=workload.exact)
    crops = Crops(session(proto), np.concatenate, image, workload.network.window, STEP)
    del proto
    contenders = {"fullconv, ONNX Runtime": lambda: fcn(image)}
    return measure(workload, "ONNX Runtime", contenders, crops, repeats)


def exact_padded(workload: Workload, repeats: int, image: np.ndarray) -> list[Figure]:
    """Measure the exact form of a padded network in PyTorch."""
    model, images = ready(workload.network), torch.from_numpy(image)
    window = workload.network.window
    fcn = fullconv.convert(model, window=window, step=STEP)
    crops = Crops(torch.no_grad()(model), torch.cat, images, window, STEP)
    contenders = {"fullconv, PyTorch": lambda: fcn(images)}
    return measure(workload, "PyTorch", contenders, crops, repeats)


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
