"""A converted Keras model as ONNX, by our own writer.

The model is read back as the graph that it was written from, with its weights as they are now, and
written with free sizes. Images are ``(N, C, *size)`` and scores ``(N, K, *windows)``, as
in ONNX, whatever the order of the model itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import keras
import numpy as np
import onnx
import onnx_ir as ir

from fullconv.errors import ExportError, first_line
from fullconv.frameworks.keras.calls import Weight, numbers
from fullconv.frameworks.keras.onnx_layers import forms
from fullconv.frameworks.keras.read import walk
from fullconv.frameworks.onnx.foreign import Foreign, frame
from fullconv.frameworks.onnx.read import ModelGraph
from fullconv.frameworks.onnx.write import written
from fullconv.geometry.images import ImageShape
from fullconv.graph.graph import Graph, Node
from fullconv.operations import Reshape

REMEDY = "save the model as .keras, or write that layer with Keras' own."


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
    names = [f"scores_{index}" if index else "scores" for index, _ in enumerate(graph.outputs)]
    kind = ir.DataType.from_numpy(np.dtype(dtype))
    empty = frame(graph.image, len(graph.layout.axes), kind, names)
    writing = Foreign(graph, ModelGraph(graph, empty, constants, {}), shape.grid, forms, REMEDY)
    try:
        proto = ir.serde.serialize_model(written(writing))
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
    """Read a converted model back; return its graph and the weights behind the constants."""
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
    """Leave the number of windows free: the first axis of every tensor that Keras reshapes."""
    if not isinstance(node.operation, Reshape):
        return node
    return replace(node, operation=Reshape((-1, *node.operation.shape[1:])))
