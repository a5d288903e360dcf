"""Keras' layouts of filters, and the uses of each filter in a lifted network.

Inside, filters are ``(out, in // groups, *kernel)``, those of a transposed convolution ``(in, out,
*kernel)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from fullconv.frameworks.keras.calls import Array
from fullconv.graph.graph import Graph, Node, Recipe
from fullconv.operations import Convolution


def as_filters(kernel: Recipe) -> Recipe:
    """Turn a kernel ``(*kernel, in, out)``, or ``(*kernel, out, in)``, into filters."""
    axes = len(kernel.shape) - 2
    return kernel.permute(axes + 1, axes, *range(axes))


def as_depthwise_filters(kernel: Recipe) -> Recipe:
    """Turn a depthwise kernel ``(*kernel, C, M)`` into filters ``(C * M, 1, *kernel)``."""
    *size, channels, multiplier = kernel.shape
    axes = len(size)
    turned = kernel.permute(axes, axes + 1, *range(axes))
    return turned.reshape(channels * multiplier, 1, *size)


def as_kernel(filters: Array) -> Array:
    """Turn filters into a kernel ``(*kernel, in, out)``."""
    return filters.transpose(*range(2, filters.ndim), 1, 0)


def as_depthwise_kernel(filters: Array, multiplier: int) -> Array:
    """Turn filters ``(C * M, 1, *kernel)`` into a depthwise kernel ``(*kernel, C, M)``."""
    apart = filters.reshape(-1, multiplier, *filters.shape[2:])
    return apart.transpose(*range(2, apart.ndim), 0, 1)


@dataclass(frozen=True)
class Use:
    """One call of filters: its geometry, its cuts through them, and its bias.

    Attributes
    ----------
    operation : Convolution
        Stride, dilation, padding and groups of the call.
    cuts : tuple of (int, int, int)
        Axis, start and stop of every cut through the filters.
    bias : str or None
        The bias that is added.
    """

    operation: Convolution
    cuts: tuple[tuple[int, int, int], ...]
    bias: str | None


def use_of(graph: Graph, node: Node) -> tuple[Recipe, Use]:
    """Return the uncut filters of a convolution, and its use of them."""
    assert isinstance(node.operation, Convolution)
    whole, cuts = graph.constants[node.inputs[1] or ""].uncut()
    return whole, Use(node.operation, cuts, node.inputs[2])


def uses_of(graph: Graph) -> dict[Recipe, list[Use]]:
    """Return all uses of all filters, which are stored once each."""
    uses: dict[Recipe, list[Use]] = {}
    for node in graph.nodes:
        if isinstance(node.operation, Convolution):
            whole, use = use_of(graph, node)
            uses.setdefault(whole, []).append(use)
    return uses
