"""A converted Keras model as ONNX, by our own writer.

The model is read back as the graph that it was written from, with its weights as they are now, and
written with free sizes. Its images are ``(N, C, *size)`` and its scores ``(N, K, *windows)``, as
ONNX has them, whatever order the model itself takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import onnx
import onnx_ir as ir

from fullconv.errors import ExportError, first_line
from fullconv.frameworks.keras.calls import Weight, numbers
from fullconv.frameworks.keras.onnx_functions import write_function
from fullconv.frameworks.keras.read import walk
from fullconv.frameworks.onnx.growth import Growth
from fullconv.frameworks.onnx.read import Source
from fullconv.frameworks.onnx.write import Writer
from fullconv.graph import Graph, Node
from fullconv.images import ImageShape
from fullconv.operations import (
    AlongAxis,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Linear,
    PerChannel,
    Pointwise,
    Reshape,
    Take,
)

OPSET = 18


def to_onnx(model: keras.Model, shape: ImageShape, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Return a checked model with free sizes, and the given metadata.

    Raises
    ------
    ExportError
        If some layer has no form in ONNX.
    """
    graph, weights = _converted(model, shape)
    dtype = next(iter(model.inputs)).dtype
    constants = {name: numbers(weight).astype(dtype) for name, weight in weights.items()}
    source = Source(graph, _frame(graph, dtype), constants, Growth())
    try:
        proto = ir.serde.serialize_model(KerasWriter(graph, source, shape.grid).write())
        onnx.checker.check_model(proto)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"save: the model cannot be written as ONNX ({first_line(error)}); save it as .keras."
        ) from error
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    return proto


def _converted(model: keras.Model, shape: ImageShape) -> tuple[Graph, dict[str, Weight]]:
    """Read a converted model back; return its graph and what stands behind the constants."""
    reader, results = walk(model, shape.grid.window, stored=True)
    data_format = "channels_last" if reader.channels_last else "channels_first"
    outputs = []
    for result in results:
        if not reader.has_map(result) and reader.native(result) in reader.scores:
            outputs.append(reader.native(result))
        else:
            outputs.append(reader.map(result, data_format))
    graph = reader.graph(outputs)
    graph.fixed = shape.fixed
    graph.nodes = [_free(node) for node in graph.nodes]
    return graph, reader.weights


def _free(node: Node) -> Node:
    """Leave the number of windows free: it is the first axis of whatever Keras reshapes."""
    if not isinstance(node.operation, Reshape):
        return node
    return replace(node, operation=Reshape((-1, *node.operation.shape[1:])))


def _frame(graph: Graph, dtype: str) -> ir.Model:
    """Return an empty model with the image and the outputs."""
    kind = ir.TensorType(ir.DataType.from_numpy(np.dtype(dtype)))
    free = ir.Shape([None] * len(graph.layout.axes))
    image = ir.Value(name=graph.image, type=kind, shape=free)
    outputs = [
        ir.Value(name=f"scores_{index}" if index else "scores", type=kind)
        for index, _ in enumerate(graph.outputs)
    ]
    frame = ir.Graph([image], outputs, nodes=[], opset_imports={"": OPSET}, name="fullconv")
    return ir.Model(frame, ir_version=10)


