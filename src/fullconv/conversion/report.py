"""The report of a conversion: its changes, whether it is exact, and why sharing ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from fullconv.choices import Activation
from fullconv.conversion.precision import verdict_in
from fullconv.geometry.grid import Grid, Sizes
from fullconv.wording import listed, sized, unit


class Reason(str):
    """One line: the operation, the layer it belongs to, and why.

    Attributes
    ----------
    operation : str
        The operation's name in the user's framework.
    layer : str
        Name of the module or node.
    why : str
        The reason why sharing ends there, or why the result differs from the crops'.
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
"""The reason, in a `Reason`, why scores are random."""

RANDOM_SCORES = "random: scores differ from one run to the next, and none is its crop's own"
"""The verdict on random scores, in a `Report`."""


GATHERED = "one tensor per window from here on: sharing would take longer than it saves"
"""The change, in a `Change`, of an image whose windows are each given their own pixels."""


@dataclass(frozen=True)
class Change:
    """A layer that is no longer itself: its name, what it was, what it is now."""

    layer: str
    before: str
    after: str


Count = int | Callable[[], int]
"""A number, or a function that counts it when it is needed."""


class Cost:
    """Multiply-accumulates per window.

    They are counted for an image of many windows along every axis, or for one of the size that was
    asked about. Only layers that multiply matrices count (convolutions, fully connected layers,
    attention, recurrence), because nearly all time is spent on them.

    Attributes
    ----------
    crops : int
        From the crop of every window.
    exact, approximate : int
        By the two forms of the converted network, at this step.
    """

    def __init__(self, crops: int, exact: Count, approximate: Count) -> None:
        self.crops = crops
        self._exact, self._approximate = exact, approximate

    @property
    def exact(self) -> int:
        """By the exact form."""
        self._exact = self._exact if isinstance(self._exact, int) else self._exact()
        return self._exact

    @property
    def approximate(self) -> int:
        """By the approximate form."""
        counted = self._approximate
        self._approximate = counted if isinstance(counted, int) else counted()
        return self._approximate

    def as_dict(self) -> dict[str, int]:
        """Return the numbers by name."""
        return {"crops": self.crops, "exact": self.exact, "approximate": self.approximate}

    def __eq__(self, other: object) -> bool:
        """Whether the numbers are the same."""
        return isinstance(other, Cost) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        """Return a hash of the numbers."""
        return hash((self.crops, self.exact, self.approximate))

    def __reduce__(self) -> tuple[type[Cost], tuple[int, int, int]]:
        """Return the numbers, for copies and pickles."""
        return Cost, (self.crops, self.exact, self.approximate)

    def __repr__(self) -> str:
        """Return the numbers by name."""
        return f"Cost({', '.join(f'{name}={n}' for name, n in self.as_dict().items())})"

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
    """The report of a conversion.

    Attributes
    ----------
    grid : Grid
        Window and step.
    stride : tuple of int
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
        Faults of the model itself: weights that are not finite, scores that depend on the other
        images of a batch.
    images : str
        The order of the images' axes, where it is not the usual one: ``(N, H, W, C)``.
    check : str
        The comparison by the probe at the conversion; empty where there was none.
    image : tuple of int
        Size of the image that the cost is counted for; empty for an image of many windows.
    precision : str
        The precision of the network where that is less than its classifier's: "f16", "bf16" or
        "int8". Empty otherwise.
    rounded : bool
        True where only the roundings of ``precision`` make the scores differ from the crops'.
        ``exact`` is then False.
    agreement : float
        The share of windows with the same best class as their crops that was asked for when it was
        quantized; 0 otherwise.
    activations : tuple of str
        For every output the activation that ends the classifier itself: softmax or sigmoid, whose
        scores are probabilities, or none. Empty where nothing says.
    inside : tuple of str
        Lines on the preprocessing and activation inside the converted model.
    """

    grid: Grid
    stride: Sizes
    exact: bool
    reasons: tuple[Reason, ...]
    changes: tuple[Change, ...]
    per_window: bool
    one_pass: bool
    cost: Cost
    warnings: tuple[str, ...] = ()
    images: str = ""
    check: str = ""
    image: Sizes = ()
    precision: str = ""
    rounded: bool = False
    agreement: float = 0.0
    activations: tuple[Activation, ...] = ()
    inside: tuple[str, ...] = ()

    @property
    def random(self) -> bool:
        """Whether scores depend on random numbers, and so differ from one run to the next."""
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
        if self.precision:
            return verdict_in(self.precision, self.rounded)
        if not self.exact:
            return "approximate: one pass, and scores differ from the crops' where named below"
        if any(change.after == GATHERED for change in self.changes):
            return (
                "exact: every window equals its crop; computed window by window, for sharing would "
                "take longer than it saves"
            )
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
        things = unit(self.grid.dimensions, many=True)
        order = f" ({listed(self.grid.dimensions)})" if self.grid.dimensions > 1 else ""
        counted = "per window"
        if self.image:
            counted += f", in an image of {sized(self.image)} {things}"
        lines = [
            f"window   {sized(self.grid.window)} {things}{order}",
            f"step     {sized(self.grid.step)} {things} (the network's own stride is "
            f"{sized(self.stride)})",
            *([f"images   {self.images}, as the classifier takes them"] if self.images else []),
            *(f"inside   {line}" for line in self.inside),
            *([f"scores   {self._scores}"] if self._scores else []),
            f"result   {self.verdict}",
            f"cost     {self.cost} (multiply-accumulates {counted})",
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

    @property
    def _scores(self) -> str:
        """Whether scores are probabilities already, in words; empty where none are."""
        ends = [f"with {name}" for name in self.activations]
        if not set(self.activations) - {"none"}:
            return ""
        if len(ends) == 1:
            return f"probabilities, for the classifier itself ends {ends[0]}"
        return f"its outputs end {', '.join(ends)}".replace("with none", "without activation")

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON; sizes are (rows, columns)."""
        return {
            "window": list(self.grid.window),
            "step": list(self.grid.step),
            "stride": list(self.stride),
            "images": self.images,
            "image": list(self.image),
            "exact": self.exact,
            "per_window": self.per_window,
            "one_pass": self.one_pass,
            "cost": self.cost.as_dict(),
            "verdict": self.verdict,
            "reasons": [
                {"operation": r.operation, "layer": r.layer, "why": r.why} for r in self.reasons
            ],
            "changes": [vars(c) for c in self.changes],
            "warnings": list(self.warnings),
            "check": self.check,
            "precision": self.precision,
            "rounded": self.rounded,
            "agreement": self.agreement,
            "activations": list(self.activations),
            "inside": list(self.inside),
        }
