"""``python -m fuzz.run``: give fullconv what is damaged or means nothing, and count the outcomes.

Every class of cases is a module of this package with ``cases(seed, count)``; see the package. A
module may also have ``lost(folder, content)``, which says what is gone that was not fullconv's.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from fuzz import Content
from fuzz.forks import PRINTED, Forks, Outcome
from fuzz.scenes import LONG_AGO_NS

CLASSES = {
    "pictures": "images of 26 kinds, their bytes changed",
    "heatmaps": "finished heatmaps, zarr and GeoTIFF",
    "ledgers": "what a killed scan leaves",
    "calls": "command lines of every command",
}
"""Modules of cases, and what they are cases of."""

JUDGES = {
    "heatmaps": "heatmaps",
    "ledgers": "ledgers",
}
"""Modules whose ``wrong`` says what is wrong with what a command that was done has left."""

KINDS = {
    "done": "done",
    "differs": "noticed",
    "refused": "one line",
    "wrong": "wrong",
    "left": "left",
    "raw": "raw",
    "crash": "crash",
    "slow": "slow",
    "large": "large",
}
"""What may come of a case, as the table calls it; only the first three are what a user may see."""

SECONDS = 20
"""Of the processor, that a case may take; three times as many may pass on a busy machine."""

IMPORTED = ("onnxruntime", "zarr", "tifffile", "imagecodecs", "PIL.Image", "rasterio")
"""What every fork would import for itself."""


@dataclass(frozen=True)
class Trial:
    """One case, and what came of it."""

    name: str
    call: list[str]
    outcome: Outcome


def trials(module: str, seed: int, count: int, keep: Path | None = None) -> Iterator[Trial]:
    """Run cases of a class, each in a folder of its own, and yield what came of them.

    The folders of bad outcomes are moved to ``keep``, with the command that was given there.
    """
    made = module_of(module)
    imported = [name for name in IMPORTED if find_spec(name.partition(".")[0])]
    with Forks(imported, SECONDS) as forks, tempfile.TemporaryDirectory() as place:
        for number, (name, content, call) in enumerate(made.cases(seed, count)):
            folder = Path(place, str(number))
            write(folder, name, content)
            before = set(paths_below(folder))
            outcome = forks.run(folder, call)
            bad = None
            if outcome.kind == "done" and module in JUDGES:
                bad = forks.judge(folder, call, f"fuzz.{JUDGES[module]}")
            if bad is None and hasattr(made, "lost"):
                bad = made.lost(folder, content)
            if bad is not None:
                outcome = replace(outcome, kind="wrong", said=bad)
            elif outcome.kind == "refused" and (left := left_in(folder, before)):
                outcome = replace(outcome, kind="left", said=f"{', '.join(left)}: {outcome.said}")
            if not outcome.good and keep is not None:
                _keep(folder, keep / module / re.sub(r"\W+", "-", name)[:100], call, outcome)
            shutil.rmtree(folder, ignore_errors=True)
            yield Trial(name, call, outcome)


def module_of(name: str) -> ModuleType:
    """Return a module of this package."""
    return importlib.import_module(f"fuzz.{name}")


def paths_below(folder: Path) -> list[str]:
    """Return all files and folders in a folder, but for what a fork prints."""
    paths = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*"))]
    return [path for path in paths if path not in PRINTED]


def left_in(folder: Path, before: set[str]) -> list[str]:
    """Return what a refused command has left behind, apart from what it goes on with another time.

    That is in a folder ``.part``, and of several images some may be done.
    """
    new = [path for path in paths_below(folder) if path not in before]
    said = (folder / PRINTED[1]).read_text(encoding="utf-8", errors="replace")
    kept = "the same command" in said or "images failed" in said
    return [path for path in new if not (kept or path.partition("/")[0].endswith(".part"))]


def write(folder: Path, name: str, content: Content) -> None:
    """Write what a case is about into a folder of its own."""
    if isinstance(content, Path):
        shutil.copytree(content, folder)
    else:
        for file, data in (content if isinstance(content, Mapping) else {name: content}).items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    if not (folder / "image.png").exists():  # for models, which have two channels
        (folder / "image.png").write_bytes(_image())
    for path in folder.rglob("*"):
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


def _image() -> bytes:
    made = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 36, 2), np.uint8)
    Image.fromarray(pixels, "LA").save(made, "PNG")
    return made.getvalue()


def _keep(folder: Path, place: Path, call: list[str], outcome: Outcome) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    told = {"call": ["fullconv", *call], "kind": outcome.kind, "said": outcome.said}
    (place / "case.json").write_text(json.dumps(told, indent=2), encoding="utf-8")


def table(counts: Mapping[str, Counter[str]], slowest: Mapping[str, float]) -> str:
    """Return the counts as Markdown."""
    lines = [
        f"| class | cases | {' | '.join(KINDS.values())} | slowest |",
        f"|---|---|{'---|' * len(KINDS)}---|",
    ]
    for module, held in counts.items():
        cells = [str(held[kind]) for kind in KINDS]
        lines.append(
            f"| {CLASSES[module]} | {held.total()} | {' | '.join(cells)} | "
            f"{slowest[module]:.1f} s |"
        )
    return "\n".join(lines)


BEGIN, END = "<!-- counts: `make fuzz` writes them -->", "<!-- end of counts -->"


def put(page: Path, counts: str) -> None:
    """Put the counts into their place in a page."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{page}: the place of the counts is not there; expected {BEGIN} … {END}.")
    page.write_text(f"{before}{BEGIN}\n\n{counts}\n\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Run, print, and say by the exit code whether anything came that may not come."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run")
    parser.add_argument("modules", nargs="*", help=f"some of: {', '.join(CLASSES)}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=300, help="of every class")
    parser.add_argument("--keep", type=Path, help="where bad outcomes are kept, to be looked at")
    parser.add_argument("--page", type=Path, help="a page to put the counts into")
    options = parser.parse_args()
    counts: dict[str, Counter[str]] = {}
    slowest: dict[str, float] = {}
    for module in options.modules or CLASSES:
        counts[module], began = Counter(), time.monotonic()
        slowest[module] = 0.0
        for trial in trials(module, options.seed, options.cases, options.keep):
            counts[module][trial.outcome.kind] += 1
            slowest[module] = max(slowest[module], trial.outcome.seconds)
            if not trial.outcome.good:
                said = trial.outcome.said.splitlines()[-1:] or [""]
                print(f"{trial.outcome.kind:8} {module}/{trial.name}: {said[0][:300]}")
        told = ", ".join(f"{number} {kind}" for kind, number in counts[module].items())
        print(f"{module}: {told}, in {time.monotonic() - began:.0f} s", flush=True)
    print(made := table(counts, slowest))
    if options.page is not None:
        put(options.page, f"Seed {options.seed}, {options.cases} cases of each class:\n\n{made}")
    bad = sum(held[kind] for held in counts.values() for kind in list(KINDS)[3:])
    return 1 if bad else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
