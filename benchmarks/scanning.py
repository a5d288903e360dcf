"""Scanning large images: its peak memory, its speed beside the bare network's, and its runtimes.

Run it with ``python benchmarks/scanning.py``. Everything that is measured runs in a process of its
own, the models are written by others beforehand, and this one stays small: on Linux a process
inherits the peak of the one that starts it.

- ``memory``: an image of 40,000x30,000 pixels is scanned into a folder, once. The peak is that of
  the whole process, model and libraries included; it must be below 2 GB.
- ``speed``: a scan of 10,000x10,000 pixels, from opening the file to the finished heatmap, in turn
  with the bare network on the same tiles, which lie prepared in memory: one by one with all cores
  for each, and as many at a time as the scan computes. It must reach 0.85 of the throughput of the
  faster one. The comparison with crops at the end of a scan, which takes the same for any size of
  image, stands beside, and so do seconds of processor time: where all cores are busy with the
  network, reading can only take its share from it.
- ``runtimes``: what runs one tile, and how far its scores are from the first one's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from images import make
from measuring import Figure, arguments, interleaved, print_machine, ratio, write_json
from memory import peak

STEP = 32
BELOW_GB = 2.0
AT_LEAST = 0.85
PARTS = ("memory", "speed", "runtimes")
LARGE, MEDIUM, TINY = (30_000, 40_000), (10_000, 10_000), (2_000, 2_000)
NETWORKS = {
    "dress": "packaged dress detector, window 64x128, ONNX",
    "small-onnx": "Small, window 128x128, ONNX",
    "small-torch": "Small, window 128x128, PyTorch",
    "resnet18-onnx": "ResNet18 (one pass), window 224x224, ONNX",
    "resnet50-onnx": "ResNet50 (exact), window 224x224, ONNX",
    "vgg16-onnx": "VGG16 (one pass, 553 MB of weights), window 224x224, ONNX",
}
MEASURED = {
    "memory": ("dress", "small-onnx", "resnet50-onnx", "vgg16-onnx"),
    "speed": ("dress", "small-onnx", "small-torch", "resnet18-onnx"),
    "runtimes": ("dress", "small-torch"),
}
ONE_PASS = ("resnet18-onnx", "vgg16-onnx")
"""The networks that are padded at the image's border only."""
PARTLY = {"resnet50-onnx": (0, 0, 4_000, 1_000), "vgg16-onnx": (0, 0, 1_000, 1_000)}
"""The part of the large image that is scanned by networks that would take hours for all of it."""
TILE = 1024
"""Height and width of the tile that the runtimes are compared on."""


@dataclass(frozen=True)
class Setting:
    """What a child is to measure: a network, an image, where files lie, and how often."""

    network: str
    image: str
    folder: str
    repeats: int

    def load(self) -> Any:
        """Return the converted network."""
        import fullconv
        from fullconv.demo import run

        if self.network == "dress":
            return fullconv.convert(Path(run.__file__).with_name("dress.onnx"), step=STEP)
        if self.network.endswith("-onnx"):
            file, exact = model_file(self.folder, self.network), self.network not in ONE_PASS
            return fullconv.convert(file, step=STEP, exact=exact)
        from networks import Small, ready

        return fullconv.convert(ready(Small), window=Small.window, step=STEP)


def model_file(folder: str, network: str) -> Path:
    """Return where a network lies in ONNX."""
    return Path(folder) / f"{network}.onnx"


def export(folder: str, network: str) -> None:
    """Write a network as ONNX."""
    import networks

    kind = {
        "small-onnx": networks.Small,
        "resnet18-onnx": networks.ResNet18,
        "resnet50-onnx": networks.ResNet50,
        "vgg16-onnx": networks.VGG16,
    }[network]
    window = getattr(kind, "window", (224, 224))
    proto = networks.as_onnx(networks.ready(kind), window)
    model_file(folder, network).write_bytes(proto.SerializeToString())


def preprocessing() -> Any:
    """Return what is done to pixels for networks that do not say it."""
    from fullconv.preprocessing import Preprocessing

    return Preprocessing(scale=1 / 255)


def scan(setting: Setting, fcn: Any, out: Path, **options: Any) -> Any:
    """Scan the image into a folder."""
    import fullconv

    return fullconv.scan(
        fcn,
        setting.image,
        out,
        preprocessing=fcn.preprocessing or preprocessing(),
        overwrite=True,
        **options,
    )


