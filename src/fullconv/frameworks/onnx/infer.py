"""Shapes of every value of an ONNX model at its native size, and the constants among them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from fullconv.errors import ModelError, WindowError, first_line
from fullconv.geometry import Sizes

Array = NDArray[Any]


class Inference:
    """What is known of each value when the model runs on one size of image.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        Every value that depends on the image, and every parameter.
    window : tuple of int
        Size of the image along every axis.
    constants : dict of str to array
        Constant nodes, and sizes computed from shapes (the Shape, Gather, Concat chains that
        exporters write before a Reshape).
    """

    def __init__(
        self, model: ir.Model, shapes: Mapping[str, tuple[int, ...]], window: Sizes
    ) -> None:
        self.model = model
        self.window = window
        self.shapes: dict[str, tuple[int, ...]] = dict(shapes)
        self.types: dict[str, ir.DataType] = {}
        self.constants: dict[str, Array] = {}
        self.opsets = [
            onnx.helper.make_opsetid(domain, version)
            for domain, version in model.opset_imports.items()
        ]
        for value in model.graph.inputs:
            self.types[value.name or ""] = value.dtype or ir.DataType.FLOAT
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            assert tensor is not None
            self.shapes[name] = tuple(tensor.shape.numpy())
            self.types[name] = tensor.dtype
            if tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32) or tensor.size <= 16:
                self.constants[name] = tensor.numpy()
        for node in model.graph:
            self._node(node)

    def _node(self, node: ir.Node) -> None:
        names = [value.name for value in node.inputs if value is not None]
        if node.op_type == "Constant":
            self._fold(node)
        elif node.op_type == "Shape" and names[0] in self.shapes:
            start = node.attributes.get_int("start", 0)
            end = node.attributes.get_int("end", None)
            sizes = self.shapes[names[0] or ""][start:end]
            self._set(node, np.array(sizes, dtype=np.int64))
        elif names and all(name in self.constants for name in names) and self._is_size(node):
            self._fold(node)
        elif node.op_type == "GroupNormalization":
            # Of versions 18 to 20 ONNX infers nothing: it calls them deprecated. They still run.
            first, result = names[0] or "", node.outputs[0].name or ""
            self.shapes[result], self.types[result] = self.shapes[first], self.types[first]
        else:
            self._infer(node)

    def _is_size(self, node: ir.Node) -> bool:
        """Whether a constant node computes sizes, not weights."""
        first = self.types.get(node.inputs[0].name or "") if node.inputs[0] is not None else None
        return first in (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL) or (
            node.op_type in ("ConstantOfShape", "Range", "Cast")
        )

    def _set(self, node: ir.Node, array: Array) -> None:
        name = node.outputs[0].name or ""
        self.constants[name] = array
        self.shapes[name] = tuple(array.shape)
        self.types[name] = ir.DataType.from_numpy(array.dtype)

    def _fold(self, node: ir.Node) -> None:
        proto = ir.serde.serialize_node(node)
        feeds = {name: self.constants[name] for name in proto.input if name}
        graph = onnx.helper.make_graph(
            [proto],
            "constant",
            [
                onnx.helper.make_tensor_value_info(
                    name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                )
                for name, array in feeds.items()
            ],
            [onnx.ValueInfoProto(name=proto.output[0])],
        )
        model = onnx.helper.make_model(graph, opset_imports=self.opsets)
        (array,) = ReferenceEvaluator(model).run(None, feeds)
        self._set(node, np.asarray(array))

    def _infer(self, node: ir.Node) -> None:
        proto = ir.serde.serialize_node(node)
        types = {
            name: onnx.helper.make_tensor_type_proto(int(self.types[name]), self.shapes[name])
            for name in proto.input
            if name
        }
        data = {
            name: onnx.numpy_helper.from_array(np.asarray(self.constants[name]), name)
            for name in proto.input
            if name in self.constants
        }
        version = self.model.opset_imports.get(node.domain, 1)
        try:
            schema = onnx.defs.get_schema(node.op_type, version, node.domain)
            found = onnx.shape_inference.infer_node_outputs(
                schema, proto, types, data, opset_imports=self.opsets
            )
        except (onnx.defs.SchemaError, onnx.checker.ValidationError):
            raise ModelError(
                f"convert: the model uses the operator {node.op_type!r} of domain "
                f"{node.domain or 'ai.onnx'!r}, version {version}, which ONNX does not define; "
                f"export it with standard operators."
            ) from None
        except onnx.shape_inference.InferenceError as error:
            reason = first_line(error).removeprefix("[ShapeInferenceError] ")
            height, width = self.window
            raise WindowError(
                f"convert(window=({height}, {width})): the model does not take images of "
                f"{width}x{height} pixels (width x height): {node.op_type} "
                f"{node.name or node.outputs[0].name!r} says {reason}. Give the size it was "
                f"trained on."
            ) from None
        if not all(kind.tensor_type.HasField("shape") for kind in found.values()):
            with contextlib.suppress(Exception):  # then the size is not known, as said below
                found = self._measure(proto, types)
        for name, kind in found.items():
            dims = [d.dim_value for d in kind.tensor_type.shape.dim]
            known = kind.tensor_type.HasField("shape") and all(
                d.HasField("dim_value") for d in kind.tensor_type.shape.dim
            )
            if not known:
                raise ModelError(
                    f"convert: the size of {name!r}, computed by {node.op_type} "
                    f"{node.name!r}, depends on the pixels; such a model has no fixed window."
                )
            self.shapes[name] = tuple(dims)
            self.types[name] = ir.DataType(kind.tensor_type.elem_type)

    def _measure(
        self, proto: onnx.NodeProto, types: Mapping[str, onnx.TypeProto]
    ) -> dict[str, onnx.TypeProto]:
        """Run one node, to see the sizes that ONNX does not infer for it."""
        import onnxruntime

        inputs = [onnx.ValueInfoProto(name=name, type=kind) for name, kind in types.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in proto.output if name]
        graph = onnx.helper.make_graph([proto], "operator", inputs, outputs)
        model = onnx.helper.make_model(graph, opset_imports=self.opsets, ir_version=10)
        feeds = {
            name: self.constants.get(name, np.ones(self.shapes[name], self.types[name].numpy()))
            for name in types
        }
        session = onnxruntime.InferenceSession(model.SerializeToString())
        return {
            output.name: onnx.helper.make_tensor_type_proto(
                onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for output, array in zip(outputs, session.run(None, feeds), strict=True)
        }
