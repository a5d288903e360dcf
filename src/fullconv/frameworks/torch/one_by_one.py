"""A piece of a classifier on each window alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class OneByOne(nn.Module):
    """Runs a piece of a classifier, which may mix what it is given, on each window alone.

    Attributes
    ----------
    piece : torch.fx.GraphModule
        From native tensors to a tuple of native tensors.
    each : tuple of bool
        Which of its inputs differ from window to window: those are ``(windows, *shape)``.
    code : str
        The piece's own, by which one is told from another.
    """

    def __init__(self, piece: torch.fx.GraphModule, each: Sequence[bool]) -> None:
        super().__init__()
        self.piece, self.each, self.code = piece, tuple(each), piece.code

    def extra_repr(self) -> str:
        """Return what tells it from others."""
        return f"each={self.each}, {self.code}"

    def forward(self, *inputs: Tensor) -> Any:
        """Return the piece's results, ``(windows, *shape)`` each; one of them by itself."""
        apart = [x for x, one in zip(inputs, self.each, strict=True) if one]
        if torch.compiler.is_exporting():
            results = self._exported(apart, inputs)
        else:
            found = [self._on(window, inputs) for window in zip(*apart, strict=True)]
            results = tuple(map(torch.stack, zip(*found, strict=True)))
        return results[0] if len(results) == 1 else results

    def _on(self, window: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        left = iter(window)
        given = (next(left) if one else x for x, one in zip(inputs, self.each, strict=True))
        results: tuple[Tensor, ...] = self.piece(*given)
        return results

    def _exported(self, apart: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        # A loop would be traced for as many windows as the example has.
        from torch._higher_order_ops.map import map as each_of

        def on_one(window: Any, *_: Any) -> Any:
            return self._on(window, inputs)

        # Copies: it takes no two views of one tensor.
        results: tuple[Tensor, ...] = each_of(on_one, tuple(x.clone() for x in apart))
        return results
