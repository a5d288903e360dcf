"""Max pools over one axis, in a form that PyTorch exports with free sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

CALLS = (F.max_pool1d, torch.max_pool1d)


def with_free_lengths(model: nn.Module) -> nn.Module:
    """Return a module whose max pools over one axis can be traced for maps of any length.

    ``torch.max_pool1d`` computes with sizes as plain numbers, so a trace holds only for the length
    of its example (PyTorch 2.13). The pool that also returns indices keeps sizes free, and its
    values are the same.
    """
    if not isinstance(model, torch.fx.GraphModule):
        return model
    modules = dict(model.named_modules())
    pools = [node for node in model.graph.nodes if _is_pool(node, modules)]
    if not pools:
        return model
    changed = _Indexed(model).transform()
    changed.training = model.training
    return changed


def _is_pool(node: torch.fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], nn.MaxPool1d)
    return node.op == "call_function" and node.target in CALLS


class _Indexed(torch.fx.Transformer):
    """Copies a module, and replaces its max pools over one axis by pools with indices."""

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        pool = self.fetch_attr(target)
        if not isinstance(pool, nn.MaxPool1d) or pool.return_indices:
            return super().call_module(target, args, kwargs)
        moves = pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode
        return _values(*args, *moves)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target not in CALLS or kwargs.get("return_indices"):
            return super().call_function(target, args, kwargs)
        return _values(*args, **kwargs)


def _values(x: Any, *moves: Any, **named: Any) -> Any:
    values, _ = F.max_pool1d_with_indices(x, *moves, **named)
    return values
