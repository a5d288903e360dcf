"""Try every architecture of the zoos, each in a process of its own; what is done stays done.

    python benchmarks/zoo/sweep.py                    # what is not yet in results.jsonl
    python benchmarks/zoo/sweep.py --again fails      # those that failed, too
    python benchmarks/zoo/sweep.py --only resnet      # names that hold this

Each line of the results is one architecture, with the versions that it was tried with.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.jsonl"
CPU_SECONDS, SECONDS, MEMORY_BYTES = 600, 3600, 20 << 30


def timm_names() -> list[list[str]]:
    """Return the names of timm that are tried, family by family."""
    lines = (HERE / "architectures.txt").read_text().splitlines()
    return [
        [f"timm:{name}" for name in line.partition(":")[2].split()]
        for line in lines
        if ":" in line and not line.startswith("#")
    ]


def all_names() -> list[str]:
    """Return every name that is tried; the first of each family first."""
    from libraries import import_libraries, keras_names

    torchvision, _ = import_libraries()
    models = torchvision.models
    listed = [f"torchvision:{name}" for name in models.list_models(module=models)]
    families = timm_names()
    return [
        *(family[0] for family in families),
        *listed,
        *keras_names(),
        *(name for family in families for name in family[1:]),
    ]


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Return the last record of every architecture."""
    if not path.exists():
        return {}
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {record["name"]: record for record in records}


def versions(name: str) -> dict[str, str]:
    """Return the versions that the result of an architecture holds for."""
    import torch
    from libraries import import_keras, import_libraries

    import fullconv

    held = {"fullconv": fullconv.__version__, "torch": torch.__version__.partition("+")[0]}
    if name.startswith("keras:"):
        return held | {"keras": import_keras().__version__}
    torchvision, timm = import_libraries()
    return held | {
        "timm": timm.__version__,
        "torchvision": torchvision.__version__.partition("+")[0],
    }


def run(names: Iterable[str], path: Path) -> Iterator[dict[str, Any]]:
    """Try each architecture, append its record to the results, and yield it."""
    for name in names:
        record = in_a_process(name)
        record["versions"] = versions(name)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        yield record


def in_a_process(name: str) -> dict[str, Any]:
    """Return the record of one architecture; a crash is a record, too."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(name, theirs), daemon=True)
    process.start()
    theirs.close()
    lost = {"name": name, "outcome": "fails"}
    try:
        if not ours.poll(SECONDS):
            process.kill()
            return {**lost, "error": f"no end after {SECONDS} s"}
        record: dict[str, Any] = ours.recv()
    except EOFError:
        process.join()
        return {**lost, "error": f"the process ended with {process.exitcode}"}
    process.join()
    return record


def _child(name: str, pipe: Connection) -> None:
    from trial import attempt

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    pipe.send(attempt(name).as_dict())


def main() -> None:
    """Try what is left, and say how far it is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="names that hold this text")
    parser.add_argument("--again", default="", help="outcomes to try again: fails,wrong,blind")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)  # a process that has started threads must not be forked
    known = read_results(given.results)
    again = set(filter(None, given.again.split(",")))
    left = [
        name
        for name in all_names()
        if given.only in name
        and (
            name not in known
            or known[name].get("versions") != versions(name)
            or known[name]["outcome"] in again
        )
    ]
    torch.export.export(torch.nn.ReLU(), (torch.zeros(1),))  # imports what every trial needs
    start = time.monotonic()
    for done, record in enumerate(run(left, given.results), 1):
        ahead = (time.monotonic() - start) / done * (len(left) - done)
        print(
            f"{done}/{len(left)} {record['outcome']:<6} {record['name']} {record.get('error', '')}"
            f" ({ahead / 60:.0f} min to go)",
            flush=True,
        )
    results = read_results(given.results)
    given.results.write_text("".join(json.dumps(results[name]) + "\n" for name in sorted(results)))
    print(f"{len(results)} tried")


if __name__ == "__main__":
    main()