def memory(setting: Setting) -> dict[str, Any]:
    """Scan once, and say what it took."""
    fcn = setting.load()
    loaded = peak()
    start, heard = time.perf_counter(), []
    roi = PARTLY.get(setting.network)
    if roi and setting.repeats == 1:
        roi = (0, 0, 512, 512)
    heat = scan(setting, fcn, Path(setting.folder) / "memory.zarr", roi=roi, progress=heard.append)
    seconds = time.perf_counter() - start
    return {
        "windows": heard[-1].windows,
        "megapixels": heard[-1].all_pixels / 1e6,
        "seconds": seconds,
        "loaded": loaded,
        "peak": peak(),
        "tile": heat.metadata["chosen"]["tile"],
    }


def speed(setting: Setting) -> dict[str, Any]:
    """Scan in turn with the bare network on the same tiles, prepared in memory."""
    from fullconv.geometry.tiling import Plan
    from fullconv.runtimes import open_runtime
    from fullconv.scanning.task import prepared_pixels
    from fullconv.sources import open_source

    fcn, out = setting.load(), Path(setting.folder) / "speed.zarr"
    whole = partial(scan, setting, fcn, out)
    chosen = whole().metadata["chosen"]  # the tile size is measured here, and then remembered
    name, lanes = chosen["runtime"], chosen["lanes"]
    with (
        open_source(setting.image) as image,
        open_runtime(fcn, name) as one,
        open_runtime(fcn, name, lanes=lanes) as many,
        ThreadPoolExecutor(lanes) as threads,
    ):
        plan = Plan(image.size, fcn.grid, tuple(chosen["tile"]), fcn.halo)
        prepare = fcn.preprocessing or preprocessing()
        tiles = [prepared_pixels(image, prepare, tile.y, tile.x)[0][None] for tile in plan]

        def one_by_one() -> None:
            for pixels in tiles:
                one.run(pixels)

        def side_by_side() -> None:
            for future in [threads.submit(many.run, pixels) for pixels in tiles]:
                future.result()

        verbs = {
            "scan": partial(whole, windows_to_check=0),
            "scan and check": whole,
            "bare, one by one": one_by_one,
            "bare, side by side": side_by_side,
        }
        used: dict[str, list[float]] = {verb: [] for verb in verbs}
        runs = {verb: counted(run, used[verb]) for verb, run in verbs.items()}
        times = interleaved(runs, setting.repeats)
    height, width = plan.image
    megapixels = height * width / 1e6
    return {
        "times": times,
        "used": used,
        "megapixels": megapixels,
        "tile": chosen["tile"],
        "lanes": lanes,
        "tiles": len(plan),
    }


def counted(run: Callable[[], Any], used: list[float]) -> Callable[[], None]:
    """Return a function that also notes the processor time that it takes, in seconds."""

    def both() -> None:
        start = time.process_time()
        run()
        used.append(time.process_time() - start)

    return both


def runtimes(setting: Setting) -> dict[str, Any]:
    """Run one tile in every runtime in turn, and compare their scores."""
    import numpy as np

    from fullconv.runtimes import open_runtime, runtimes_for
    from fullconv.scanning.task import prepared_pixels
    from fullconv.sources import open_source

    fcn = setting.load()
    with open_source(setting.image) as image:
        prepare = fcn.preprocessing or preprocessing()
        tile = prepared_pixels(image, prepare, (0, TILE), (0, TILE))[0][None]
    names = runtimes_for(fcn)
    wanted = [(name, "f32") for name in names]
    wanted += [(name, "bf16") for name in names if name != "onnxruntime"]
    opened = {
        f"{name} {precision}": open_runtime(fcn, name, precision=precision)
        for name, precision in wanted
    }
    scores = {name: runtime.run(tile)[0] for name, runtime in opened.items()}
    first = next(iter(scores.values()))
    best = first.argmax(1)
    times = interleaved(
        {name: partial(runtime.run, tile) for name, runtime in opened.items()}, setting.repeats
    )
    return {
        "times": times,
        "windows": int(best.size),
        "scale": float(np.abs(first).max()),
        "error": {name: float(np.abs(held - first).max()) for name, held in scores.items()},
        "same": {name: float((held.argmax(1) == best).mean()) for name, held in scores.items()},
    }


def in_a_child(file: str, *words: str, environment: dict[str, str] | None = None) -> Any:
    """Run a file in a fresh process, and return what it prints last, read as JSON."""
    command = [sys.executable, file, "--child", *words]
    held = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | (environment or {})
    )
    lines = held.stdout.splitlines()
    return json.loads(lines[-1]) if lines else None


def memory_lines(name: str, held: dict[str, Any]) -> tuple[list[str], list[Figure]]:
    """Return a line of the table, and its figure."""
    gigabytes, rate = held["peak"] / 1e9, held["megapixels"] / held["seconds"]
    line = (
        f"| {name} | {held['megapixels']:.0f} | {held['windows']} | {held['loaded'] / 1e9:.2f} "
        f"| {gigabytes:.2f} | {'yes' if gigabytes < BELOW_GB else 'no'} | {held['seconds']:.1f} "
        f"| {rate:.3g} |"
    )
    note = f"peak {held['peak']} bytes, {held['loaded']} of them before scanning"
    return [line], [Figure.of("memory", name, [held["seconds"]], note)]


