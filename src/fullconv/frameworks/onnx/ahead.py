"""Operators that are inserted into an ONNX model ahead of a node, which they will replace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from fullconv.errors import ModelError
from fullconv.frameworks.onnx.cloning import Cloning, Values

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.infer import Inference


class Ahead:
    """Inserts operators ahead of others, and infers their results."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.graph = inference.model.graph
        self.cloning = Cloning(inference.model)

    def number(self, array: np.ndarray) -> ir.Value:
        """Return a new constant."""
        value = self.cloning.constant(array)
        self.inference.add_weight(value)
        self.inference.constants[value.name or ""] = array
        return value

    def emit(
        self, node: ir.Node, kind: str, inputs: Values, result: str | None = None, **given: Any
    ) -> ir.Value:
        """Insert an operator with these attributes ahead of a node; return its result."""
        made = self.cloning.node(kind, inputs, given, result)
        self._put(node, made)
        return made.outputs[0]

    def entry(self, node: ir.Node, value: ir.Value | None, axis: int, place: int) -> ir.Value:
        """Return one entry of a tensor along an axis, without that axis."""
        index = self.number(np.array(place, np.int64))
        return self.emit(node, "Gather", [value, index], axis=axis)

    def written(self, node: ir.Node, graph: ir.Graph, inputs: Values) -> Values:
        """Write a copy of an inner graph ahead of the node that has it; return its outputs."""
        if len(inputs) != len(graph.inputs):
            raise refused(node, f"gives {len(inputs)} values to a graph of {len(graph.inputs)}")
        copied = self.cloning.copy(graph, inputs)
        for value in copied.weights:
            self.inference.add_weight(value)
        for inner in copied.nodes:
            self._put(node, inner)
        return [self.cloning.now(value) for value in copied.outputs]

    def given(self, node: ir.Node, place: int, otherwise: str) -> Any:
        """Return an input of one number; None where it is left out.

        Raises
        ------
        ModelError
            If it is unknown; ``otherwise`` says what the node then does.
        """
        value = node.inputs[place] if len(node.inputs) > place else None
        if value is None:
            return None
        array = self.inference.constant(value)
        if array is None:
            raise refused(node, otherwise)
        return array.reshape(-1)[0].item()

    def shape(self, node: ir.Node, value: ir.Value | None) -> tuple[int, ...]:
        """Return the sizes of a tensor that a node takes."""
        shape = self.inference.shapes.get((value.name if value is not None else "") or "")
        if shape is None:
            raise refused(node, "takes what is no tensor")
        return shape

    def _put(self, node: ir.Node, made: ir.Node) -> None:
        self.inference.bounds.write_node()
        self.graph.insert_before(node, made)
        self.inference.visit(made)


def tensor(node: ir.Node, place: int) -> ir.Value:
    """Return an input of a node that must be there."""
    value = node.inputs[place] if len(node.inputs) > place else None
    if value is None:
        raise refused(node, "takes no tensor where it needs one")
    return value


def refused(node: ir.Node, why: str) -> ModelError:
    """Return the line that refuses a branch, a loop or a list."""
    return ModelError(
        f"convert: {node.op_type} {node.name or node.outputs[0].name!r} {why}, which cannot be "
        f"converted; export the model with fixed control flow."
    )
