"""Progress of a training: the records that a listener receives while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullconv.geometry.grid import HeightWidth

if TYPE_CHECKING:
    from fullconv.conversion.report import Report


@dataclass(frozen=True)
class Note:
    """A remark in one line; ``is_warning`` if something was left out or went wrong."""

    line: str
    is_warning: bool = False


@dataclass(frozen=True)
class Started:
    """The beginning of a training: its network and its crops.

    Attributes
    ----------
    classes : tuple of str
    background : str or None
    training, held_out : tuple of int
        Number of crops of each class.
    window : (int, int)
    report : Report
        Report on the network's conversion.
    parameters : int
        Number of parameters.
    device : str
    """

    classes: tuple[str, ...]
    background: str | None
    training: tuple[int, ...]
    held_out: tuple[int, ...]
    window: HeightWidth
    report: Report
    parameters: int
    device: str


@dataclass(frozen=True)
class Batch:
    """Progress within an epoch: batches done, of all; and its number, of the most there may be."""

    epoch: int
    epochs: int
    done: int
    batches: int
    seconds_left: float | None


@dataclass(frozen=True)
class Epoch:
    """One pass over the crops.

    Attributes
    ----------
    number, phase : int
        Number from 1; phase 0 before hard negatives, else the number of their round.
    loss : float
        Mean over the varied crops.
    held_out_loss, accuracy : float
        On the held out crops. The loss weighs all classes alike; the best epoch has the least.
    seconds : float
        Duration of the epoch.
    """

    number: int
    phase: int
    loss: float
    held_out_loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Ended:
    """The end of an epoch; ``seconds_left`` is the most that the remaining epochs will take."""

    epoch: Epoch
    epochs: int
    is_best: bool
    seconds_left: float


@dataclass(frozen=True)
class Round:
    """One scan of the photos for false alarms, by the network as trained so far.

    Attributes
    ----------
    number : int
        Number from 1.
    photos, windows : int
        How many photos were scanned, and how many windows they have.
    alarms : int
        Wrong detections with a score of at least 0.5.
    added : int
        Crops that were added for training; none in the last round, which only counts alarms.
    seconds : float
        Duration of conversion and scan.
    """

    number: int
    photos: int
    windows: int
    alarms: int
    added: int
    seconds: float


TrainingEvent = Note | Started | Batch | Ended | Round
Listener = Callable[[TrainingEvent], None]


def unheard(record: TrainingEvent) -> None:
    """Ignore a record: the default listener."""
