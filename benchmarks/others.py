"""Every window's scores, by what people use: a loader of crops, MONAI's inferer, and a scan.

Run it with ``python benchmarks/others.py`` in an environment that has MONAI (`others.txt`). One
image in memory, one module, one window and one step for all; their scores are compared first. For
every step the contenders take turns within one run, in a process of its own, and each is then run
once more in another, whose peak of memory is told: that of the whole process, without workers.

- **loader**: `torch.utils.data.DataLoader` over a data set that cuts one crop after the other, with
  the better of no and two workers, and the batch size that is best here.
- **MONAI**: `SlidingWindowInferer` puts a map per window together, averaged where windows overlap,
  and has no place for a score per window. So the network's scores are kept as they pass, and a map
  of one cell per step is handed on for it to put together, the cheapest that it takes.
- **fullconv**: `fullconv.scan` into memory, without the comparison with crops at its end, which the
  others have not, either. It takes twice 64 crops' time, whatever the size of the image. Converting
  is done once for all images, and not counted.

Where all crops would take minutes, loader and MONAI score the upper rows of windows only, and the
time is extrapolated from them, as the table says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import astuple, dataclass
from math import ceil
from typing import Any

import numpy as np

from images import picture
from measuring import Figure, arguments, interleaved, print_machine, ratio, write_json
from memory import peak
from scanning import in_a_child

BATCHES = (1, 4, 16, 64)
PATIENCE = 5.0
"""Seconds for the crops of one repeat; what needs longer is measured on some rows of windows."""


@dataclass(frozen=True)
class Workload:
    """One network on one square image, and so many pixels between its windows."""

    network: str
    size: int
    step: int

    @property
    def window(self) -> int:
        return {"Small": 128, "VGG16": 224}[self.network]

    @property
    def side(self) -> int:
        """Count the windows along one side."""
        return (self.size - self.window) // self.step + 1

    @property
    def name(self) -> str:
        per = "window" if self.step == self.window else f"{self.window / self.step:g} per window"
        return (
            f"{self.network}, window {self.window}, {self.size}x{self.size}, step {self.step} "
            f"({per}): {self.side**2} windows"
        )

    def module(self) -> Any:
        """Return the classifier."""
        import networks

        return networks.ready(getattr(networks, self.network))

    def image(self) -> np.ndarray:
        """Return ``(H, W, 3)`` in 8 bits."""
        return picture((self.size, self.size))


@dataclass(frozen=True)
class Way:
    """How crops are forwarded: batch size, workers, and how many rows of windows."""

    batch: int
    workers: int
    rows: int


class CropsOf:
    """The crops of an image, as a data set; a loader hands it to its workers."""

    def __init__(self, workload: Workload, image: np.ndarray, rows: int) -> None:
        self.workload, self.image, self.rows = workload, image, rows

    def __len__(self) -> int:
        return self.rows * self.workload.side

    def __getitem__(self, number: int) -> Any:
        import torch

        y, x = (k * self.workload.step for k in divmod(number, self.workload.side))
        window = self.workload.window
        crop = torch.from_numpy(self.image[y : y + window, x : x + window])
        return crop.permute(2, 0, 1).float() / 255


def loader(workload: Workload, module: Any, image: np.ndarray, way: Way) -> Any:
    """Return the scores of some rows of windows, ``(rows * side, K)``, from a loader's crops."""
    import torch
    from torch.utils.data import DataLoader

    crops: Any = CropsOf(workload, image, way.rows)
    with torch.inference_mode():
        batches = DataLoader(crops, batch_size=way.batch, num_workers=way.workers)
        return torch.cat([module(batch) for batch in batches])