def speed_lines(name: str, held: dict[str, Any]) -> tuple[list[str], list[Figure]]:
    """Return a line of the table, and its figures."""
    times = held["times"]
    figures = {key: Figure.of("speed", f"{name}: {key}", times[key]) for key in times}
    scanned = figures["scan"]
    bare = min((key for key in times if key.startswith("bare")), key=lambda k: figures[k].median)
    reached = ratio(times[bare], times["scan"])
    seconds = " | ".join(
        f"{figure.median:.2f} ({figure.fastest:.2f} to {figure.slowest:.2f})"
        for figure in figures.values()
    )
    line = (
        f"| {name} | {held['tiles']} of {held['tile'][1]}x{held['tile'][0]}, {held['lanes']} "
        f"at a time | {seconds} "
        f"| {held['megapixels'] / scanned.median:.1f} "
        f"| {held['megapixels'] / figures[bare].median:.1f} "
        f"| {median(held['used']['scan']):.2f}, {median(held['used'][bare]):.2f} "
        f"| {reached:.2f} | {'yes' if reached >= AT_LEAST else 'no'} |"
    )
    return [line], list(figures.values())


def runtimes_lines(name: str, held: dict[str, Any]) -> tuple[list[str], list[Figure]]:
    """Return a line for every runtime, and its figure."""
    lines, figures = [], []
    first = next(iter(held["times"].values()))
    for runtime, times in held["times"].items():
        figure = Figure.of("runtimes", f"{name}: {runtime}", times)
        figures.append(figure)
        lines.append(
            f"| {name} | {runtime} | {figure.median * 1000:.1f} | {figure.fastest * 1000:.1f} to "
            f"{figure.slowest * 1000:.1f} | {ratio(first, times):.2f} "
            f"| {held['error'][runtime]:.1e} of {held['scale']:.3g} "
            f"| {100 * held['same'][runtime]:.2f} % |"
        )
    return lines, figures


HEADS = {
    "memory": "network | Mpx | windows | GB when loaded | peak GB | below 2 GB | s | Mpx/s",
    "speed": "network | tiles (windows) | scan s | with its check s | bare, one by one s | "
    "bare, side by side s | scan Mpx/s | bare Mpx/s | "
    "processor s | ratio | "
    "at least 0.85",
    "runtimes": "network | runtime | median ms | fastest to slowest | times as fast as the first | "
    "largest difference from it | same best class",
}
LINES: dict[str, Callable[[str, dict[str, Any]], tuple[list[str], list[Figure]]]] = {
    "memory": memory_lines,
    "speed": speed_lines,
    "runtimes": runtimes_lines,
}
CHILDREN = {"memory": memory, "speed": speed, "runtimes": runtimes}


def main() -> None:
    """Measure everything and print a table for each part."""
    if sys.argv[1:2] == ["--child"]:
        verb, *words = sys.argv[2:]
        if verb == "export":
            export(*words)
        elif verb == "machine":
            print_machine()
        else:
            network, image, folder, repeats = words
            print(json.dumps(CHILDREN[verb](Setting(network, image, folder, int(repeats)))))
        return
    options = arguments("Scanning: memory, speed beside the bare network, runtimes.", PARTS)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="fullconv-") as folder:
        kept = Path(os.environ.get("FULLCONV_IMAGES", folder))
        for part in PARTS:
            if options.only not in (None, part):
                continue
            figures += measure(part, folder, kept, options.quick, options.repeats)
    write_json(options.json, figures)


def measure(part: str, folder: str, kept: Path, quick: bool, repeats: int) -> list[Figure]:
    """Measure all networks of a part, and print its table."""
    size = TINY if quick else {"memory": LARGE}.get(part, MEDIUM)
    image = make(kept, size)
    subprocess.run([sys.executable, __file__, "--child", "machine"], check=True)
    print(
        f"\n**{part}: {size[1]}x{size[0]} pixels, {image.stat().st_size / 1e6:.0f} MB on disk, "
        f"step {STEP}**\n"
    )
    print(f"| {HEADS[part]} |")
    print("|" + "---|" * (HEADS[part].count("|") + 1), flush=True)
    figures: list[Figure] = []
    for network in MEASURED[part]:
        if network.endswith("-onnx") and not model_file(folder, network).exists():
            in_a_child(__file__, "export", folder, network)
        held = in_a_child(__file__, part, network, str(image), folder, str(repeats))
        lines, made = LINES[part](NETWORKS[network], held)
        print("\n".join(lines), flush=True)
        figures += made
    return figures


if __name__ == "__main__":
    main()
