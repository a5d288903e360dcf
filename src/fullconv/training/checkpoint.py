"""The state of a training in one file beside the model: tensors and JSON, never a pickle.

Note [A checkpoint beside the model]: while ``dress.onnx`` is being trained, ``dress.onnx.training``
holds the last finished epoch. The network, the optimiser, the best weights so far, and the hard
negatives are tensors (safetensors); the settings and the history are JSON in the header. The file
is replaced as a whole after every epoch, and removed when the model is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fullconv.errors import InputError, ModelError, first_line
from fullconv.system.files import whole
from fullconv.training.pixels import Pixels
from fullconv.training.state import State, new_optimiser
from fullconv.training.telling import Epoch, Round

HEADER = "fullconv.training"


def checkpoint_of(model: Path) -> Path:
    """Return where the checkpoint of a model lies."""
    return model.with_name(model.name + ".training")


def write(path: Path, state: State, asked: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written; an older one stays.
    """
    from safetensors.torch import save

    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    for number, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in moments.items()}
    tensors["mined.pixels"] = torch.from_numpy(state.mined.pixels)
    tensors["mined.labels"] = torch.from_numpy(state.mined.labels)
    header = {
        "asked": asked,
        "phase": state.phase,
        "history": [asdict(epoch) for epoch in state.history],
        "rounds": [asdict(one) for one in state.rounds],
    }
    # The format refuses one tensor under two names, as tied weights are; copies are two tensors.
    copies = {
        name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()
    }
    data = save(copies, {HEADER: json.dumps(header)})
    with whole(path) as temporary:
        temporary.write_bytes(data)


def read(path: Path, network: nn.Module, asked: Mapping[str, Any]) -> State:
    """Return the state in a checkpoint, and load its weights into ``network``.

    Raises
    ------
    InputError
        If it belongs to a training with other settings.
    ModelError
        If it is damaged.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()[HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        before = header["asked"]
    except Exception as error:
        raise _damaged(path, error) from None
    _refuse_other(path, before, asked)
    try:
        network.load_state_dict(_below("network.", tensors))
        optimiser = new_optimiser(network)
        moments = optimiser.state_dict()
        for name, tensor in _below("optimiser.", tensors).items():
            number, _, moment = name.partition(".")
            moments["state"].setdefault(int(number), {})[moment] = tensor
        optimiser.load_state_dict(moments)
        return State(
            network=network,
            optimiser=optimiser,
            best=_below("best.", tensors),
            mined=Pixels(tensors["mined.pixels"].numpy(), tensors["mined.labels"].numpy()),
            phase=header["phase"],
            history=[Epoch(**epoch) for epoch in header["history"]],
            rounds=[Round(**one) for one in header["rounds"]],
        )
    except Exception as error:
        raise _damaged(path, error) from None


def _below(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _refuse_other(path: Path, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(asked))
    differing = sorted(name for name in now.keys() | before if now.get(name) != before.get(name))
    if differing:
        changes = ", ".join(
            f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in differing
        )
        raise InputError(
            f"train --resume: {path} is of another training ({changes}); ask for the same, or "
            f"start again with --overwrite."
        )


def _damaged(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"train --resume: {path} is damaged ({first_line(error)}); start again with --overwrite."
    )
