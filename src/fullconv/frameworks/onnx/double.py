"""An ONNX model in double precision, by onnx's reference evaluator.

ONNX Runtime has no convolutions of doubles. The reference evaluator computes in the types that it
is given, some hundred times slower: good for a few crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from fullconv.frameworks.onnx.session import session

SINGLE = frozenset([TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])
TYPES = ("to", "dtype", "stash_type")
"""Attributes that name a type of numbers."""

PIXELS = "fullconv/pixels/"
"""The first part of the names of nodes and numbers that prepare pixels inside a converted model.
They stay in single precision, which `Preprocessing` defines, as the pixels of crops do."""


def in_double(model: onnx.ModelProto) -> Callable[[Any], Any]:
    """Return a model as a function of images that computes in double precision.

    One array for one output, else a tuple.
    """
    doubled = onnx.ModelProto()
    doubled.CopyFrom(model)
    _double_graph(doubled.graph)
    for function in doubled.functions:
        _double_nodes(function.node)
    evaluator = ReferenceEvaluator(doubled, new_ops=[MaxPool])
    image = doubled.graph.input[0]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(image.type.tensor_type.elem_type)

    def run(images: Any) -> Any:
        outputs: Any = evaluator.run(None, {image.name: images.astype(dtype, copy=False)})
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    return run


class MaxPool(OpRun):
    """Max pooling by ONNX Runtime, which has it for doubles.

    The reference evaluator's own fails, or has another shape, where it is padded and moves by one
    cell (onnx 1.23).
    """

    def _run(self, x: Any, **_: Any) -> tuple[Any, ...]:
        node = self.onnx_node
        typed = onnx.helper.make_tensor_type_proto(TensorProto.DOUBLE, [None] * x.ndim)
        image = onnx.helper.make_value_info(node.input[0], typed)
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output]
        graph = onnx.helper.make_graph([node], "pool", [image], outputs)
        opset = onnx.helper.make_opsetid("", self._schema.since_version)
        pooled = session(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8))(x)
        return pooled if isinstance(pooled, tuple) else (pooled,)


def _double_graph(graph: GraphProto) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type in SINGLE:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in graph.initializer:
        if not tensor.name.startswith(PIXELS):
            _double(tensor)
    _double_nodes(graph.node)


def _double_nodes(nodes: Iterable[NodeProto]) -> None:
    for node in nodes:
        if node.name.startswith(PIXELS):
            continue
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _double_graph(attribute.g)
            elif attribute.type == AttributeProto.TENSOR:
                _double(attribute.t)
            elif attribute.name in TYPES and attribute.i in SINGLE:
                attribute.i = TensorProto.DOUBLE
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                numbers = attribute.f if attribute.name == "value_float" else attribute.floats
                tensor = numpy_helper.from_array(np.array(numbers, np.float64))
                attribute.Clear()
                attribute.name, attribute.type = "value", AttributeProto.TENSOR
                attribute.t.CopyFrom(tensor)
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1))
            node.attribute.append(onnx.helper.make_attribute("value", zero))


def _double(tensor: TensorProto) -> None:
    if tensor.data_type in SINGLE:
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64)))
        tensor.name = name
