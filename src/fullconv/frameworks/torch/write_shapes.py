"""Write what reduces, joins, cuts, pads and moves axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from fullconv.frameworks.torch.values import FxNode, Values, writes
from fullconv.graph import Node
from fullconv.operations import Concat, Pad, Permute, Reduce, Reshape, Slice


class Shapes(Values):
    """Operations on the axes of a tensor."""

    @writes(Reduce)
    def write_reduce(self, operation: Reduce, node: Node) -> FxNode:
        targets: dict[str, Callable[..., Any]] = {
            "mean": torch.mean,
            "sum": torch.sum,
            "max": torch.amax,
        }
        x = self._value(node.inputs[0])
        if operation.kind in ("var", "std"):
            spread = {"var": torch.var, "std": torch.std}[operation.kind]
            given = {"correction": operation.correction, "keepdim": operation.keepdims}
            return self._function(spread, x, operation.axes, **given)
        if operation.kind == "l2":
            norm = torch.linalg.vector_norm
            return self._function(norm, x, 2, operation.axes, operation.keepdims)
        target = targets[operation.kind]
        return self._function(target, x, operation.axes, operation.keepdims)

    @writes(Concat)
    def write_concat(self, operation: Concat, node: Node) -> FxNode:
        return self._function(torch.cat, self._inputs(node), operation.axis)

    @writes(Slice)
    def write_slice(self, operation: Slice, node: Node) -> FxNode:
        index = [slice(None)] * operation.axis
        index.append(slice(operation.start, operation.stop, operation.step))
        return self._function(_getitem, self._value(node.inputs[0]), tuple(index))

    @writes(Pad)
    def write_pad(self, operation: Pad, node: Node) -> FxNode:
        numbers = tuple(n for pair in reversed(operation.pads) for n in pair)
        # PyTorch takes two axes at least where it mirrors or repeats.
        while numbers[-2:] == (0, 0) and len(numbers) > 4:
            numbers = numbers[:-2]
        value = operation.value if operation.mode == "constant" else None
        return self._function(F.pad, self._value(node.inputs[0]), numbers, operation.mode, value)

    @writes(Reshape)
    def write_reshape(self, operation: Reshape, node: Node) -> FxNode:
        return self._function(torch.reshape, self._value(node.inputs[0]), operation.shape)

    @writes(Permute)
    def write_permute(self, operation: Permute, node: Node) -> FxNode:
        return self._function(torch.permute, self._value(node.inputs[0]), operation.order)


def _getitem(x: torch.Tensor, index: tuple[slice, ...]) -> torch.Tensor:
    return x[index]
