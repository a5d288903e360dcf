"""Write what `sweep.py` found as docs/zoo.md.

python benchmarks/zoo/table.py
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sweep import RESULTS, all_names, read_results

PAGE = Path(__file__).resolve().parents[2] / "docs/zoo.md"
ALIKE = 1.05
"""Where crops take at most so many times the operations, windows have nothing in common."""

SECTIONS = {"torchvision": "torchvision:", "keras.applications": "keras:", "timm": "timm:"}

KINDS = {
    "one pass": "every window equals its crop, and all windows share one pass",
    "shared": "every window equals its crop; shared, but for the cells that see a window's border",
    "until": "every window equals its crop; shared up to the layer that is named",
    "per window": "every window equals its crop, and has next to nothing in common with the next",
    "blind": "nothing is known: the windows' scores are too much alike to tell them apart",
    "wrong": "some window is not its crop",
    "fails": "cannot be converted",
}

PAGE_TEXT = """# The model zoos: what converts, and how far windows share

Every classifier of torchvision and of `keras.applications`, small members of every family of
convolutional networks in timm, and one of every family of transformers but four encoders of
language models: {tried} architectures, with random weights and BatchNorm statistics that fit the
picture. Each was converted at its crop size, run over a picture of one and a half windows, and
**every window was compared with its crop**. `make zoo` does it again (about two hours on one idle
core; it goes on where it stopped) and writes this page. {versions}.

| exact form | architectures | |
|---|---|---|
{summary}

{families}

How to read the tables:

- *crop*: pixels along each side. Where a crop costs more than 4.5 G multiply-accumulates, a smaller
  one was tried, and its own size is in brackets. Transformers for one size are built for it.
  Keras' applications come without their softmax, which would make random scores alike; its two
  NASNets, which it does not build on PyTorch, are left out.
- *step*: pixels between windows, the network's own stride where that leaves few enough windows.
- *exact*: what `exact=True` shares, and how many times fewer multiply-accumulates a window costs in
  a large image than from its crop. A wider window, and a smaller step, share more.
- *sharing ends at*: the first layer that runs on one tensor per window, and why.
- *error*: the largest difference of any window from its crop, as a multiple of what the model
  differs from itself (crops one by one against batches, PyTorch's own kernels against oneDNN's).
  *Apart* is how far the two windows lie that score most alike, in the same unit. Where the one is
  more than 16, or the other less than 320, the difference in double precision decides, and is
  given.
- *approximate*: what `exact=False` saves, how far its scores lie from the crops' (*off*, in
  standard deviations between windows; a picture of one and a half windows has much border), and
  what makes them differ, with the number of layers. Random weights make much of a border: see
  [what trained ones do](crops.md).

{tables}
"""


def kind(record: dict[str, Any]) -> str:
    """Return which of `KINDS` an architecture is."""
    if record["outcome"] != "equal":
        return str(record["outcome"])
    if record.get("one_pass"):
        return "one pass"
    if times(record, "exact") <= ALIKE:
        return "per window"
    return "until" if record.get("reasons") else "shared"


def times(record: dict[str, Any], form: str) -> float:
    """Return how many times fewer multiply-accumulates a form needs than crops do."""
    return float(record["crops_products"] / max(1, record[f"{form}_products"]))


def page(records: Sequence[dict[str, Any]], wanted: int) -> str:
    """Return the page for all records."""
    counts = Counter(map(kind, records))
    summary = "\n".join(
        f"| {name} | {counts[name]} | {said} |"
        for name, said in KINDS.items()
        if counts[name] or name in ("wrong", "fails")
    )
    left = wanted - len(records)
    families = (
        f"{counts.total()} tried, {left} of the list are left."
        if left
        else "Nothing of the list is left out."
    )
    return PAGE_TEXT.format(
        tried=len(records),
        versions=versions(records),
        summary=summary,
        families=families,
        tables="\n\n".join(
            f"## {title}\n\n{table(r for r in records if r['name'].startswith(prefix))}"
            for title, prefix in SECTIONS.items()
        ),
    )


def versions(records: Sequence[dict[str, Any]]) -> str:
    """Return the versions that were tried, in words."""
    held = {tuple(sorted(record["versions"].items())) for record in records}
    return "; ".join(
        ", ".join(f"{name} {number}" for name, number in each) for each in sorted(held)
    )


def table(records: Iterable[dict[str, Any]]) -> str:
    """Return one line for every architecture."""
    head = (
        "| architecture | crop | step | exact | sharing ends at | error | apart "
        "| approximate | off | differs by |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    rows = [head]
    for record in sorted(records, key=lambda r: r["name"]):
        name = record["name"].partition(":")[2]
        if record["outcome"] == "fails":
            rows.append(f"| {name} | | | **fails** | {record.get('error', '')} | | | | | |")
            continue
        crop, native = record["window"], record["native"]
        size = f"{crop[0]}" if crop == native else f"{crop[0]} ({native[0]})"
        off = record["error_approximate"] / record["spread"] if record.get("spread") else 0
        cells = (
            name,
            size,
            str(record["step"][0]),
            exact(record),
            ending(record),
            error(record),
            f"{record['apart'] / record['unit']:.0f}",
            f"{times(record, 'approximate'):.3g} times",
            f"{off:.2g}",
            differences(record),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def exact(record: dict[str, Any]) -> str:
    """Return what the exact form shares, in words."""
    held = kind(record)
    if held in ("wrong", "blind"):
        return f"**{held}**"
    return held if held == "per window" else f"{held}, {times(record, 'exact'):.3g} times"


def ending(record: dict[str, Any]) -> str:
    """Return the layer that ends sharing, and why."""
    if not record.get("reasons"):
        return ""
    operation, layer, why = record["reasons"][0]
    return f"{operation} `{layer}` {why.partition(';')[0]}"


def error(record: dict[str, Any]) -> str:
    """Return the largest difference from the crops."""
    if "error_double" in record:
        return f"{record['error_double']:.0e} in double"
    return f"{record['error_exact'] / record['unit']:.2g}"


def differences(record: dict[str, Any]) -> str:
    """Return what makes the approximate form differ."""
    held = record.get("approximate_reasons", {})
    return ", ".join(f"{why} ({count})" for why, count in list(held.items())[:3]) or "nothing"


def main() -> None:
    """Write the page; exit with 1 where an architecture is not equal to its crops."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    records = list(read_results(parser.parse_args().results).values())
    PAGE.write_text(page(records, len(all_names())))
    bad = sorted(record["name"] for record in records if record["outcome"] != "equal")
    print(f"wrote {PAGE.name}: {len(records)} architectures")
    if bad:
        sys.exit(f"not equal to their crops: {' '.join(bad)}")


if __name__ == "__main__":
    main()
