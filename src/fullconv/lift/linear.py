"""Rule: a fully connected layer is a convolution with kernels as large as the map."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Node, Recipe
from fullconv.graph.layout import Atom, AtomKind, Layout, features, order, sizes
from fullconv.lift.arranging import align
from fullconv.lift.contraction import combined
from fullconv.lift.convolution import contract_filters, parameters
from fullconv.lift.field import Field, Joined
from fullconv.lift.lifting import Lifting
from fullconv.lift.registry import EndsSharing, rule
from fullconv.operations import Linear


@rule(Linear)
def linear(lifting: Lifting, node: Node, operation: Linear) -> Field:
    """Lift a fully connected layer.

    Its input axis is a product of features and cells in the order in which the network flattened
    them; reshaped by that order its weights *are* the filters of a convolution with the native
    extent as kernel. The cells vanish: one vector per window is left. Over features alone the
    kernel is 1x1. Over several flattened maps it is a sum.

    Exact always. Ends sharing when some of the features stand on another axis.
    """
    x = lifting.shared(node.inputs[0])
    weight, bias = parameters(lifting, node)
    if isinstance(x, Field):
        return _contract(lifting, node, x, weight, bias)
    return _sum(lifting, node, x, weight, bias)


def _contract(
    lifting: Lifting,
    node: Node,
    x: Field,
    weight: Recipe,
    bias: Recipe | None,
) -> Field:
    axis = x.layout.axes[-1]
    if any(atom.kind is AtomKind.BATCH for atom in axis):
        raise EndsSharing("mixes the images of a batch")
    if {atom for atom in axis if not atom.spatial} != set(x.layout.stored):
        raise EndsSharing("reads some of the features at a time")
    cells = {atom.key: atom for atom in axis if atom.spatial}
    kernel = tuple(cells[index].size if index in cells else 1 for index in range(len(x.axes)))
    stored = (*x.layout.stored, *(cells[index] for index in sorted(cells)))
    filters = _filters(weight, axis, stored, kernel)
    result = contract_filters(lifting, node, x, cells, filters, bias)
    outputs = filters.shape[0]
    size = "x".join(map(str, (*kernel, filters.shape[1])))
    lifting.out.change(node, f"Conv{len(kernel)}d, {outputs} filters of {size}")
    axes = (*x.layout.axes[:-1], features(outputs))
    return replace(result, layout=Layout(axes, axes[-1]))


def _filters(
    weight: Recipe, axis: tuple[Atom, ...], stored: tuple[Atom, ...], kernel: Sizes
) -> Recipe:
    """Return weights ``(out, in)``, flattened as ``axis``, as filters ``(out, C, *kernel)``."""
    outputs = weight.shape[0]
    turned = tuple(1 + place for place in order(axis, stored))
    channels = weight.shape[1] // prod(kernel)
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
        piece = weight.take(1, start, start + size)
        terms.append(_contract(lifting, node, part, piece, None if terms else bias))
        start += size
    terms = align(lifting, terms)
    return terms[0].each(
        lambda where, _: combined(lifting, node, [term.parts[where] for term in terms], "sum")
    )
