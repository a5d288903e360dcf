"""Write reductions, concatenations, slices, padding, reshapes and permutations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from fullconv.frameworks.torch.writing import FxNode, Writing, writes
from fullconv.graph.graph import Node
from fullconv.operations import Concat, Pad, Permute, Reduce, Reshape, Slice

TOTALS: dict[str, Callable[..., Any]] = {"mean": torch.mean, "sum": torch.sum, "max": torch.amax}
SPREADS: dict[str, Callable[..., Any]] = {"var": torch.var, "std": torch.std}


@writes(Reduce)
def write_reduce(writing: Writing, node: Node, operation: Reduce) -> FxNode:
    """Write a reduction over axes of a tensor."""
    axes, kept = operation.axes, operation.keepdims
    if operation.kind in SPREADS:
        given = {"correction": operation.correction, "keepdim": kept}
        return writing.function(SPREADS[operation.kind], writing.first(node), axes, **given)
    if operation.kind == "l2":
        return writing.apply(node, torch.linalg.vector_norm, 2, axes, kept)
    return writing.apply(node, TOTALS[operation.kind], axes, kept)


@writes(Concat)
def write_concat(writing: Writing, node: Node, operation: Concat) -> FxNode:
    """Write a concatenation."""
    return writing.function(torch.cat, writing.inputs(node), operation.axis)


@writes(Slice)
def write_slice(writing: Writing, node: Node, operation: Slice) -> FxNode:
    """Write a cut along one axis of a tensor."""
    index = [slice(None)] * operation.axis
    index.append(slice(operation.start, operation.stop, operation.step))
    return writing.apply(node, _getitem, tuple(index))


@writes(Pad)
def write_pad(writing: Writing, node: Node, operation: Pad) -> FxNode:
    """Write padding."""
    numbers = tuple(n for pair in reversed(operation.pads) for n in pair)
    # Where PyTorch mirrors or repeats cells, it needs the numbers of all axes of cells.
    cells = len(operation.pads) - 2
    while numbers[-2:] == (0, 0) and len(numbers) > 2 * cells:
        numbers = numbers[:-2]
    value = operation.value if operation.mode == "constant" else None
    return writing.apply(node, F.pad, numbers, operation.mode, value)


@writes(Reshape)
def write_reshape(writing: Writing, node: Node, operation: Reshape) -> FxNode:
    """Write a reshape of one tensor per window."""
    return writing.apply(node, torch.reshape, operation.shape)


@writes(Permute)
def write_permute(writing: Writing, node: Node, operation: Permute) -> FxNode:
    """Write a permutation of one tensor per window."""
    return writing.apply(node, torch.permute, operation.order)


def _getitem(x: torch.Tensor, index: tuple[slice, ...]) -> torch.Tensor:
    return x[index]
