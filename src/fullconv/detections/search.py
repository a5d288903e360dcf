"""The criteria by which a window counts as a detection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fullconv.checking import is_number
from fullconv.choices import ACTIVATIONS, LARGEST_SCALE, Activation
from fullconv.errors import InputError
from fullconv.keywords import Keywords


@dataclass(frozen=True)
class Search(Keywords):
    """The keywords by which `detect` looks for objects; `detect` says what each means.

    Raises
    ------
    InputError
        If one of them cannot be.
    """

    threshold: float = 0.5
    iou: float = 0.3
    scales: Sequence[float] = (1.0,)
    classes: Sequence[str | int] | None = None
    per_class: bool = True
    activation: Activation = "none"

    def __post_init__(self) -> None:
        if not is_number(self.threshold):
            raise InputError(
                f"detect(threshold={self.threshold}): expected a number, the least score of a "
                f"detection."
            )
        if not (is_number(self.iou) and 0 <= self.iou <= 1):
            raise InputError(f"detect(iou={self.iou}): expected a number from 0 to 1.")
        check_scales("detect", self.scales)
        if str(self.activation) not in ACTIVATIONS:
            raise InputError(
                f"detect(activation={self.activation!r}): expected one of {', '.join(ACTIVATIONS)}."
            )


def check_scales(verb: str, scales: Sequence[float]) -> None:
    """Check the factors by which images are to be resized, as a verb was given them.

    Raises
    ------
    InputError
        If there is no factor, or one that cannot be.
    """
    each = list(scales) if isinstance(scales, Iterable) else []
    if not each or not all(is_number(n) and 0 < n <= LARGEST_SCALE for n in each):
        raise InputError(
            f"{verb}(scales={scales!r}): expected at least one, each above 0 and up to "
            f"{LARGEST_SCALE}, as in (1.0, 0.5)."
        )
