"""Random weights that keep every layer alive, so that a wrong cell shows in the scores.

Note [Alive]: as a library builds it, a network may be almost blind: scales of residual branches
start at 0 or 1e-6, BatchNorm passes its input on, and the last layer starts near 0. A comparison
of its scores could not fail. So whatever is constant is drawn anew, BatchNorm is given statistics
that lie about those of the picture, as a training set's would, and the last layer is scaled so
that scores have a standard deviation of 1. `trial` measures whether it was enough.

Note [Faint channels]: what BatchNorm divides by is at least `FAINT` of the mean variance of its
layer, so that a channel which the crops hardly excite is not blown up where others do. In a network
of very many layers even that can grow beyond all bounds from one to the next; it is then given the
statistics of the crops themselves, and the mean variance for all channels that have less.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

FAINT, EVEN = 0.01, 1.0
"""Least variance of a channel, in parts of its layer's mean; see Note [Faint channels]."""


def enliven(model: nn.Module, crops: Tensor, least: float = FAINT) -> None:
    """Give a model random weights that behave like trained ones, and put it into eval mode.

    Parameters
    ----------
    crops : torch.Tensor
        Some windows ``(N, C, h, w)`` of the picture that will be scored.
    least : float
        See Note [Faint channels].
    """
    draw = torch.Generator().manual_seed(0)
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            _draw(parameter, draw)
        _calibrate(model, crops, draw, least)
        _spread(model, crops)


def enliven_keras(model: Any, crops: Tensor, least: float = FAINT) -> None:
    """Do the same to a functional model of Keras, on PyTorch, and crops ``(N, h, w, C)``."""
    import keras

    draw = torch.Generator().manual_seed(0)
    norms = keras.layers.BatchNormalization

    def called(operation: Any) -> Any:
        def call(x: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(operation, keras.Sequential):
                return operation._functional._run_through_graph([x], called)
            if isinstance(operation, norms):
                over = list(range(x.ndim - 1))
                held = operation.moving_mean.value, operation.moving_variance.value
                _lie(*held, x, over, draw, least)
            return operation(x, *args, **kwargs)

        return call

    with torch.no_grad():
        for variable in model.trainable_variables:
            _draw(variable.value, draw)
        scores = model._run_through_graph([crops], called)
        deviation = (scores - scores.mean(0)).std()
        classes = scores.shape[1]
        kernels = [v.value for v in model.trainable_variables if v.name == "kernel"]
        last = [kernel for kernel in kernels if kernel.shape[-1] == classes]
        if last and deviation > 0 and torch.isfinite(deviation):
            last[-1].data /= deviation


def _draw(parameter: Tensor, draw: torch.Generator) -> None:
    """Draw anew what a library starts as a constant."""
    if not parameter.is_floating_point() or not parameter.numel():
        return
    low, high = parameter.min(), parameter.max()
    if low != high and parameter.dim():
        return
    if parameter.dim() > 1 and parameter.shape[0] > 1 and low.abs() < 0.5:
        fan_in = parameter[0].numel()
        parameter.normal_(0, (1 / fan_in) ** 0.5, generator=draw)
    elif low.abs() < 1e-8 and parameter.dim():
        parameter.normal_(0, 0.2, generator=draw)
    else:
        # A scale; that of a residual branch starts near 0.
        centre = max(float(low.abs()), 0.3)
        parameter.uniform_(0.5 * centre, 1.5 * centre, generator=draw)


def _calibrate(model: nn.Module, crops: Tensor, draw: torch.Generator, least: float) -> None:
    """Set every BatchNorm's statistics to about those of what the crops give it.

    Each is set as the crops arrive, so that what one is off does not grow from layer to layer.
    """
    left = [
        module.register_forward_pre_hook(functools.partial(_remember, draw=draw, least=least))
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if left:
        model(crops)
    for hook in left:
        hook.remove()


def _remember(norm: nn.Module, inputs: tuple[Tensor], draw: torch.Generator, least: float) -> None:
    """Set the statistics of one BatchNorm to about those of its input."""
    (x,) = inputs
    over = [axis for axis in range(x.dim()) if axis != 1]
    _lie(norm.running_mean, norm.running_var, x, over, draw, least)


def _lie(
    mean: Tensor,
    variance: Tensor,
    x: Tensor,
    over: list[int],
    draw: torch.Generator,
    least: float,
) -> None:
    """Give statistics about the values of those of `x`."""
    true_variance, true_mean = torch.var_mean(x, over)
    true_variance = true_variance.clamp(min=least * float(true_variance.mean()) + 1e-8)
    spread = true_variance.sqrt()
    much = float(least < EVEN)
    mean.copy_(true_mean + 0.2 * much * spread * torch.randn(spread.shape, generator=draw))
    octaves = much * torch.empty_like(spread).uniform_(-1, 1, generator=draw)
    variance.copy_(true_variance * 2**octaves)


def _spread(model: nn.Module, crops: Tensor) -> None:
    """Scale the last layer so that the crops' scores have a standard deviation of 1."""
    heads = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    scores = model(crops)
    if not isinstance(scores, Tensor):
        return
    classes = scores.shape[1]
    last = [head for head in heads if head.weight.shape[0] == classes]
    deviation = (scores - scores.mean(0)).std()
    if last and deviation > 0 and torch.isfinite(deviation):
        last[-1].weight /= deviation
