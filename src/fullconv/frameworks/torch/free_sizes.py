"""Derive an operation for images of every size from the same operation for two sizes.

Note [Sizes that are free]
A flat graph is read twice, for images of two sizes. A number that differs between the two readings
is a free size: the end of a slice, or a size in a reshape. An operation with a free size anywhere
else has no form for images of every size, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from fullconv.errors import ExportError
from fullconv.graph.graph import Alone, Node
from fullconv.operations import (
    AlongAxis,
    Opaque,
    PerChannel,
    Pointwise,
    Reshape,
    Slice,
)

END = torch.iinfo(torch.int64).max
"""End of a slice that goes to the end of its axis, whatever the size."""


def freed(one: Node, other: Node, shapes: Any, larger: Any) -> Node:
    """Return a node for images of every size, from the nodes for two sizes.

    Raises
    ------
    ExportError
        If there is none; see Note [Sizes that are free].
    """
    a, b = one.operation, other.operation
    if isinstance(a, Alone) and isinstance(b, Alone):
        return one
    name = one.first or ""
    if isinstance(a, Reshape) and isinstance(b, Reshape):
        a = b = Reshape(_free_shape(a.shape, b.shape, shapes[name], larger[name]))
    elif isinstance(a, Slice) and isinstance(b, Slice) and a.stop != b.stop:
        sizes = shapes[name][a.axis], larger[name][a.axis]
        if (a.stop, b.stop) == sizes:
            a = b = replace(a, stop=END)
        elif a.stop - sizes[0] == b.stop - sizes[1]:
            a, b = replace(a, stop=a.stop - sizes[0]), replace(b, stop=b.stop - sizes[1])
    elif isinstance(a, Opaque) and isinstance(b, Opaque):
        a, b = replace(a, products=0), replace(b, products=0)  # which grow with the images
    by_call = isinstance(a, AlongAxis | Opaque | PerChannel | Pointwise)
    if a != b or (by_call and one.source.args != other.source.args):
        raise ExportError(
            f"save: {one.kind or a.title} {one.name!r} is made for images of one size; save the "
            f"model as .pt2."
        )
    return replace(one, operation=a)


def _free_shape(
    one: Sequence[int], other: Sequence[int], given: Sequence[int], larger: Sequence[int]
) -> tuple[int, ...]:
    """Return a shape with 0 for sizes copied from the input's same axis, and -1 for a free size."""
    sizes = list(one)
    differ = [axis for axis, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    for axis in differ if len(differ) > 1 else ():
        if axis < len(given) and (one[axis], other[axis]) == (given[axis], larger[axis]):
            sizes[axis] = 0
    for axis in differ:
        if sizes[axis]:
            sizes[axis] = -1
    return tuple(sizes)
