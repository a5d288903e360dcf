"""The settings of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import ceil, cos, isfinite, pi
from typing import Any, Self

from fullconv.choices import FLIPS, Flips
from fullconv.errors import InputError, WindowError
from fullconv.geometry.grid import HeightWidth


@dataclass(frozen=True)
class TrainSettings:
    """The keywords of `train` that decide its result; `train` documents them."""

    window: HeightWidth | None = None
    background: str | None = None
    arch: str = "auto"
    epochs: int = 30
    patience: int | None = None
    seed: int = 0
    flips: Flips = "none"
    from_scratch_fcn: bool = False
    rounds: int = 2
    scales: tuple[float, ...] = (1.0,)
    holdout: float = 0.2
    batch: int | None = None
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        window = self.window
        if window is not None and not (len(window) == 2 and all(map(_is_size, window))):
            raise WindowError(
                f"train(window={window}): expected two whole numbers of at least 1 pixel, (height, "
                f"width)."
            )
        for name, least in (("epochs", 1), ("batch", 2), ("seed", 0), ("rounds", 0)):
            number = getattr(self, name)
            if number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, int) or number < least:
                raise InputError(f"train({name}={number!r}): expected a whole number from {least}.")
        if self.patience is not None and self.patience < 1:
            raise InputError(f"train(patience={self.patience}): expected at least 1 epoch.")
        if self.seed >= 2**31:
            raise InputError(f"train(seed={self.seed}): expected a number below 2**31.")
        if self.flips not in FLIPS:
            raise InputError(f"train(flips={self.flips!r}): expected one of {', '.join(FLIPS)}.")
        if not 0 < self.holdout < 1:
            raise InputError(
                f"train(holdout={self.holdout}): expected the share of crops to judge by, between "
                f"0 and 1, as in 0.2."
            )
        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(
                f"train(learning_rate={self.learning_rate}): expected a number above 0, as in "
                f"0.002."
            )
        if self.from_scratch_fcn and self.arch != "auto":
            raise InputError(
                "train(from_scratch_fcn=True): that is for the network that fullconv makes; a "
                "network of your own (arch) has the head that you gave it. Leave one out."
            )

    @classmethod
    def of(cls, window: Sequence[int] | None, given: Mapping[str, Any]) -> Self:
        """Return the settings among keywords of `train`; other keywords are ignored."""
        known = {field.name for field in fields(cls)}
        chosen = {name: value for name, value in given.items() if name in known}
        chosen["window"] = None if window is None else tuple(window)
        chosen["arch"] = code_name(given.get("arch"))
        if "scales" in chosen:
            chosen["scales"] = tuple(float(scale) for scale in chosen["scales"])
        if given.get("negatives") is None:
            chosen["rounds"] = 0
        return cls(**chosen)

    def batch_of(self, crops: int) -> int:
        """Return the batch size for a number of crops.

        By default a twentieth of the crops, so that an epoch has some steps, but at least 16 and
        at most 64.
        """
        return min(crops, self.batch or min(64, max(16, crops // 20)))

    def epochs_of(self, phase: int) -> int:
        """Return the most epochs of a phase: ``epochs`` at first, and half as many in each round of
        hard negatives."""
        return self.epochs if phase == 0 else ceil(self.epochs / 2)

    def patience_of(self, phase: int) -> int:
        """Return the number of epochs without a better one that ends a phase."""
        return self.patience or max(5, self.epochs_of(phase) // 3)

    def rate(self, phase: int, done: float) -> float:
        """Return the learning rate when a fraction of a phase is done.

        It rises over the first tenth and then falls along a cosine to a hundredth (Loshchilov and
        Hutter 2017, equation 5, with warm-up). A round of hard negatives starts at a third.
        """
        top = self.learning_rate * (1 if phase == 0 else 1 / 3)
        warm = min(1.0, done / 0.1)
        return top * warm * (0.01 + 0.99 * 0.5 * (1 + cos(pi * done)))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def code_name(own: Callable[..., Any] | None) -> str:
    """Return the network's name in reports and checkpoints."""
    if own is None:
        return "auto"
    named = getattr(own, "__qualname__", type(own).__qualname__)
    return f"{getattr(own, '__module__', '')}:{named}"


def _is_size(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 1
