"""How much memory the exact scores of VGG16 need on a large image, as the system counts it.

Run it with ``python benchmarks/memory.py``. For each runtime a fresh process loads the classifier
(553 MB of weights), converts it and scores one image of 2048x2048 pixels at step 32: 3364 windows.
What is shown is the peak of that whole process, its runtime and the image included; it should
stay below 4 GB. Each runs once. The ONNX model is written beforehand, by yet another process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Figure, arguments, print_machine, write_json

STEP = 32
TARGET_GB = 4.0
RUNTIMES = {"torch": "PyTorch", "onnx": "ONNX Runtime"}


def export(path: str) -> None:
    """Write VGG16 as ONNX."""
    from networks import VGG16, as_onnx, ready

    Path(path).write_bytes(as_onnx(ready(VGG16), VGG16.window).SerializeToString())


def score(runtime: str, path: str, size: str) -> None:
    """Convert and score in this process, and print what it took as JSON."""
    import numpy as np

    import fullconv

    shape = (1, 3, int(size), int(size))
    image = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    if runtime == "torch":
        import torch

        from networks import VGG16, ready

        fcn = fullconv.convert(ready(VGG16), window=VGG16.window, step=STEP)
        images = torch.from_numpy(image)
    else:
        fcn = fullconv.convert(path, step=STEP)
        images = image
    converted = peak()
    start = time.perf_counter()
    rows, columns = fcn(images).shape[2:]
    seconds = time.perf_counter() - start
    held = {"windows": rows * columns, "seconds": seconds, "converted": converted, "peak": peak()}
    print(json.dumps(held))


def peak() -> int:
    """Return the most memory that this process ever held, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def child(*words: str) -> str:
    """Run this file in a fresh process, and return what it prints last.

    The parent stays small: on Linux a process inherits the peak of the one that starts it.
    """
    command = [sys.executable, __file__, "--child", *words]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return (result.stdout.splitlines() or [""])[-1]


def main() -> None:
    """Measure every runtime and print a table."""
    if sys.argv[1:2] == ["--child"]:
        verb, *words = sys.argv[2:]
        {"export": export, "score": score}[verb](*words)
        return
    options = arguments("The memory of VGG16's exact scores on a large image.", [*RUNTIMES])
    size = 320 if options.quick else 2048
    lines: list[str] = []
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "vgg16.onnx")
        for runtime, name in RUNTIMES.items():
            if options.only not in (None, runtime):
                continue
            if runtime == "onnx":
                child("export", path)
            held = json.loads(child("score", runtime, path, str(size)))
            gigabytes = held["peak"] / 1e9
            lines.append(
                f"| {name} | {held['windows']} | {held['converted'] / 1e9:.2f} | {gigabytes:.2f} "
                f"| {'yes' if gigabytes < TARGET_GB else 'no'} | {held['seconds']:.1f} |"
            )
            note = f"peak {held['peak']} bytes, {held['converted']} of them before scoring"
            workload = f"VGG16, exact, {size}x{size}, step {STEP}: {held['windows']} windows"
            figures.append(Figure.of(workload, name, [held["seconds"]], note))
    print_machine()
    print(f"\n**VGG16 (exact=True), {size}x{size}, step {STEP}, in a process of its own**\n")
    print(f"| runtime | windows | GB when converted | peak GB | below {TARGET_GB:g} GB | seconds |")
    print("|---|---|---|---|---|---|")
    print("\n".join(lines))
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
