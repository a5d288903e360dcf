"""The writer of ONNX where Keras calls things otherwise than ONNX; the rest is its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from fullconv.errors import ExportError
from fullconv.frameworks.keras.calls import Array
from fullconv.frameworks.onnx.write import Writer
from fullconv.graph import Node
from fullconv.operations import Operation
from fullconv.table import Table

Kind = TypeVar("Kind", bound=Operation)
Write = Callable[["KerasWriter", Kind, Node], ir.Value | None]
"""Writes an operation of Keras; None where ONNX has none such."""

_forms: Table[type[Operation], Write[Any]] = Table("a form in ONNX")


def in_onnx(operation: type[Kind]) -> Callable[[Write[Kind]], Write[Kind]]:
    """Register what writes an operation that Keras calls otherwise than ONNX."""
    return _forms(operation)


class KerasWriter(Writer):
    """Writes a graph that was read from Keras."""

    def _clone(
        self,
        node: Node,
        attributes: dict[str, Any] | None = None,
        changed: Mapping[int, ir.Value] | None = None,
    ) -> ir.Value:
        write = _forms.find(type(node.operation))
        written = None if write is None else write(self, node.operation, node)
        if written is None:
            raise ExportError(
                f"save: {node.kind} {node.name!r} has no form in ONNX here; save the model as "
                f".keras, or write that layer with Keras' own."
            )
        return written

    def emit(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> ir.Value:
        """Write one operator."""
        return self._emit(kind, inputs, attributes, name)

    def inputs(self, node: Node) -> list[ir.Value | None]:
        """Return a node's inputs."""
        return self._inputs(node)

    def array(self, name: str | None) -> Array:
        """Return a parameter, rearranged."""
        recipe = self.graph.constants[name or ""]
        array: Array = recipe.apply(self._array(recipe.source))
        return array

    def held(self, name: str | None, array: Array) -> ir.Value:
        """Return a constant under a name of its own."""
        return self._initializer(self._unique(name or "fullconv/value"), array)

    def number(self, value: float) -> ir.Value:
        """Return a constant number."""
        return self.held(None, np.array(value, dtype=self._dtype()))

    def ones(self, *shape: int) -> ir.Value:
        """Return a constant of ones."""
        return self.held("fullconv/ones", np.ones(shape, dtype=self._dtype()))

    def zeros(self, *shape: int) -> ir.Value:
        """Return a constant of zeros."""
        return self.held("fullconv/zeros", np.zeros(shape, dtype=self._dtype()))

    def whole(self, *numbers: int) -> ir.Value:
        """Return a constant vector of whole numbers."""
        return self._numbers(*numbers)

    def rank(self, node: Node) -> int:
        """Count the axes of a node's first input."""
        return len(self.graph.shapes[node.first or ""])
