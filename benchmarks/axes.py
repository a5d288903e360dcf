"""Exact scores over one, two and three axes: ceilings beside times, and never slower than crops.

Run it with ``python benchmarks/axes.py``. For every network the converted one takes turns with its
two forms, the windows in parts and each window with its own pixels, between which conversion has
decided (`fullconv.lift.pace`), and with crops in the batch size that is best here, cutting them
included. One thread computes, and the processor's seconds count, so that other work on the machine
takes caches and no time. The ceiling is what `Report.cost` says for this image.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import fullconv
from fullconv.conversion import converted
from fullconv.frameworks.onnx.session import session
from fullconv.lift import pace
from measuring import arguments, print_machine
from networks import as_onnx

BATCHES = (1, 16, 64, 256)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.less, self.more = (
            nn.Conv2d(channels, channels // 4, 1),
            nn.Conv2d(channels // 4, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.more(self.less(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Inverted(nn.Module):
    """An inverted residual (Howard et al. 2019, figure 4), whose rows alone may shrink."""

    def __init__(self, channels: int, inner: int, out: int, kernel: int, rows: int, gate: bool):
        super().__init__()
        self.adds = channels == out and rows == 1
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, inner, 1), nn.BatchNorm2d(inner), nn.Hardswish()),
            nn.Conv2d(inner, inner, kernel, (rows, 1), kernel // 2, groups=inner),
            *(nn.BatchNorm2d(inner), nn.Hardswish(), Gate(inner) if gate else nn.Identity()),
            *(nn.Conv2d(inner, out, 1), nn.BatchNorm2d(out)),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.adds else y


def signal(padded: bool, *channels: int, kernel: int = 5) -> nn.Module:
    """Return a classifier of 128 samples: a convolution and a pool for each of the channels."""
    return _layers(1, padded, channels, kernel, 128)


def picture(padded: bool, window: int = 64) -> nn.Module:
    """Return a classifier of RGB pictures."""
    return _layers(2, padded, (16, 32, 64), 3, window)


def volume(padded: bool) -> nn.Module:
    """Return a classifier of 24x24x24 voxels."""
    return _layers(3, padded, (8, 16), 3, 24)


def _layers(
    axes: int, padded: bool, channels: tuple[int, ...], kernel: int, size: int
) -> nn.Module:
    conv, pool = getattr(nn, f"Conv{axes}d"), getattr(nn, f"MaxPool{axes}d")
    body, before = [], 3 if axes == 2 else 1
    for after in channels:
        padding = kernel // 2 if padded else 0
        body += [conv(before, after, kernel, padding=padding), nn.ReLU(), pool(2)]
        before, size = after, (size - (0 if padded else kernel - 1)) // 2
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(before * size**axes, 5))


def text_direction() -> nn.Module:
    """Return a classifier of lines of text, right way up or not, as gated as MobileNetV3."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish()),
        *(Inverted(8, 8, 8, 3, 2, True), Inverted(8, 24, 8, 3, 2, False)),
        *(Inverted(8, 32, 8, 3, 1, False), Inverted(8, 32, 16, 5, 2, True)),
        *(Inverted(16, 80, 16, 5, 1, True), Inverted(16, 40, 16, 5, 1, True)),
        *(nn.Conv2d(16, 64, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(64, 2),
    )


def normalized() -> nn.Module:
    """Return a classifier whose windows share a single cheap layer, before a GroupNorm."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(2048, 4)),
    )


@dataclass(frozen=True)
class Workload:
    """A network, its channels and window, a step, and an image."""

    network: Callable[[], nn.Module]
    channels: int
    window: tuple[int, ...]
    step: int
    image: tuple[int, ...]


def windows(window: tuple[int, ...], step: int, *counts: int) -> tuple[int, ...]:
    """Return the image of so many windows."""
    return tuple(w + step * (n - 1) for w, n in zip(window, counts, strict=True))


LINE, SIDE = (48, 192), (32, 32)
WORKLOADS = {
    "signal": Workload(lambda: signal(False, 16, 32, 64), 1, (128,), 8, (128 + 8 * 685,)),
    "signal, padded": Workload(lambda: signal(True, 16, 32, 64), 1, (128,), 8, (128 + 8 * 685,)),
    "signal, padded, step 4": Workload(
        lambda: signal(True, 8, 16, 32), 1, (128,), 4, (128 + 4 * 685,)
    ),
    "signal, padded, few windows": Workload(
        lambda: signal(True, 16, 32, 64), 1, (128,), 8, (128 + 8 * 15,)
    ),
    "picture": Workload(lambda: picture(False), 3, (64, 64), 8, windows((64, 64), 8, 20, 20)),
    "picture, padded": Workload(
        lambda: picture(True), 3, (64, 64), 8, windows((64, 64), 8, 20, 20)
    ),
    "picture, padded, small": Workload(
        lambda: picture(True, 32), 3, SIDE, 8, windows(SIDE, 8, 26, 26)
    ),
    "volume": Workload(lambda: volume(False), 1, (24,) * 3, 4, (24 + 4 * 5,) * 3),
    "volume, padded": Workload(lambda: volume(True), 1, (24,) * 3, 4, (24 + 4 * 5,) * 3),
    "GroupNorm": Workload(normalized, 1, SIDE, 4, windows(SIDE, 4, 26, 26)),
    "text direction": Workload(text_direction, 3, LINE, 4, windows(LINE, 4, 7, 98)),
}


TURN = 0.02
"""Seconds that a contender takes in its turn: what is faster runs several times."""


def turns(contenders: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Let every contender run in every round; return the medians of the processor's seconds."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(repeats + 1):
        for name, run in contenders.items():
            start, runs = time.process_time(), 0
            while runs == 0 or time.process_time() - start < TURN:
                run()
                runs += 1
            if number:
                times[name].append((time.process_time() - start) / runs)
    return {name: statistics.median(held) for name, held in times.items()}


def measure(workload: Workload, repeats: int) -> list[str]:
    """Return a line of the table for each runtime."""
    w = workload
    torch.manual_seed(0)
    model = w.network().eval().requires_grad_(False)
    proto = as_onnx(model, w.window, w.channels)
    image = torch.randn(1, w.channels, *w.image)
    runs = {"PyTorch": (model, image, model, torch.cat)}
    runs["ONNX Runtime"] = (proto, image.numpy(), session(proto, threads=1), np.concatenate)
    lines = []
    for runtime, (classifier, pixels, classify, join) in runs.items():
        forms = {}
        for name, pays in (("converted", 1.0), ("parts", float("inf")), ("gathered", 0.0)):
            pace.PARTS_PAY = pays
            fcn = fullconv.convert(classifier, w.window, w.step, image=w.image, check=False)
            if runtime != "PyTorch":
                fcn._run = session(fcn.model, threads=1)
            forms[name] = fcn
        grid = forms["converted"].grid
        places = list(product(*map(range, grid.shape(w.image))))

        def crops(batch: int, cut: Any = (pixels, classify, join, grid, places)) -> None:
            pixels, classify, join, grid, places = cut
            for first in range(0, len(places), batch):
                some = places[first : first + batch]
                classify(join([pixels[(..., *grid.slices(*place))] for place in some]))

        contenders = {name: (lambda f=fcn, x=pixels: f(x)) for name, fcn in forms.items()}
        contenders |= {f"crops {b}": (lambda b=b, run=crops: run(b)) for b in BATCHES}
        found = turns(contenders, repeats)
        best = min((s, name) for name, s in found.items() if name.startswith("crops"))
        costs = {name: fcn.report.cost for name, fcn in forms.items()}
        ceiling = costs["parts"].crops / costs["parts"].exact
        each = " | ".join(f"{best[0] / found[name]:.2f}" for name in forms)
        kind = "gathered" if costs["converted"].exact == costs["gathered"].exact else "parts"
        kind = "one pass" if forms["parts"].report.one_pass else kind
        crop = f"{1000 * best[0]:.1f} ({best[1].removeprefix('crops ')})"
        lines.append(f"{runtime} | {len(places)} | {crop} | {ceiling:.2f} | {kind} | {each}")
    return lines


GATED = ("GroupNorm", "text direction")
"""Networks whose windows share next to nothing, and run in batches that fit the cache."""


def in_batches(workload: Workload, repeats: int) -> list[str]:
    """Return a line for each runtime: one batch of all windows beside those that fit the cache."""
    w = workload
    torch.manual_seed(0)
    model = w.network().eval().requires_grad_(False)
    image = torch.randn(1, w.channels, *w.image)
    runs = {"PyTorch": (model, image), "ONNX Runtime": (as_onnx(model, w.window, w.channels), None)}
    usual, lines = (converted.CACHE_BYTES, converted.CROPS_BYTES), []
    for runtime, (classifier, pixels) in runs.items():
        fcn = fullconv.convert(classifier, w.window, w.step, check=False)
        if pixels is None:
            fcn._run, pixels = session(fcn.model, threads=1), image.numpy()

        def run(limits: tuple[int, int], fcn: Any = fcn, pixels: Any = pixels) -> None:
            converted.CACHE_BYTES, converted.CROPS_BYTES = limits
            fcn(pixels)

        limits = {"as it is": usual, "at once": (1 << 40,) * 2}
        found = turns({name: partial(run, limit) for name, limit in limits.items()}, repeats)
        some, all_ = (1000 * found[name] for name in limits)
        lines.append(f"{runtime} | {all_:.0f} | {some:.0f} | {all_ / some:.2f}")
    converted.CACHE_BYTES, converted.CROPS_BYTES = usual
    return lines


def main() -> None:
    """Measure everything and print the tables."""
    options = arguments("Ceilings and times over one, two and three axes.", list(WORKLOADS))
    torch.set_num_threads(1)
    print_machine()
    print("| network | runtime | windows | crops, ms (batch) | ceiling | form | converted | parts "
          "| gathered |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for name, workload in WORKLOADS.items():
        if options.only in (None, name):
            for line in measure(workload, options.repeats):
                print(f"| {name} | {line} |", flush=True)
    print("\n| network | runtime | one batch, ms | batches that fit, ms | times as fast |")
    print("|---|---|---|---|---|", flush=True)
    for name in GATED:
        if options.only in (None, name):
            for line in in_batches(WORKLOADS[name], options.repeats):
                print(f"| {name} | {line} |", flush=True)


if __name__ == "__main__":
    main()
