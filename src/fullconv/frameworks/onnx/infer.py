"""Shapes of all values of an ONNX model at its native size, and the constants among them."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import NodeProto, TypeProto

from fullconv.errors import ModelError, WindowError, first_line
from fullconv.frameworks.bounds import Bounds
from fullconv.frameworks.onnx.beside import beside
from fullconv.frameworks.onnx.kinds import Known, NotInferredError, is_known, kinds_of, shape_of
from fullconv.frameworks.onnx.session import said_by_runtime
from fullconv.frameworks.onnx.single import NotRunnableError, Single
from fullconv.frameworks.onnx.unrolling import Unrolling
from fullconv.geometry.grid import Sizes
from fullconv.wording import measured

Array = NDArray[Any]

KEPT = frozenset(
    """
    Bernoulli DequantizeLinear Dropout DynamicQuantizeLinear Multinomial QuantizeLinear RandomNormal
    RandomNormalLike RandomUniform RandomUniformLike
    """.split()
)
"""Operators that are not computed here, even of constants: random numbers differ from run to run,
and ONNX Runtime computes in whole numbers where weights stand beside their scale."""

FEW = 16
"""The most numbers of a floating-point weight that may be a size or scale."""


class Inference:
    """The known facts about each value when the model runs on one size of image.

    Branches and loops whose course is known at that size are written out in the model itself
    (`Unrolling`).

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
        opsets = [onnx.helper.make_opsetid(*pair) for pair in model.opset_imports.items()]
        self.known = Known(opsets, self.shapes, self.types, self.constants)
        self._of_image = set(shapes)
        for value in model.graph.inputs:
            self.types[value.name or ""] = value.dtype or ir.DataType.FLOAT
        for value in model.graph.initializers.values():
            self.add_weight(value)
        image = sum(prod(shape) for shape in shapes.values())
        weights = sum(prod(self.shapes[name]) for name in model.graph.initializers)
        self.bounds = Bounds(image, weights)
        for name, shape in shapes.items():
            self.bounds.check(f"the image {name!r}", shape, of_image=True)
        self._unrolling = Unrolling(self)
        for node in model.graph:
            self.visit(node)
        self._unrolling.finish()
        for value in model.graph.outputs:
            if value.name in self.types:
                value.type = ir.TensorType(self.types[value.name])

    def add_weight(self, value: ir.Value) -> None:
        """Record an initializer."""
        tensor, name = value.const_value, value.name or ""
        assert tensor is not None
        self.shapes[name] = tuple(tensor.shape.numpy())
        self.types[name] = tensor.dtype
        whole = tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32)
        if whole or (tensor.size <= FEW and tensor.dtype != ir.DataType.STRING):
            self.constants[name] = tensor.numpy()

    def constant(self, value: ir.Value | None) -> Array | None:
        """Return a value's numbers where they are known."""
        return None if value is None else self.constants.get(value.name or "")

    def visit(self, node: ir.Node) -> None:
        """Infer the results of a node."""
        self.bounds.take_node()
        if self._unrolling.replace(node):
            return
        names = [value.name or "" for value in node.inputs if value is not None]
        if (lost := next((name for name in names if name not in self.shapes), None)) is not None:
            raise ModelError(
                f"convert: {_label(node)} takes {lost!r}, which is no tensor; the model is "
                f"damaged: export or copy it again."
            )
        if node.op_type in ("Shape", "Size") and not node.domain:
            self._measured(node, self.shapes[names[0]])
        elif self._is_constant(node, names) and self._fold(node, names):
            return
        elif node.op_type == "GroupNormalization" and not node.domain:
            # ONNX infers nothing for versions 18 to 20: it calls them deprecated. They still run.
            first, result = names[0], node.outputs[0].name or ""
            self.shapes[result], self.types[result] = self.shapes[first], self.types[first]
        else:
            self._infer(node, names)
        if self._of_image.intersection(names) and node.outputs[0].name not in self.constants:
            self._of_image.update(value.name or "" for value in node.outputs)

    def _is_constant(self, node: ir.Node, names: list[str]) -> bool:
        known = all(name in self.constants for name in names)
        return known and node.op_type not in KEPT and (bool(names) or node.op_type == "Constant")

    def _measured(self, node: ir.Node, shape: tuple[int, ...]) -> None:
        if node.op_type == "Shape":
            start = node.attributes.get_int("start", 0)
            sizes = shape[start : node.attributes.get_int("end", None)]
            self._set(node.outputs[0], np.array(sizes, dtype=np.int64))
        else:
            self._set(node.outputs[0], np.array(prod(shape), dtype=np.int64))

    def _set(self, value: ir.Value, array: Array) -> None:
        name = value.name or ""
        self.constants[name] = array
        self.shapes[name] = tuple(array.shape)
        self.types[name] = ir.DataType.from_numpy(array.dtype)

    def _fold(self, node: ir.Node, names: list[str]) -> bool:
        """Compute a node of constants; False where ONNX Runtime has no such operator."""
        proto = self._proto(node)
        for name, kind in self._kinds(node, proto, of_image=False).items():
            if is_known(kind):
                self.bounds.fold(_label(node, name), shape_of(kind))
        try:
            constants = {name: self.constants[name] for name in names}
            single = Single(proto, self.known.opsets, constants, {})
        except NotRunnableError:
            return False
        try:
            arrays = single.run()
        except Exception as error:
            raise ModelError(
                f"convert: {_label(node)} cannot be computed ({said_by_runtime(error)}); the "
                f"model is damaged, or was not exported for this size: export it again."
            ) from None
        outputs = [value for value in node.outputs if value.name]
        for value, array in zip(outputs, arrays, strict=True):
            self._set(value, array)
        return True

    def _infer(self, node: ir.Node, names: list[str]) -> None:
        proto = self._proto(node)
        of_image = bool(self._of_image.intersection(names))
        for name, kind in self._kinds(node, proto, of_image).items():
            if not kind.HasField("tensor_type"):
                raise ModelError(
                    f"convert: {_label(node, name)} is no tensor but a list of them, whose number "
                    f"depends on the pixels; export the model with tensors alone."
                )
            if not is_known(kind):
                raise ModelError(
                    f"convert: the size of {name!r}, computed by {node.op_type} "
                    f"{node.name!r}, depends on the pixels; such a model has no fixed window."
                )
            self.shapes[name] = shape_of(kind)
            self.types[name] = ir.DataType(kind.tensor_type.elem_type)

    def _proto(self, node: ir.Node) -> NodeProto:
        try:
            return ir.serde.serialize_node(node)
        except Exception as error:
            raise ModelError(
                f"convert: {_label(node)} cannot be read ({first_line(error)}); the model is "
                f"damaged: export or copy it again."
            ) from None

    def _kinds(self, node: ir.Node, proto: NodeProto, of_image: bool) -> dict[str, TypeProto]:
        """Return the types of a node's results, once these are known not to end the process."""
        try:
            kinds = kinds_of(node, proto, self.known, self.bounds.most(of_image))
        except NotInferredError as error:
            raise self._refusal(node, str(error), of_image) from None
        shapes = {name: shape_of(kind) for name, kind in kinds.items() if is_known(kind)}
        for name, shape in shapes.items():
            self.bounds.check(_label(node, name), shape, of_image)
        for shape in beside(node, {**self.shapes, **shapes}):
            self.bounds.check(f"{_label(node)}, while it runs,", shape, of_image)
        if node.op_type not in ("Constant", "Identity") and any(
            kind.tensor_type.elem_type == onnx.TensorProto.STRING for kind in kinds.values()
        ):
            raise ModelError(
                f"convert: {_label(node)} makes text; fullconv converts what computes numbers: "
                f"export the model without what names its classes."
            )
        if node.op_type in ("Div", "Mod") and self._may_overflow(node):
            raise ModelError(
                f"convert: {_label(node)} divides whole numbers by -1 or by what depends on the "
                f"pixels, which can end the whole process; divide in floating point."
            )
        return kinds

    def _may_overflow(self, node: ir.Node) -> bool:
        """Whether a division of integers may have no result: that of the least one by -1."""
        dividend, divisor = (value.name or "" if value else "" for value in node.inputs[:2])
        if not self.types[divisor].is_integer() or not self.types[divisor].is_signed():
            return False
        dividends, divisors = (self.constants.get(name) for name in (dividend, divisor))
        if dividends is not None and not (dividends == np.iinfo(dividends.dtype).min).any():
            return False
        return divisors is None or bool((divisors == -1).any())

    def _refusal(self, node: ir.Node, reason: str, of_image: bool) -> Exception:
        if not of_image:
            return ModelError(
                f"convert: {_label(node)} cannot be computed ({reason}); the model is damaged: "
                f"export or copy it again."
            )
        return WindowError(
            f"convert(window={self.window}): the model does not take {measured(self.window)}: "
            f"{node.op_type} {node.name or node.outputs[0].name!r} says {reason}. "
            f"Give the size it was trained on."
        )


def _label(node: ir.Node, name: str = "") -> str:
    """Return the name of a node, or of one of its results, in messages."""
    result = node.outputs[0].name if node.outputs else ""
    label = f"{node.op_type} {node.name or result!r}"
    return f"{name!r}, computed by {label}," if name and node.name else label
