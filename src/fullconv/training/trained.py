"""A trained classifier with the history of its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fullconv.conversion.converted import FullyConvolutional
    from fullconv.conversion.report import Report
    from fullconv.geometry.grid import HeightWidth
    from fullconv.preprocessing import Preprocessing
    from fullconv.training.judging import Confusion
    from fullconv.training.telling import Epoch, Round


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained classifier with the history of its training.

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
        Preprocessing of pixels; the model file states it, too.
    report : Report
        Report on the network's conversion.
    history : tuple of Epoch
        Every epoch, in order.
    best : Epoch
        The epoch whose weights were taken.
    confusion : Confusion
        Confusion matrix of the held out crops, with these weights.
    rounds : tuple of Round
        Rounds of hard negatives; the last one only counts the remaining false alarms.
    is_interrupted : bool
        Whether Ctrl-C ended the training early; a checkpoint then lies beside the model.
    """

    path: Path
    classifier: Any
    window: HeightWidth
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
        """Return the converted network, as `fullconv.convert` of the model file does."""
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
