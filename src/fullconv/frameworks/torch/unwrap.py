"""Unwrap the regions of a program under autocast, or with gradients switched on or off."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch

from fullconv.errors import ModelError

FxNode = torch.fx.Node


def unwrapped(module: torch.fx.GraphModule) -> torch.fx.Graph:
    """Return a program's graph with the bodies of wrapped regions in their places.

    A region without gradients computes the same, and so does one that switches autocast off.

    Raises
    ------
    ModelError
        If a region switches autocast on.
    """
    if all(_region(node) is None for node in module.graph.nodes):
        return module.graph
    graph = torch.fx.Graph()
    graph.output(_append(graph, module, {}))
    return graph


def _append(graph: torch.fx.Graph, module: Any, known: dict[FxNode, Any]) -> Any:
    """Copy the nodes of a module that are not yet known; return the module's result."""
    for node in module.graph.nodes:
        region = _region(node)
        if region is not None:
            body, inputs = region
            inner = getattr(module, str(body.target))
            places = (n for n in inner.graph.nodes if n.op == "placeholder")
            given = {place: known[x] for place, x in zip(places, inputs, strict=True)}
            known[node] = _append(graph, inner, given)
        elif node.op == "output":
            return torch.fx.node.map_arg(node.args[0], known.__getitem__)
        elif node.target is operator.getitem and not isinstance(known[node.args[0]], FxNode):
            known[node] = known[node.args[0]][node.args[1]]
        elif node not in known and not _is_body(node):
            known[node] = graph.node_copy(node, known.__getitem__)
    return None


def _is_body(node: FxNode) -> bool:
    return node.op == "get_attr" and all(_region(user) is not None for user in node.users)


def _region(node: FxNode) -> tuple[FxNode, Sequence[Any]] | None:
    """Return the body of a wrapped region and its inputs; None for other nodes."""
    if node.target is torch.ops.higher_order.wrap_with_set_grad_enabled:
        _, body, *inputs = node.args
    elif node.target is torch.ops.higher_order.wrap_with_autocast:
        device, _, enabled, _, body, *inputs = node.args
        if enabled:
            raise ModelError(
                f"convert: the model switches autocast on for {device} in its own forward, so its "
                f"scores depend on the kind of machine; take torch.autocast out of the model."
            )
    else:
        return None
    assert isinstance(body, FxNode)
    return body, inputs
