"""Writing of networks of other frameworks as ONNX.

Operations that lifting adds are written as for a model that was ONNX before. Operations that the
other framework defines otherwise than ONNX have a form in a table: the framework's own, or the one
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.errors import ExportError
from fullconv.frameworks.onnx.read import ModelGraph
from fullconv.frameworks.onnx.writing import Results, Writing
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph, Node
from fullconv.graph.table import OperationTable
from fullconv.operations import (
    AlongAxis,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Linear,
    Take,
)

OPSET = 18
"""The default operator set of the models that are written."""

Forms = OperationTable[Any, Results | None]
"""Writers of operations for a `Foreign`; they return None where ONNX has no such form."""

shared = Forms("a form in ONNX")
"""The forms that frameworks share."""


class Foreign(Writing):
    """The state of one writing of a network from another framework.

    Attributes
    ----------
    forms : OperationTable
        The framework's own forms, which come ahead of all others.
    remedy : str
        The end of the message about a layer that has no form: what to do.
    """

    def __init__(
        self, graph: Graph, source: ModelGraph, grid: Grid, forms: Forms, remedy: str
    ) -> None:
        super().__init__(graph, source, grid)
        self.forms, self.remedy = forms, remedy

    def write(self, node: Node) -> Results:
        """Write one node in the form that it has in ONNX."""
        kind = type(node.operation)
        form = self.forms.find(kind) or shared.find(kind)
        if form is None:
            return super().write(node)
        written = form(self, node, node.operation)
        return self.without_form(node) if written is None else written

    def repeat(
        self,
        node: Node,
        attributes: dict[str, Any] | None = None,
        changed: Mapping[int, ir.Value] | None = None,
    ) -> Results:
        """Refuse a node without a form here: it has no original ONNX node to repeat."""
        return self.without_form(node)

    def without_form(self, node: Node) -> Results:
        """Refuse an operation that has no form in ONNX.

        Raises
        ------
        ExportError
            Always, with the name of the operation and what to do.
        """
        raise ExportError(
            f"save: {node.kind or node.operation.title} {node.name!r} has no form in ONNX here; "
            f"{self.remedy}"
        )

    def held(self, name: str | None, array: Any) -> ir.Value:
        """Return a constant under a name of its own."""
        return self.initializer(self.unique(name or "fullconv/value"), array)

    def ones(self, *shape: int) -> ir.Value:
        """Return a constant of ones."""
        return self.held("fullconv/ones", np.ones(shape, dtype=self.dtype()))

    def zeros(self, *shape: int) -> ir.Value:
        """Return a constant of zeros."""
        return self.held("fullconv/zeros", np.zeros(shape, dtype=self.dtype()))

    def rank(self, node: Node) -> int:
        """Count the axes of a node's first input."""
        return len(self.graph.shapes[node.first or ""])


def frame(
    image: str, rank: int, dtype: ir.DataType, outputs: Sequence[str], opset: int = OPSET
) -> ir.Model:
    """Return an empty model with one image and some outputs, for `ModelGraph`."""
    kind = ir.TensorType(dtype)
    given = ir.Value(name=image, type=kind, shape=ir.Shape([None] * rank))
    results = [ir.Value(name=name, type=kind) for name in outputs]
    graph = ir.Graph([given], results, nodes=[], opset_imports={"": opset}, name="fullconv")
    return ir.Model(graph, ir_version=10)


@shared(Identity)
def write_identity(writing: Foreign, node: Node, operation: Identity) -> ir.Value:
    """Write an operation that changes nothing."""
    return writing.emit("Identity", writing.inputs(node), name=node.name)


@shared(Take)
def write_take(writing: Foreign, node: Node, operation: Take) -> ir.Value:
    """Write a selection of entries of an axis, in any order."""
    given = [*writing.inputs(node), writing.numbers(*operation.indices)]
    return writing.emit("Gather", given, {"axis": operation.axis}, node.name)


@shared(Linear)
def write_linear(writing: Foreign, node: Node, operation: Linear) -> ir.Value:
    """Write a fully connected layer."""
    x, bias = writing.value(node.inputs[0]), writing.value(node.inputs[2])
    name = node.inputs[1]
    key = "turned", name
    if name not in writing.graph.constants:
        weight = writing.emit("Transpose", [writing.value(name)], {"perm": (1, 0)})
    else:
        if key not in writing.taken:
            writing.taken[key] = writing.held(name, writing.array(name).T)
        weight = writing.taken[key]
    product = writing.emit("MatMul", [x, weight], name=node.name)
    return product if bias is None else writing.emit("Add", [product, bias])


@shared(AlongAxis)
def write_along_axis(writing: Foreign, node: Node, operation: AlongAxis) -> ir.Value:
    """Write softmax or log-softmax."""
    kind = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[operation.name]
    return writing.emit(kind, writing.inputs(node), {"axis": operation.axis}, node.name)


@shared(LayerNormalization)
def write_layer_norm(writing: Foreign, node: Node, operation: LayerNormalization) -> ir.Value:
    """Write layer normalization, which always has a scale in ONNX."""
    x, scale, bias = writing.inputs(node)
    if scale is None:
        scale = writing.ones(*writing.graph.shapes[node.first or ""][-operation.axes :])
    given = [x, scale] if bias is None else [x, scale, bias]
    settings = {"axis": -operation.axes, "epsilon": operation.epsilon}
    return writing.emit("LayerNormalization", given, settings, node.name)


@shared(GroupNormalization)
def write_group_norm(writing: Foreign, node: Node, operation: GroupNormalization) -> ir.Value:
    """Normalize each window's groups: as rows of an instance normalization."""
    x, scale, bias = writing.inputs(node)
    shape = writing.emit("Shape", [x])
    wide = writing.emit("Reshape", [x, writing.numbers(0, operation.groups, -1)])
    given = [wide, writing.ones(operation.groups), writing.zeros(operation.groups)]
    settings = {"epsilon": operation.epsilon}
    normal = writing.emit("InstanceNormalization", given, settings, node.name)
    result = writing.emit("Reshape", [normal, shape])
    column = writing.numbers(-1, *[1] * (writing.rank(node) - 2))
    for kind, parameter in (("Mul", scale), ("Add", bias)):
        if parameter is not None:
            result = writing.emit(kind, [result, writing.emit("Reshape", [parameter, column])])
    return result
