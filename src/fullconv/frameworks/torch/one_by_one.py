"""Run a piece of a classifier on each window alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class OneByOne(nn.Module):
    """Runs a piece of a classifier, which may mix all of its inputs, on each window alone.

    Attributes
    ----------
    piece : torch.fx.GraphModule
        The piece, from native tensors to a tuple of native tensors.
    each : tuple of bool
        True for each input that differs from window to window: ``(windows, *shape)``.
    code : str
        The Python code of the piece, which distinguishes it from others.
    """

    def __init__(self, piece: torch.fx.GraphModule, each: Sequence[bool]) -> None:
        super().__init__()
        self.piece, self.each, self.code = piece, tuple(each), piece.code

    def extra_repr(self) -> str:
        """Return the settings that distinguish this piece from others."""
        return f"each={self.each}, {self.code}"

    def forward(self, *inputs: Tensor) -> Any:
        """Return the piece's results, ``(windows, *shape)`` each: a tuple, or a single tensor."""
        apart = [x for x, one in zip(inputs, self.each, strict=True) if one]
        if torch.compiler.is_exporting():
            results = self._exported(apart, inputs)
        else:
            per_window = [self._on(window, inputs) for window in zip(*apart, strict=True)]
            results = tuple(map(torch.stack, zip(*per_window, strict=True)))
        return results[0] if len(results) == 1 else results

    def _on(self, window: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        left = iter(window)
        given = (next(left) if one else x for x, one in zip(inputs, self.each, strict=True))
        results: tuple[Tensor, ...] = self.piece(*given)
        return results

    def _exported(self, apart: Sequence[Tensor], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        # A Python loop would be traced for the number of windows of the example.
        from torch._higher_order_ops.map import map as each_of

        def on_one(window: Any, *_: Any) -> Any:
            return self._on(window, inputs)

        # `map` refuses two views of one tensor, so it gets copies.
        results: tuple[Tensor, ...] = each_of(on_one, tuple(x.clone() for x in apart))
        return results
