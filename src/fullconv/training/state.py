"""The state of a training between two epochs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn

from fullconv.training.pixels import Pixels
from fullconv.training.settings import TrainSettings
from fullconv.training.telling import Epoch, Round

Weights = dict[str, torch.Tensor]

WEIGHT_DECAY = 1e-2


@dataclass
class State:
    """The state of a training between two epochs, as a checkpoint stores it.

    Attributes
    ----------
    network : nn.Module
        ``(N, C, h, w)`` to scores before the softmax.
    optimiser : torch.optim.AdamW
        Optimiser of this phase.
    best : dict
        Weights of the best epoch of this phase, on the CPU; before its first epoch, the weights at
        its start.
    mined : Pixels
        Hard negatives found so far.
    phase : int
        0 before hard negatives, or the number of their round.
    history, rounds : list
        Epochs and rounds that are finished.
    """

    network: nn.Module
    optimiser: torch.optim.AdamW
    best: Weights
    mined: Pixels
    phase: int = 0
    history: list[Epoch] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)

    @property
    def of_phase(self) -> list[Epoch]:
        """The epochs of this phase."""
        return [epoch for epoch in self.history if epoch.phase == self.phase]

    @property
    def best_epoch(self) -> Epoch | None:
        """The epoch whose weights are `best`; None before the first epoch."""
        for phase in range(self.phase, -1, -1):
            epochs = [epoch for epoch in self.history if epoch.phase == phase]
            if epochs:
                return min(epochs, key=lambda epoch: epoch.held_out_loss)
        return None

    def has_phase_ended(self, settings: TrainSettings) -> bool:
        """Whether all epochs of the phase are done, or too many since the best one."""
        epochs = self.of_phase
        if not epochs or len(epochs) >= settings.epochs_of(self.phase):
            return len(epochs) >= settings.epochs_of(self.phase)
        best = min(epochs, key=lambda epoch: epoch.held_out_loss)
        return epochs[-1].number - best.number >= settings.patience_of(self.phase)


def new_optimiser(network: nn.Module) -> torch.optim.AdamW:
    """Return a new optimiser, as each phase begins with."""
    return torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)


def weights_of(network: nn.Module) -> Weights:
    """Return a copy of a network's weights, on the CPU."""
    return {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in network.state_dict().items()
    }
