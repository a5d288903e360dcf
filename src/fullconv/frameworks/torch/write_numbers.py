"""Write normalizations, softmax, and operations with a parameter per channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.writing import FxNode, Writing, writes
from fullconv.graph.graph import Node
from fullconv.operations import AlongAxis, ChannelNormalization, Identity, PerChannel

NORMS: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
"""Batch normalization by the number of axes of cells."""


@writes(Identity)
def write_identity(writing: Writing, node: Node, operation: Identity) -> FxNode:
    """Write nothing: return the value of the input."""
    value = writing.first(node)
    assert value is not None
    return value


@writes(PerChannel)
def write_per_channel(writing: Writing, node: Node, operation: PerChannel) -> FxNode:
    """Write batch normalization as a layer, and other calls as in the original."""
    call = node.source
    constant = all(n is None or n in writing.graph.constants for n in node.inputs[1:])
    if operation.name != "batch_norm" or node.per_window or not constant:
        return writing.repeat(node)
    weight, bias, mean, variance = (writing.constant(name) for name in node.inputs[1:5])
    assert mean is not None
    epsilon, momentum = call.args[7], call.args[6]
    module = NORMS[writing.axes[node.outputs[0]]](
        len(mean), epsilon, momentum, affine=weight is not None, device="meta"
    )
    module.running_mean, module.running_var = mean, variance
    module.num_batches_tracked = _batches_tracked(writing, node.inputs[3] or "", mean)
    if weight is not None and bias is not None:
        module.weight, module.bias = _parameter(weight), _parameter(bias)
    path = call.owner or node.name.replace(".", "_")
    if writing.written[id(call)] == 1:
        return writing.call_module(node, path, module)
    # A module that is called for every part would, in training, use each part's own statistics.
    path = writing.place(path, module)
    names = ("running_mean", "running_var", "weight", "bias")
    tensors = [
        None if getattr(module, name) is None else writing.fx.get_attr(f"{path}.{name}")
        for name in names
    ]
    x = writing.first(node)
    return writing.function(F.batch_norm, x, *tensors, False, momentum, epsilon)


def _batches_tracked(writing: Writing, mean_name: str, mean: torch.Tensor) -> torch.Tensor:
    """Return the counter beside a running mean, which no operation reads in eval mode."""
    path = writing.source.weights[writing.graph.constants[mean_name].source].path
    wanted = f"{path.rpartition('.')[0]}.num_batches_tracked".lstrip(".")
    for weight in writing.source.weights.values():
        if weight.path == wanted:
            return weight.tensor
    return torch.zeros((), dtype=torch.long, device=mean.device)


@writes(AlongAxis)
def write_along_axis(writing: Writing, node: Node, operation: AlongAxis) -> FxNode:
    """Write softmax, or a similar operation, along the present axis of its features."""
    call = node.source
    as_it_is = node.per_window and operation == call.operation
    if as_it_is or not hasattr(call.target, "_schema"):
        return writing.repeat(node)
    kind = {"softmax": nn.Softmax, "log_softmax": nn.LogSoftmax}.get(operation.name)
    if call.owner and kind is not None:
        return writing.call_module(node, call.owner, kind(dim=operation.axis))
    return writing.repeat(node, {"dim": operation.axis})


@writes(ChannelNormalization)
def write_channel_normalization(
    writing: Writing, node: Node, operation: ChannelNormalization
) -> FxNode:
    """Write layer normalization over the channels of every cell."""
    return writing.apply(node, functional.channel_norm, operation.epsilon)


def _parameter(tensor: torch.Tensor) -> nn.Parameter:
    return tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, False)
