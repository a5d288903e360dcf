"""An ONNX model whose numbers have another type throughout."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, numpy_helper

TYPES = ("to", "dtype", "stash_type")
"""Attributes that name a type of numbers."""

PIXELS = "fullconv/pixels/"
"""The first part of the names of nodes and numbers that prepare pixels inside a converted model.
They stay in single precision, which `Preprocessing` defines, as the pixels of crops do."""


def retyped(model: onnx.ModelProto, kinds: Collection[int], kind: int) -> onnx.ModelProto:
    """Return a model in which every number of some types has another, wider one."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    retyping = _Retyping(kinds, kind)
    retyping.graph(copied.graph)
    for function in copied.functions:
        retyping.nodes(function.node)
    return copied


class _Retyping:
    def __init__(self, kinds: Collection[int], kind: int) -> None:
        self.kinds, self.kind = kinds, kind
        self.dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)

    def graph(self, graph: GraphProto) -> None:
        for value in (*graph.input, *graph.output, *graph.value_info):
            if value.type.tensor_type.elem_type in self.kinds:
                value.type.tensor_type.elem_type = self.kind
        for tensor in graph.initializer:
            if not tensor.name.startswith(PIXELS):
                self.tensor(tensor)
        self.nodes(graph.node)

    def nodes(self, nodes: Iterable[NodeProto]) -> None:
        for node in nodes:
            if node.name.startswith(PIXELS):
                continue
            for attribute in node.attribute:
                if attribute.type == AttributeProto.GRAPH:
                    self.graph(attribute.g)
                elif attribute.type == AttributeProto.TENSOR:
                    self.tensor(attribute.t)
                elif attribute.name in TYPES and attribute.i in self.kinds:
                    attribute.i = self.kind
                elif node.op_type == "Constant" and TensorProto.FLOAT in self.kinds:
                    self.constant(attribute)
            is_blank = node.op_type == "ConstantOfShape" and not node.attribute
            if is_blank and TensorProto.FLOAT in self.kinds:
                zero = numpy_helper.from_array(np.zeros(1, self.dtype))
                node.attribute.append(onnx.helper.make_attribute("value", zero))

    def constant(self, attribute: AttributeProto) -> None:
        """Write numbers of single precision as a tensor."""
        if attribute.name in ("value_float", "value_floats"):
            numbers = attribute.f if attribute.name == "value_float" else attribute.floats
            tensor = numpy_helper.from_array(np.array(numbers, self.dtype))
            attribute.Clear()
            attribute.name, attribute.type = "value", AttributeProto.TENSOR
            attribute.t.CopyFrom(tensor)

    def tensor(self, tensor: TensorProto) -> None:
        if tensor.data_type in self.kinds:
            name, numbers = tensor.name, numpy_helper.to_array(tensor).astype(self.dtype)
            tensor.CopyFrom(numpy_helper.from_array(numbers))
            tensor.name = name
