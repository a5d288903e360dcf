"""The result of a comparison with crops."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fullconv.conversion.precision import EPSILONS, INT8, verdict_of, verdict_of_integers
from fullconv.conversion.report import RANDOM_SCORES

RANDOM = "random"
ANOTHER_IMAGE = "another image"


@dataclass(frozen=True)
class Verification:
    """The result of comparing a converted network with its crops.

    Attributes
    ----------
    max_error : float
        Largest difference between a window's scores and those of its crop.
    self_error : float
        Largest difference of the classifier from itself, crops together against crops alone.
    agreement : float
        Share of the windows with the same best class (for one class: the same sign).
    windows : int
        How many windows were compared.
    allowed : float
        The largest difference that counts as equal; see Note [What counts as equal].
    exact : bool
        Whether the conversion claims to be exact.
    passed : bool
        Whether the claim holds. An approximate conversion claims nothing, and always passes.
    rounding : float or None
        Largest rounding of the crops' own scores, where double precision had to decide.
    undecided : str
        Why double precision could not decide, where it had to.
    of : str
        What the scores are of, where that changes the verdict: "random" for a classifier that
        draws random numbers, "another image" for one that is not the image that was scanned, "f16"
        or "bf16" for a network in that precision, "int8" for one in integers.
    asked : float
        The share of windows in agreement that was asked for when a network was put in integers.
    """

    max_error: float
    self_error: float
    agreement: float
    windows: int
    allowed: float
    exact: bool
    passed: bool
    rounding: float | None = None
    undecided: str = ""
    of: str = ""
    asked: float = 0.0

    def __str__(self) -> str:
        """Return the figures and the verdict, as people read them."""
        return "\n".join(
            [
                f"windows compared       {self.windows}",
                f"largest difference     {self.max_error:.3g}",
                f"model's own difference {self.self_error:.3g} (from itself, across batch sizes)",
                *self._decided(),
                f"same best class        {100 * self.agreement:.1f} % of the windows",
                f"verdict                {self.verdict}",
            ]
        )

    def _decided(self) -> list[str]:
        if self.undecided:
            return [f"in double precision    not to be had: {self.undecided}"]
        if self.rounding is None:
            return []
        return [f"model's own rounding   {self.rounding:.3g} (of crops, against double precision)"]

    @property
    def verdict(self) -> str:
        """One sentence that says what the figures mean."""
        if self.of == RANDOM:
            return RANDOM_SCORES
        if self.of == INT8:
            return verdict_of_integers(self.passed, self.asked)
        if self.of in EPSILONS:
            return verdict_of(self.of, self.passed, self.allowed)
        if not self.exact and self.of == ANOTHER_IMAGE and not self.passed:
            return (
                "NOT proven: this is not the file that was scanned (another one, or changed "
                "since); give that, or scan again"
            )
        if not self.exact:
            return (
                "approximate: the differences above are what it costs; the exact form, in f32, has "
                "the crops' own scores"
            )
        differs = f"NOT equal: more than {self.allowed:.3g} is no rounding"
        if self.of == ANOTHER_IMAGE:
            if self.max_error > self.allowed:
                return (
                    f"{differs}, but this is not the file that was scanned (another one, or "
                    f"changed since); give that, or scan again"
                )
            if not self.passed:
                return (
                    "NOT proven: the image has changed since it was scanned, though not in the "
                    "windows that were compared; give the image as it was, or scan again"
                )
            return "equal in the windows that were compared, of a file that is not the one scanned"
        if self.passed:
            return "equal: the scores are the crops' own"
        return f"{differs}; if this is the classifier that was converted, please report it"

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        return {**asdict(self), "verdict": self.verdict}
