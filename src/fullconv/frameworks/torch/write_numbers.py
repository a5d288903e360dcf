"""Write normalizations, softmax, and what scales channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.values import FxNode, Values, writes
from fullconv.graph import Node
from fullconv.operations import AlongAxis, ChannelNormalization, Identity, PerChannel

NORMS: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
"""Batch normalization by the number of axes of cells."""


class Numbers(Values):
    """What changes numbers and leaves them in their places."""

    @writes(Identity)
    def write_identity(self, operation: Identity, node: Node) -> FxNode:
        value = self._value(node.inputs[0])
        assert value is not None
        return value

    @writes(PerChannel)
    def write_per_channel(self, operation: PerChannel, node: Node) -> FxNode:
        call = node.source
        constant = all(n is None or n in self.graph.constants for n in node.inputs[1:])
        if operation.name != "batch_norm" or node.per_window or not constant:
            return self._clone(node, {})
        weight, bias, mean, variance = (self._constant(name) for name in node.inputs[1:5])
        assert mean is not None
        epsilon, momentum = call.args[7], call.args[6]
        module = NORMS[self.axes[node.outputs[0]]](
            len(mean), epsilon, momentum, affine=weight is not None, device="meta"
        )
        module.running_mean, module.running_var = mean, variance
        module.num_batches_tracked = self._batches_tracked(node.inputs[3] or "", mean)
        if weight is not None and bias is not None:
            module.weight, module.bias = _parameter(weight), _parameter(bias)
        path = self._place(call.owner or node.name.replace(".", "_"), module)
        x = self._value(node.inputs[0])
        if self.written[id(call)] == 1:
            return self.fx.call_module(path, (x,))
        # Called for every part, a module in training mode would take each part's own statistics.
        names = ("running_mean", "running_var", "weight", "bias")
        tensors = [
            None if getattr(module, name) is None else self.fx.get_attr(f"{path}.{name}")
            for name in names
        ]
        return self._function(F.batch_norm, x, *tensors, False, momentum, epsilon)

    def _batches_tracked(self, mean_name: str, mean: torch.Tensor) -> torch.Tensor:
        """Return the counter beside a running mean, which no operation reads in eval mode."""
        path = self.source.weights[self.graph.constants[mean_name].source].path
        wanted = f"{path.rpartition('.')[0]}.num_batches_tracked".lstrip(".")
        for weight in self.source.weights.values():
            if weight.path == wanted:
                return weight.tensor
        return torch.zeros((), dtype=torch.long, device=mean.device)

    @writes(AlongAxis)
    def write_along_axis(self, operation: AlongAxis, node: Node) -> FxNode:
        call = node.source
        as_it_is = node.per_window and operation == call.operation
        if as_it_is or not hasattr(call.target, "_schema"):
            return self._clone(node, {})
        kind = {"softmax": nn.Softmax, "log_softmax": nn.LogSoftmax}.get(operation.name)
        if call.owner and kind is not None:
            return self._call_module(node, call.owner, kind(dim=operation.axis))
        return self._clone(node, {"dim": operation.axis})

    @writes(ChannelNormalization)
    def write_channel_normalization(self, operation: ChannelNormalization, node: Node) -> FxNode:
        return self._function(functional.channel_norm, *self._inputs(node), operation.epsilon)


def _parameter(tensor: torch.Tensor) -> nn.Parameter:
    return tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, False)
