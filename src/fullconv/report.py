"""What a conversion did, where it is exact, and why where it is not shared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fullconv.geometry import Grid


class Reason(str):
    """One line: the operation, the layer it belongs to, and why.

    Attributes
    ----------
    operation : str
        What the user's framework calls the operation.
    layer : str
        Name of the module or node.
    why : str
        What about it ends sharing, or differs from the crops.
    """

    __slots__ = ("layer", "operation", "why")

    operation: str
    layer: str
    why: str

    def __new__(cls, operation: str, layer: str, why: str) -> Reason:
        """Compose the line from its three parts."""
        where = f" {layer!r}" if layer else ""
        self = super().__new__(cls, f"{operation}{where} {why}")
        self.operation, self.layer, self.why = operation, layer, why
        return self

    def __getnewargs__(self) -> tuple[str, str, str]:  # type: ignore[override]
        """Return the parts, so that copies and pickles keep them."""
        return self.operation, self.layer, self.why


DRAWS = "draws random numbers"
RANDOM_SCORES = "random: scores differ from one run to the next, and none is its crop's own"
"""Why scores are nobody's own, in a `Reason`."""


@dataclass(frozen=True)
class Change:
    """A layer that is no longer itself: its name, what it was, what it is now."""

    layer: str
    before: str
    after: str


@dataclass(frozen=True)
class Cost:
    """Multiply-accumulates per window, in an image of many windows.

    Convolutions and fully connected layers are counted: nearly all time is spent on them.

    Attributes
    ----------
    crops : int
        From the crop of every window.
    exact, approximate : int
        By the two forms of the converted network, at this step.
    """

    crops: int
    exact: int
    approximate: int

    def __str__(self) -> str:
        """Return one line with the two forms against the crops."""
        forms = ", ".join(
            f"{thousands(count)} {name} ({_times(self.crops, count)})"
            for name, count in (("exact", self.exact), ("approximate", self.approximate))
        )
        return f"{thousands(self.crops)} from crops, {forms}"


def thousands(count: int) -> str:
    """Return a number with three digits and a unit: 15.5 G."""
    number, unit = float(count), ""
    for larger in ("k", "M", "G", "T"):
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    return f"{number:.3g} {unit}".strip()


def _times(crops: int, count: int) -> str:
    if not count or not crops:
        return "none"
    ratio = crops / count
    if 0.995 < ratio < 1.005:
        return "the same"
    return f"{ratio:.3g} times fewer" if ratio > 1 else f"{1 / ratio:.3g} times more"


@dataclass(frozen=True)
class Report:
    """What a conversion did.

    Attributes
    ----------
    grid : Grid
        Window and step.
    stride : (int, int)
        The network's own stride.
    exact : bool
        True only where every window's scores are those of its crop.
    reasons : tuple of Reason
        Exact form: where windows stop sharing. Approximate form: where scores differ.
    changes : tuple of Change
        Layer by layer.
    per_window : bool
        Whether some operations run once per window.
    one_pass : bool
        Whether all windows share everything.
    cost : Cost
        Multiply-accumulates per window.
    warnings : tuple of str
        What is odd about the model itself: weights that are not finite, scores that depend on the
        other images of a batch.
    images : str
        The order of the images' axes, where it is not the usual one: ``(N, H, W, C)``.
    check : str
        What the probe at the conversion has compared; empty where there was none.
    """

    grid: Grid
    stride: tuple[int, int]
    exact: bool
    reasons: tuple[Reason, ...]
    changes: tuple[Change, ...]
    per_window: bool
    one_pass: bool
    cost: Cost
    warnings: tuple[str, ...] = ()
    images: str = ""
    check: str = ""

    @property
    def random(self) -> bool:
        """Whether scores are drawn, in part, and differ from one run to the next."""
        return any(reason.why == DRAWS for reason in self.reasons)

    def of_random(self, operation: str, layer: str = "") -> Report:
        """Return the report of a classifier that draws random numbers here."""
        if self.random:
            return self
        reasons = (Reason(operation, layer, DRAWS), *self.reasons)
        return replace(self, exact=False, reasons=reasons)

    @property
    def verdict(self) -> str:
        """One sentence that a user can act on."""
        if self.random:
            return RANDOM_SCORES
        if not self.exact:
            return "approximate: one pass, and scores differ from the crops' where named below"
        if self.reasons:
            return (
                "exact: every window equals its crop; shared up to the layers named below, as far "
                "as they say"
            )
        if self.one_pass:
            return "exact: every window equals its crop, and all windows share one pass"
        if self.per_window and self.cost.exact >= self.cost.crops:
            return (
                "exact: every window equals its crop; computed window by window, for at this step "
                "windows have little in common"
            )
        return (
            "exact: every window equals its crop; shared, but for the cells that see a window's "
            "own border"
        )

    def __str__(self) -> str:
        """Return a table that people can read."""
        (h, w), (sy, sx) = self.grid.window, self.grid.step
        lines = [
            f"window   {w}x{h} pixels (width x height)",
            f"step     {sx}x{sy} pixels (the network's own stride is "
            f"{self.stride[1]}x{self.stride[0]})",
            *([f"images   {self.images}, as the classifier takes them"] if self.images else []),
            f"result   {self.verdict}",
            f"cost     {self.cost} (multiply-accumulates per window)",
        ]
        if self.changes:
            width = max(len(c.layer) for c in self.changes)
            before = max(len(c.before) for c in self.changes)
            lines.append("changes")
            lines.extend(
                f"  {c.layer:<{width}}  {c.before:<{before}} -> {c.after}" for c in self.changes
            )
        if self.reasons:
            lines.append("reasons")
            lines.extend(f"  {reason}" for reason in self.reasons)
        lines.extend(f"warning  {warning}" for warning in self.warnings)
        if self.check:
            lines.append(self.check)
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON; sizes are (rows, columns)."""
        return {
            "window": list(self.grid.window),
            "step": list(self.grid.step),
            "stride": list(self.stride),
            "images": self.images,
            "exact": self.exact,
            "per_window": self.per_window,
            "one_pass": self.one_pass,
            "cost": vars(self.cost),
            "verdict": self.verdict,
            "reasons": [
                {"operation": r.operation, "layer": r.layer, "why": r.why} for r in self.reasons
            ],
            "changes": [vars(c) for c in self.changes],
            "warnings": list(self.warnings),
            "check": self.check,
        }
