"""The network to train: the one that `fitting` makes for the window, or the user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from fullconv.errors import FullconvError, ModelError, first_line
from fullconv.training.fitting import fit
from fullconv.training.network import WindowNetwork
from fullconv.training.pixels import CropFormat
from fullconv.training.settings import code_name

Build = Callable[..., Any]


def build_network(
    own: Build | None, kind: CropFormat, classes: int, seed: int, convolutional: bool
) -> nn.Module:
    """Return an untrained network ``(N, C, h, w)`` to ``(N, K)`` scores before the softmax.

    A user's own callable may take any of ``classes``, ``channels`` and ``window`` by name, and
    gets those that it names. The seed decides the initial weights.

    Raises
    ------
    WindowError
        If the window is too small or too large for a network of ours.
    ModelError
        If a user's own network fails, or does not return such scores.
    """
    torch.manual_seed(seed)
    if own is None:
        return WindowNetwork(fit(kind.window), kind.channels, classes, convolutional=convolutional)
    given = {"classes": classes, "channels": kind.channels, "window": kind.window}
    named = code_name(own)
    try:
        wanted = inspect.signature(own).parameters
        takes_all = any(one.kind is one.VAR_KEYWORD for one in wanted.values())
        network = own(**{name: given[name] for name in given if takes_all or name in wanted})
    except FullconvError:
        raise
    except Exception as error:
        raise ModelError(
            f"train --arch {named}: calling it failed with {type(error).__name__}: "
            f"{first_line(error)}. Name a function that returns the network; it may take classes, "
            f"channels and window by name."
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"train --arch {named}: expected a callable that returns a torch.nn.Module; it "
            f"returned {type(network).__module__}.{type(network).__qualname__}."
        )
    _check_scores(network, named, kind, classes)
    return network


def _check_scores(network: nn.Module, named: str, kind: CropFormat, classes: int) -> None:
    """Require one score for each class, before the softmax, and weights that can be learnt."""
    h, w = kind.window
    if not any(weight.requires_grad for weight in network.parameters()):
        raise ModelError(f"train --arch {named}: the network has no weights that could be learnt.")
    was_training = network.training
    network.eval()
    crops = torch.randn(4, kind.channels, h, w, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            scores = network(crops)
    except Exception as error:
        raise ModelError(
            f"train --arch {named}: it does not take crops of {kind.channels} channels and {w}x{h} "
            f"pixels ({first_line(error)}); choose another window, or mend the network."
        ) from error
    finally:
        network.train(was_training)
    if not isinstance(scores, torch.Tensor) or scores.shape != (4, classes):
        came = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ModelError(
            f"train --arch {named}: expected {classes} scores for a crop, one for each class "
            f"folder, as (N, {classes}); for 4 crops came {came}."
        )
    if bool((scores >= 0).all()) and torch.allclose(scores.sum(1), torch.ones(4)):
        raise ModelError(
            f"train --arch {named}: it ends in a softmax, and training needs the scores before it; "
            f"leave the softmax out, the model file gets one."
        )
