"""``python -m fuzz.run``: give fullconv what is damaged or means nothing, and count the outcomes.

The exit code is 1 if anything came that may not come.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from fuzz.case import Cases
from fuzz.page import Counts, put, table
from fuzz.trials import trials

CLASSES = {
    "images": "images of 52 kinds: their bytes, text and JSON",
    "image_metadata": "what images say of themselves: tags, descriptions, places",
    "onnx_bytes": "`.onnx` files: their bytes",
    "onnx_structure": "`.onnx` files: operators, edges, attributes, weights, sizes",
    "hostile_models": "`.onnx` files made to take terabytes or days",
    "model_metadata": "what models say of themselves: windows, classes, preprocessing",
    "archives": "`.pt2`, TorchScript, `.pt`, `.safetensors`, `.keras`, `.h5`",
    "hostile_archives": "the same, made to take gigabytes or to run code",
    "heatmaps": "finished heatmaps, zarr and GeoTIFF",
    "ledgers": "what a killed scan leaves",
    "calls": "command lines of every command",
}
"""Modules of cases, and what they are cases of. Those of the hostile ones are fixed lists."""


def cases_of(module: str, seed: int, count: int) -> Cases:
    """Return cases of a class."""
    made: Cases = importlib.import_module(f"fuzz.{module}").cases(seed, count)
    return made


def main() -> int:
    """Run, print, and write the counts into a page."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run")
    parser.add_argument("modules", nargs="*", help=f"some of: {', '.join(CLASSES)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=300, help="of every class")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at the same time")
    parser.add_argument("--keep", type=Path, help="where bad outcomes are kept, to be looked at")
    parser.add_argument("--page", type=Path, help="a page to put the counts into")
    options = parser.parse_args()
    found = []
    for module in options.modules or CLASSES:
        counts, began = Counts(CLASSES[module]), time.monotonic()
        cases = cases_of(module, options.seed, options.cases)
        for trial in trials(cases, options.keep and options.keep / module, options.jobs):
            counts.add(trial)
            if not trial.outcome.good:
                said = trial.outcome.said.splitlines()[-1:] or [""]
                print(f"{trial.outcome.kind:8} {module}/{trial.case.name}: {said[0][:300]}")
        told = ", ".join(f"{number} {kind}" for kind, number in counts.kinds.items())
        print(f"{module}: {told}, in {time.monotonic() - began:.0f} s", flush=True)
        found.append(counts)
    print(made := table(found))
    if options.page is not None:
        put(options.page, f"Seed {options.seed}, {options.cases} cases of each class:\n\n{made}")
    return 1 if any(counts.bad for counts in found) else 0


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
