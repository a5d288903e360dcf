"""What a training says of itself while it runs: records that a listener is given one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fullconv.geometry import Pair

if TYPE_CHECKING:
    from fullconv.report import Report


@dataclass(frozen=True)
class Note:
    """A remark, in one line; ``is_warning`` where something was left out or went wrong."""

    line: str
    is_warning: bool = False


@dataclass(frozen=True)
class Started:
    """What will be trained, and on what.

    Attributes
    ----------
    classes : tuple of str
    background : str or None
    training, held_out : tuple of int
        Crops of each class.
    window : (int, int)
    report : Report
        What conversion will do to the network.
    parameters : int
        Numbers that are learnt.
    device : str
    """

    classes: tuple[str, ...]
    background: str | None
    training: tuple[int, ...]
    held_out: tuple[int, ...]
    window: Pair
    report: Report
    parameters: int
    device: str


@dataclass(frozen=True)
class Batch:
    """How far an epoch is, in batches; and its number, of so many at most."""

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
        From 1; and 0 before hard negatives, or the number of their round.
    loss : float
        Mean over the varied crops.
    held_out_loss, accuracy : float
        On the crops that are held out. The loss weighs all classes alike; the best epoch is the
        one in which it is least.
    seconds : float
        How long it took.
    """

    number: int
    phase: int
    loss: float
    held_out_loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Ended:
    """An epoch has ended; ``seconds_left`` is the most that the others will take."""

    epoch: Epoch
    epochs: int
    is_best: bool
    seconds_left: float


@dataclass(frozen=True)
class Round:
    """What the network of the moment sees in photos that hold nothing to be seen.

    Attributes
    ----------
    number : int
        From 1.
    photos, windows : int
        How many were scanned, and how many windows they have.
    alarms : int
        Detections with a score of at least a half: all of them false.
    added : int
        Crops that were added to the background; none after the last round, which only counts.
    seconds : float
        For converting and scanning.
    """

    number: int
    photos: int
    windows: int
    alarms: int
    added: int
    seconds: float


Told = Note | Started | Batch | Ended | Round
Listener = Callable[[Told], None]


def unheard(told: Told) -> None:
    """Listen to nothing."""