class KerasWriter(Writer):
    """Writes what ONNX calls otherwise than Keras; the rest is the writer's own."""

    def _clone(
        self, node: Node, attributes: dict[str, Any] | None = None
    ) -> ir.Value | Sequence[ir.Value]:
        operation = node.operation
        if isinstance(operation, Linear):
            return self._linear(node)
        if isinstance(operation, LayerNormalization):
            axis = {"axis": -operation.axes, "epsilon": operation.epsilon}
            x, scale, bias = self._inputs(node)
            if scale is None:
                shape = self.graph.shapes[node.inputs[0] or ""][-operation.axes :]
                scale = self._initializer(self._unique("fullconv/ones"), self._ones(shape))
            given = [x, scale] if bias is None else [x, scale, bias]
            return self._emit("LayerNormalization", given, axis, node.name)
        if isinstance(operation, AlongAxis):
            kind = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}[operation.name]
            return self._emit(kind, self._inputs(node), attributes, node.name)
        if isinstance(operation, PerChannel):
            return self._per_channel(operation, node)
        if isinstance(operation, Take):
            indices = self._numbers(*operation.indices)
            return self._emit("Gather", [self._first(node), indices], {"axis": operation.axis})
        if isinstance(operation, Identity):
            return self._emit("Identity", self._inputs(node), name=node.name)
        if isinstance(operation, Pointwise):
            written = write_function(self, node)
            if written is not None:
                return written
        if isinstance(operation, GroupNormalization):
            return self._group_norm(operation, node)
        raise ExportError(
            f"save: {node.kind} {node.name!r} has no form in ONNX here; save the model as .keras, "
            f"or write that layer with Keras' own."
        )

    def _ones(self, shape: Sequence[int]) -> Any:
        return np.ones(tuple(shape), dtype=self._dtype())

    def number(self, value: float) -> ir.Value:
        """Return a constant number."""
        array = np.array(value, dtype=self._dtype())
        return self._initializer(self._unique("fullconv/value"), array)

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

    def _linear(self, node: Node) -> ir.Value:
        x, _, bias = self._inputs(node)
        weight = self.graph.constants[node.inputs[1] or ""].permute(1, 0)
        array = weight.apply(self._array(weight.source))
        held = self._initializer(self._unique(node.inputs[1] or ""), array)
        product = self._emit("MatMul", [x, held], name=node.name)
        return product if bias is None else self._emit("Add", [product, bias])

    def _per_channel(self, operation: PerChannel, node: Node) -> ir.Value:
        rank = len(self.graph.shapes[node.inputs[0] or ""])
        layer = node.source.target
        if operation.name == "batch_norm":
            x, *names = node.inputs
            size = self.graph.constants[names[2] or ""].shape
            defaults = {0: np.ones, 1: np.zeros}
            held = [
                self._value(name)
                if name is not None
                else self._initializer(
                    self._unique("fullconv/default"), defaults[place](size, dtype=self._dtype())
                )
                for place, name in enumerate(names)
            ]
            settings = {"epsilon": float(layer.epsilon)}
            given = [self._value(x), *held]
            return self._emit("BatchNormalization", given, settings, node.name)
        shape = (-1, *[1] * (rank - 2))
        x_, *vectors = (
            self._value(name)
            if not place
            else self._initializer(
                self._unique(name or ""),
                self.graph.constants[name or ""]
                .apply(self._array(self._source(name)))
                .reshape(shape),
            )
            for place, name in enumerate(node.inputs)
        )
        if operation.name == "prelu":
            return self._emit("PRelu", [x_, vectors[0]], name=node.name)
        if operation.name == "LayerScale":
            return self._emit("Mul", [x_, vectors[0]], name=node.name)
        first, second = vectors
        if operation.name == "Rescaling":
            return self._emit("Add", [self._emit("Mul", [x_, first]), second], name=node.name)
        floor = self.number(keras.config.epsilon())
        spread = self._emit("Max", [self._emit("Sqrt", [second]), floor])
        if layer.invert:
            return self._emit("Add", [first, self._emit("Mul", [x_, spread])], name=node.name)
        return self._emit("Div", [self._emit("Sub", [x_, first]), spread], name=node.name)

    def _source(self, name: str | None) -> str:
        return self.graph.constants[name or ""].source

    def _group_norm(self, operation: GroupNormalization, node: Node) -> ir.Value:
        """Normalize each window's groups: as rows of an instance normalization."""
        x, scale, bias = self._inputs(node)
        cells = [1] * (len(self.graph.shapes[node.inputs[0] or ""]) - 2)
        shape = self._emit("Shape", [x])
        wide = self._emit("Reshape", [x, self._numbers(0, operation.groups, -1)])
        ones, zeros = (
            self._initializer(self._unique("fullconv/default"), array)
            for array in (self._ones((operation.groups,)), 0 * self._ones((operation.groups,)))
        )
        given, settings = [wide, ones, zeros], {"epsilon": operation.epsilon}
        normal = self._emit("InstanceNormalization", given, settings, node.name)
        result = self._emit("Reshape", [normal, shape])
        for kind, parameter in (("Mul", scale), ("Add", bias)):
            if parameter is not None:
                column = self._emit("Reshape", [parameter, self._numbers(-1, *cells)])
                result = self._emit(kind, [result, column])
        return result
