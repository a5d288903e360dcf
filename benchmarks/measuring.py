"""Times of several contenders in one run, interleaved, so that a busy machine is fair to all."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SHORT = 30.0
"""Seconds that the rounds of one table may take before there are only as many as asked for."""
BATCHES = (1, 2, 4, 8, 16, 32, 64)
PATIENCE = 5.0
"""Seconds for the crops of one repeat; what needs longer is measured on some of them."""

Classify = Callable[[Any], Any]


@dataclass(frozen=True)
class Figure:
    """One measured line of a table; times in seconds."""

    workload: str
    contender: str
    median: float
    fastest: float
    slowest: float
    repeats: int
    note: str = ""

    @classmethod
    def of(cls, workload: str, contender: str, times: Sequence[float], note: str = "") -> Figure:
        """Sum up the times of the repeats."""
        median = statistics.median(times)
        return cls(workload, contender, median, min(times), max(times), len(times), note)


def interleaved(contenders: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Run every contender once in every round, and return their times in seconds.

    A first round is not counted. Where rounds are short, there are more of them, up to four times
    as many: short times are the noisy ones.
    """
    start = time.perf_counter()
    for run in contenders.values():
        run()
    short = int(SHORT / (time.perf_counter() - start))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(max(repeats, min(4 * repeats, short))):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median over the rounds: contenders of one round ran side by side."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


class Crops:
    """The crops as a contender: the best batch size, and as many of them as patience allows.

    Parameters
    ----------
    classify, join
        Forwards a batch of crops, and makes one of a list of them.
    image
        An image ``(1, C, H, W)``.
    window, step
        The size of a crop, and the pixels from one to the next in both directions.

    Attributes
    ----------
    batch, count
        Crops that are forwarded at once, and by one `run`.
    scale
        What the time of a run is to be multiplied by to have the time of all windows.
    """

    def __init__(
        self, classify: Classify, join: Classify, image: Any, window: tuple[int, int], step: int
    ) -> None:
        rows, columns = ((n - w) // step + 1 for n, w in zip(image.shape[2:], window, strict=True))

        def crop(number: int) -> Any:
            y, x = number // columns * step, number % columns * step
            return image[:, :, y : y + window[0], x : x + window[1]]

        def run(batch: int, count: int) -> float:
            start = time.perf_counter()
            for first in range(0, count, batch):
                classify(join([crop(k) for k in range(first, min(first + batch, count))]))
            return (time.perf_counter() - start) / count

        run(1, 1)
        trials = {}
        for batch in (b for b in BATCHES if b <= rows * columns):
            trials[batch] = min(run(batch, batch) for _ in range(2))
            if trials[batch] > 1.3 * min(trials.values()):
                break
        self.batch = min(trials, key=trials.__getitem__)
        affordable = max(1, int(PATIENCE / trials[self.batch]) // self.batch) * self.batch
        self.count = min(rows * columns, affordable)
        self.scale = rows * columns / self.count
        self.run = lambda: run(self.batch, self.count)

    @property
    def note(self) -> str:
        """Say which batch, and whether all crops were run."""
        some = f", extrapolated from {self.count} crops" if self.scale > 1 else ""
        return f"batch {self.batch}{some}"


def arguments(description: str, names: Sequence[str] = ()) -> argparse.Namespace:
    """Read the options that all benchmarks share, and `--only` where there are names to choose."""
    parser = argparse.ArgumentParser(description=description)
    if names:
        parser.add_argument("--only", choices=names, metavar="NAME", help=" or ".join(names))
    parser.add_argument("--quick", action="store_true", help="small images, one repeat")
    parser.add_argument("--repeats", type=int, default=5, help="rounds to measure (default: 5)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures as JSON, too")
    options = parser.parse_args()
    if options.quick:
        options.repeats = 1
    return options


def machine() -> dict[str, str]:
    """Say what was measured on, and with which versions."""
    import onnxruntime
    import torch

    import fullconv
    from fullconv.system.processor import cores

    return {
        "processor": _processor(),
        "cores": str(cores()),
        "threads": str(torch.get_num_threads()),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
        "fullconv": fullconv.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def write_json(path: Path | None, figures: Sequence[Figure]) -> None:
    """Write the figures with what they were measured on."""
    if path is not None:
        held = {"machine": machine(), "figures": [asdict(figure) for figure in figures]}
        path.write_text(json.dumps(held, indent=2) + "\n")


def print_machine() -> None:
    """Print what is measured on, as a line of Markdown."""
    print("; ".join(f"{name} {value}" for name, value in machine().items()), flush=True)
