"""A trained classifier, and how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fullconv.converted import FullyConvolutional
    from fullconv.geometry import Pair
    from fullconv.preprocessing import Preprocessing
    from fullconv.report import Report
    from fullconv.training.judging import Confusion
    from fullconv.training.telling import Epoch, Round


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained classifier, and how it came about.

    Attributes
    ----------
    path : Path
        The model file.
    classifier : torch.nn.Module
        Crops ``(N, C, h, w)`` to probabilities ``(N, K)``, on the CPU, in eval mode.
    window : (int, int)
        Height and width.
    classes : tuple of str
    background : str or None
    preprocessing : Preprocessing
        What is done to pixels first; it is in the file, too.
    report : Report
        What conversion does to the network.
    history : tuple of Epoch
        Every epoch.
    best : Epoch
        The one whose weights were taken.
    confusion : Confusion
        Of the crops that were held out, by these weights.
    rounds : tuple of Round
        Of hard negatives; the last one only counts what is left.
    is_interrupted : bool
        Whether Ctrl-C ended it early; then a checkpoint lies beside the model.
    """

    path: Path
    classifier: Any
    window: Pair
    classes: tuple[str, ...]
    background: str | None
    preprocessing: Preprocessing
    report: Report
    history: tuple[Epoch, ...]
    best: Epoch
    confusion: Confusion
    rounds: tuple[Round, ...]
    is_interrupted: bool

    def __repr__(self) -> str:
        accuracy = self.confusion.accuracy
        return f"Trained({self.path.name}, {len(self.classes)} classes, {accuracy:.3f} held out)"

    def convert(
        self, step: int | Sequence[int] | None = None, exact: bool = True
    ) -> FullyConvolutional:
        """Return the network over all windows, as `fullconv.convert` of the file gives it."""
        import fullconv

        return fullconv.convert(
            self.classifier,
            self.window,
            step,
            exact,
            classes=self.classes,
            background=self.background,
            preprocessing=self.preprocessing,
        )