def monai(workload: Workload, module: Any, image: np.ndarray, way: Way) -> Any:
    """Return the same from MONAI's inferer."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.inferers import SlidingWindowInferer

    window, step = workload.window, workload.step
    cells, kept = window // step, []

    def predict(crops: Any) -> Any:
        scores = module(crops)
        kept.append(scores)
        return scores[:, :, None, None].repeat(1, 1, cells, cells)

    # A hair less overlap: the step that it takes from it is cut off to a whole number.
    overlap = max(0, 1 - (step + 1e-6) / window)
    inferer = SlidingWindowInferer((window, window), way.batch, overlap=overlap)
    height = (way.rows - 1) * step + window
    pixels = torch.from_numpy(image[:height]).permute(2, 0, 1).float()[None] / 255
    with torch.inference_mode():
        inferer(pixels, predict)
        return torch.cat(kept)


def scan(fcn: Any, image: np.ndarray) -> Any:
    """Return the scores of all windows from a scan, ``(K, rows, columns)``."""
    import fullconv
    from fullconv.preprocessing import Preprocessing

    heatmap = fullconv.scan(
        fcn, image, preprocessing=Preprocessing(scale=1 / 255), windows_to_check=0
    )
    return heatmap[...]


def converted(workload: Workload, module: Any, runtime: str) -> Any:
    """Return the converted network."""
    import fullconv
    from networks import as_onnx

    window = workload.window, workload.window
    model = as_onnx(module, window) if runtime == "ONNX Runtime" else module
    return fullconv.convert(model, window=window, step=workload.step)


def best_way(workload: Workload, forward: Callable[[Way], Any], workers: tuple[int, ...]) -> Way:
    """Return the fastest of the batch sizes and numbers of workers, and the rows to take."""
    trials: dict[tuple[int, int], float] = {}
    forward(Way(1, 0, 1))
    for batch in BATCHES:
        for number in workers:
            rows = min(workload.side, max(1, ceil(batch / workload.side)))
            took = []
            for _ in range(2):
                start = time.perf_counter()
                forward(Way(batch, number, rows))
                took.append(time.perf_counter() - start)
            trials[batch, number] = min(took) / (rows * workload.side)
    batch, number = min(trials, key=trials.__getitem__)
    rows = int(PATIENCE / (trials[batch, number] * workload.side))
    return Way(batch, number, max(1, min(workload.side, rows)))


def compare(workload: Workload, repeats: int) -> dict[str, Any]:
    """Run all contenders in turn; times, of all windows, are in seconds."""
    module, image = workload.module(), workload.image()
    ways = {
        "loader": best_way(workload, lambda way: loader(workload, module, image, way), (0, 2)),
        "MONAI": best_way(workload, lambda way: monai(workload, module, image, way), (0,)),
    }
    native = converted(workload, module, "PyTorch")
    in_onnx = converted(workload, module, "ONNX Runtime")
    runs: dict[str, Callable[[], Any]] = {
        "loader": lambda: loader(workload, module, image, ways["loader"]),
        "MONAI": lambda: monai(workload, module, image, ways["MONAI"]),
        "fullconv, PyTorch": lambda: scan(native, image),
        "fullconv, ONNX Runtime": lambda: scan(in_onnx, image),
    }
    off = difference({name: run() for name, run in runs.items()})
    times = interleaved(runs, repeats)
    for name, way in ways.items():
        times[name] = [seconds * workload.side / way.rows for seconds in times[name]]
    return {"times": times, "off": off, "ways": {name: astuple(ways[name]) for name in ways}}


def measure(workload: Workload, repeats: int) -> list[Figure]:
    """Measure all contenders at one step, and print a line for each."""
    words = [workload.network, str(workload.size), str(workload.step)]
    held = in_a_child(__file__, "all", *words, str(repeats))
    figures = []
    for name, times in held["times"].items():
        way = Way(*held["ways"][name]) if name in held["ways"] else None
        how = map(str, astuple(way)) if way else ()
        most = in_a_child(__file__, name, *words, *how)["peak"]
        figure = Figure.of(workload.name, name, times, f"peak {most} bytes, {about(workload, way)}")
        figures.append(figure)
        print(
            f"| {name}{f' ({about(workload, way)})' if way else ''} "
            f"| {workload.side**2 / figure.median:.1f} | {figure.median:.2f} "
            f"| {figure.fastest:.2f} to {figure.slowest:.2f} "
            f"| {ratio(held['times']['loader'], times):.2f} | {most / 1e9:.2f} "
            f"| {held['off'][name]:.1e} |",
            flush=True,
        )
    return figures


def difference(scores: dict[str, Any]) -> dict[str, float]:
    """Return each contender's largest difference from the loader's scores, where both have some."""
    first = np.asarray(scores["loader"])
    found = {}
    for name, held in scores.items():
        flat = np.asarray(held)
        if flat.ndim == 3:
            flat = flat.reshape(len(flat), -1).T
        count = min(len(first), len(flat))
        found[name] = float(np.abs(flat[:count] - first[:count]).max())
    return found


def about(workload: Workload, way: Way | None) -> str:
    """Say how crops were forwarded, and whether all were."""
    if way is None:
        return "all windows"
    workers = f", {way.workers} workers" if way.workers else ""
    count = way.rows * workload.side
    some = f", extrapolated from {count} windows" if way.rows < workload.side else ""
    return f"batch {way.batch}{workers}{some}"


def child(name: str, network: str, size: str, step: str, *how: str) -> None:
    """Compare all contenders in this process, or run one, and print what was found."""
    workload = Workload(network, int(size), int(step))
    if name == "all":
        print(json.dumps(compare(workload, int(how[0]))))
        return
    module, image = workload.module(), workload.image()
    if name in ("loader", "MONAI"):
        run = {"loader": loader, "MONAI": monai}[name]
        run(workload, module, image, Way(*map(int, how)))
    else:
        scan(converted(workload, module, name.removeprefix("fullconv, ")), image)
    print(json.dumps({"peak": peak()}))


def main() -> None:
    """Measure everything and print a table for each step."""
    if sys.argv[1:3] == ["--child", "machine"]:
        print_machine()
        return
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
        return
    names = ("Small", "VGG16")
    options = arguments("A loader of crops, MONAI's inferer, and fullconv.scan.", names)
    subprocess.run([sys.executable, __file__, "--child", "machine"], check=True)
    figures: list[Figure] = []
    for network, size in (("Small", 128 * (3 if options.quick else 8)), ("VGG16", 672)):
        if options.only not in (None, network) or (options.quick and network == "VGG16"):
            continue
        window = Workload(network, size, 1).window
        for step in (window, window // 2, 32, 8):
            workload = Workload(network, size, step)
            print(f"\n**{workload.name}**\n")
            print(
                "| contender | windows per s | median s | fastest to slowest "
                "| times as fast as the loader | peak GB | largest difference from the loader |"
            )
            print("|---|---|---|---|---|---|---|", flush=True)
            figures += measure(workload, options.repeats)
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
