"""Rule: a fully connected layer is a convolution with kernels as large as the map."""

from __future__ import annotations

from dataclasses import replace

from fullconv.graph import Node, Recipe
from fullconv.layout import Atom, Kind, Layout, features, order, sizes
from fullconv.lift.contraction import combined
from fullconv.lift.convolution import contract_filters
from fullconv.lift.field import Field, Joined
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import Linear


@rule(Linear)
def linear(lifting: Lifting, node: Node) -> Field:
    """Lift a fully connected layer.

    Its input axis is a product of features, rows and columns in the order in which the network
    flattened them; reshaped by that order its weights *are* the filters of a convolution with the
    native extent as kernel (design: lifting). Rows and columns vanish: one vector per window is
    left. Over features alone the kernel is 1x1. Over several flattened maps it is a sum.

    Exact always. Ends sharing when some of the features stand on another axis.
    """
    x = lifting.shared(node.inputs[0])
    weight, bias = (lifting.parameter(name) for name in node.inputs[1:3])
    if weight is None:
        raise EndsSharing("has no weights")
    if isinstance(x, Field):
        return _contract(lifting, node, x, weight, bias)
    return _sum(lifting, node, x, weight, bias)


def _contract(
    lifting: Lifting,
    node: Node,
    x: Field,
    weight: Recipe,
    bias: Recipe | None,
    *,
    final: bool = True,
) -> Field:
    axis = x.layout.axes[-1]
    if any(atom.kind is Kind.BATCH for atom in axis):
        raise EndsSharing("mixes the images of a batch")
    if {atom for atom in axis if not atom.spatial} != set(x.layout.stored):
        raise EndsSharing("reads some of the features at a time")
    rows, columns = (
        next((atom for atom in axis if atom.kind is kind), None)
        for kind in (Kind.ROWS, Kind.COLUMNS)
    )
    kernel = (rows.size if rows else 1, columns.size if columns else 1)
    filters = _filters(weight, axis, (*x.layout.stored, *filter(None, (rows, columns))), kernel)
    over = rows is not None, columns is not None
    result = contract_filters(lifting, node, x, over, filters, bias, final=final)
    outputs, channels = filters.shape[:2]
    lifting.change(node, f"Conv2d, {outputs} filters of {kernel[0]}x{kernel[1]}x{channels}")
    axes = (*x.layout.axes[:-1], features(outputs))
    return replace(result, layout=Layout(axes, axes[-1]))


def _filters(
    weight: Recipe, axis: tuple[Atom, ...], stored: tuple[Atom, ...], kernel: tuple[int, int]
) -> Recipe:
    """Weights ``(out, in)`` as filters ``(out, C, kh, kw)``; ``in`` is flattened as ``axis`` is."""
    outputs = weight.shape[0]
    turned = tuple(1 + place for place in order(axis, stored))
    channels = weight.shape[1] // (kernel[0] * kernel[1])
    return (
        weight.reshape(outputs, *sizes(axis))
        .permute(0, *turned)
        .reshape(outputs, channels, *kernel)
    )


def _sum(lifting: Lifting, node: Node, x: Joined, weight: Recipe, bias: Recipe | None) -> Field:
    if x.axis != len(x.fields[0].layout.axes) - 1:
        raise EndsSharing("works on several flattened maps at once")
    start = 0
    terms: list[Field] = []
    for part in x.fields:
        size = part.layout.shape[x.axis]
        columns = weight.take(1, start, start + size)
        terms.append(_contract(lifting, node, part, columns, None if terms else bias, final=False))
        start += size
    terms = lifting.align(terms)
    return terms[0].each(
        lambda where, _: combined(lifting, node, [term.parts[where] for term in terms], "sum")
    )
