"""The counts of a run, as a table in a page of the documentation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.trials import Trial

KINDS = {
    "done": "done",
    "differs": "noticed",
    "refused": "one line",
    "wrong": "wrong",
    "lost": "lost",
    "left": "left",
    "raw": "raw",
    "crash": "crash",
    "slow": "slow",
    "large": "large",
}
"""What may come of a case, as the table calls it; only the first three are what a user may see."""

BEGIN, END = "<!-- counts: `make fuzz` writes them -->", "<!-- end of counts -->"


@dataclass
class Counts:
    """What came of the cases of a class.

    Attributes
    ----------
    title : str
        What they are cases of.
    kinds : Counter of str
        How often each kind of outcome came.
    slowest : float
        Seconds of the processor.
    largest : int
        Bytes of memory.
    """

    title: str
    kinds: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: int = 0

    def add(self, trial: Trial) -> None:
        """Count one more."""
        self.kinds[trial.outcome.kind] += 1
        self.slowest = max(self.slowest, trial.outcome.seconds)
        self.largest = max(self.largest, trial.outcome.bytes)

    @property
    def bad(self) -> int:
        """How many came to what may not come."""
        return sum(self.kinds[kind] for kind in list(KINDS)[3:])


def table(counts: Iterable[Counts]) -> str:
    """Return the counts as Markdown."""
    lines = [
        f"| class | cases | {' | '.join(KINDS.values())} | slowest | largest |",
        f"|---|{'--:|' * (len(KINDS) + 3)}",
    ]
    for held in counts:
        cells = [held.title, held.kinds.total(), *(held.kinds[kind] for kind in KINDS)]
        most = f"{held.slowest:.1f} s | {held.largest >> 20} MB"
        lines.append(f"| {' | '.join(map(str, cells))} | {most} |")
    return "\n".join(lines)


def put(page: Path, counts: str) -> None:
    """Put the counts into their place in a page."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{page}: the place of the counts is not there; expected {BEGIN} … {END}.")
    page.write_text(f"{before}{BEGIN}\n\n{counts}\n\n{END}{after}", encoding="utf-8")
