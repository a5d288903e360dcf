"""Epochs: a network learns crops, and is judged by the crops held out.

Note [Randomness belongs to the epoch]: everything random in an epoch (order, variations, dropout)
is drawn from the seed and the epoch's number alone. So an epoch gives the same result whether the
epochs before it were run or read from a checkpoint, and a checkpoint needs no generator states.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from fullconv.errors import ModelError
from fullconv.preprocessing import Preprocessing
from fullconv.training.augment import Variation
from fullconv.training.judging import Confusion
from fullconv.training.pixels import Pixels
from fullconv.training.settings import TrainSettings
from fullconv.training.state import State, weights_of
from fullconv.training.telling import Batch, Epoch, Listener

JUDGES = 5
"""One hard negative in this many is held out."""

BATCH_TO_JUDGE = 256
"""Crops judged at a time."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """The crops to learn and to judge by, and how they are prepared and varied.

    Attributes
    ----------
    training, held_out : Pixels
    classes : tuple of str
    preprocessing : Preprocessing
    variation : Variation
    device : torch.device
    judges : Pixels or None
        The crops that choose the best epoch: ``held_out`` followed by some hard negatives; None
        for ``held_out`` alone.
    """

    training: Pixels
    held_out: Pixels
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    variation: Variation
    device: torch.device
    judges: Pixels | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest possible pixel value."""
        pixels = self.training.pixels
        if pixels.dtype.kind == "f":
            return float(pixels.min()), float(pixels.max())
        return 0.0, float(np.iinfo(pixels.dtype).max)

    def with_negatives(self, mined: Pixels) -> Lesson:
        """Return the lesson with hard negatives among its crops.

        One in five is not learnt but helps to choose the best epoch: the other crops alone might
        choose an epoch in which the false alarms remain.
        """
        if not len(mined):
            return self
        is_judge = np.arange(len(mined)) % JUDGES == JUDGES - 1
        return replace(
            self,
            training=self.training.followed_by(mined.chosen(~is_judge)),
            judges=self.held_out.followed_by(mined.chosen(is_judge)),
        )

    def prepared(self, crops: torch.Tensor) -> torch.Tensor:
        """Preprocess float32 crops ``(N, C, h, w)`` in place, and return them."""
        mean, std = (
            torch.tensor(numbers, device=crops.device).reshape(-1, 1, 1)
            for numbers in (self.preprocessing.mean, self.preprocessing.std)
        )
        return crops.mul_(self.preprocessing.scale).sub_(mean).div_(std)


def run_epoch(state: State, lesson: Lesson, settings: TrainSettings, tell: Listener) -> bool:
    """Learn all crops once, judge, and extend the history; return whether this epoch is the best.

    Raises
    ------
    ModelError
        If the loss is NaN or infinite.
    """
    start = time.monotonic()
    number = len(state.history) + 1
    before = min((epoch.held_out_loss for epoch in state.of_phase), default=math.inf)
    loss = _learn(state, lesson, settings, number, tell)
    held_out_loss, confusion = judge(state.network, lesson)
    if not (math.isfinite(loss) and math.isfinite(held_out_loss)):
        raise ModelError(
            f"train: the loss is not a finite number in epoch {number}; lower the learning rate, "
            f"as in --learning-rate {settings.learning_rate / 10:g}."
        )
    seconds = time.monotonic() - start
    is_best = held_out_loss < before
    if is_best:
        state.best = weights_of(state.network)
    state.history.append(
        Epoch(number, state.phase, loss, held_out_loss, confusion.accuracy, seconds)
    )
    return is_best


def judge(network: nn.Module, lesson: Lesson) -> tuple[float, Confusion]:
    """Return the loss by which an epoch is judged, and the confusion of the held out crops.

    All classes weigh alike in the loss.
    """
    network.eval()
    judges = lesson.judges or lesson.held_out
    losses, predicted = [], []
    with torch.no_grad():
        for start in range(0, len(judges), BATCH_TO_JUDGE):
            part = slice(start, start + BATCH_TO_JUDGE)
            crops = torch.from_numpy(lesson.preprocessing.apply(judges.pixels[part]))
            scores = network(crops.to(lesson.device))
            labels = torch.from_numpy(judges.labels[part]).to(lesson.device)
            losses.append(F.cross_entropy(scores, labels, reduction="none").cpu())
            predicted.append(scores.argmax(1).cpu())
    loss = torch.cat(losses).double().numpy()
    by_class = [loss[judges.labels == label].mean() for label in np.unique(judges.labels)]
    count = len(lesson.held_out)
    best = torch.cat(predicted).numpy()
    confusion = Confusion.of(lesson.classes, judges.labels[:count], best[:count])
    return float(np.mean(by_class)), confusion


def _learn(
    state: State, lesson: Lesson, settings: TrainSettings, number: int, tell: Listener
) -> float:
    """Learn the crops once, and return the mean loss."""
    # See Note [Randomness belongs to the epoch]
    draw = settings.seed * 1_000_003 + number
    torch.manual_seed(draw)
    generator = torch.Generator().manual_seed(draw)
    data, limits = lesson.training, lesson.limits
    weight = class_weights(data.labels, len(lesson.classes)).to(lesson.device)
    batch = settings.batch_of(len(data))
    count = len(data) // batch  # a short last batch would upset batch normalization
    done = len(state.of_phase)
    state.network.train()
    total = 0.0
    start = time.monotonic()
    order = torch.randperm(len(data), generator=generator)[: count * batch]
    for step, chosen in enumerate(torch.split(order, batch), start=1):
        for group in state.optimiser.param_groups:
            group["lr"] = settings.rate(
                state.phase, (done + step / count) / settings.epochs_of(state.phase)
            )
        crops = torch.from_numpy(data.pixels[chosen.numpy()].astype(np.float32))
        crops = lesson.variation.apply(crops.to(lesson.device), limits, generator)
        crops = lesson.prepared(crops).contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(data.labels[chosen.numpy()]).to(lesson.device)
        loss = F.cross_entropy(state.network(crops), labels, weight)
        state.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        state.optimiser.step()
        total += float(loss.detach())
        left = (time.monotonic() - start) / step * (count - step)
        tell(Batch(number, number - done - 1 + settings.epochs_of(state.phase), step, count, left))
    return total / count


def class_weights(labels: NDArray[np.int64], classes: int) -> torch.Tensor:
    """Return weights that make all classes count alike; 1 for classes of equal size."""
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(len(labels) / (classes * np.maximum(counts, 1))).float()
