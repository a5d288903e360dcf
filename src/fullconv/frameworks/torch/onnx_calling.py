"""A call of an ATen function that is being written as ONNX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch

from fullconv.frameworks.torch.reader import Slot
from fullconv.graph.graph import Node
from fullconv.graph.table import Table

if TYPE_CHECKING:
    from fullconv.frameworks.torch.onnx_layers import TorchWriting


@dataclass(frozen=True)
class Calling:
    """One call that is being written.

    Attributes
    ----------
    given : dict of str to object
        Its arguments by name, with a `Slot` for every tensor.
    result : torch.dtype
        The type of its result.
    """

    writing: TorchWriting
    node: Node
    given: dict[str, Any]
    result: torch.dtype

    def emit(self, kind: str, *inputs: ir.Value | None, **settings: Any) -> ir.Value:
        """Write one operator."""
        return self.writing.emit(kind, inputs, settings, self.node.name)

    def type(self, name: str) -> torch.dtype | None:
        """Return the type of a tensor argument; None for a plain number."""
        argument = self.given[name]
        if not isinstance(argument, Slot):
            return None
        return self.writing.types[self.node.inputs[argument.index] or ""]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor argument, for the example image."""
        return self.writing.graph.shapes[self.node.inputs[self.given[name].index] or ""]

    def operand(self, name: str, kind: torch.dtype | None = None) -> ir.Value:
        """Return an argument, cast to a type; by default to the type of the result."""
        argument, kind = self.given[name], kind or self.result
        if not isinstance(argument, Slot):
            return self.number(argument, kind)
        value = self.writing.value(self.node.inputs[argument.index])
        assert value is not None
        own = self.type(name)
        return value if own == kind else self.cast(value, kind)

    def operands(self, *names: str) -> list[ir.Value]:
        """Return arguments, cast to the type of the result."""
        return [self.operand(name) for name in names]

    def number(self, value: Any, kind: torch.dtype | None = None) -> ir.Value:
        """Return a plain number as a constant of a type; by default of the result's."""
        numbers = np.array(value).astype(self.writing.kind(kind or self.result).numpy())
        return self.writing.held("fullconv/number", numbers)

    def cast(self, value: ir.Value, kind: torch.dtype) -> ir.Value:
        """Cast a value to another type."""
        return self.writing.emit("Cast", [value], {"to": self.writing.kind(kind)})


Function = Callable[[Calling], ir.Value | None]
"""Writes a call; returns None where ONNX has no form for it."""

functions = Table[str, Function]("a form in ONNX")
"""By the names of the ATen functions."""
