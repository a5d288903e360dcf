"""An ONNX model in half precision: its weights and its arithmetic, its images and scores float32.

Note [What is narrowed]. Every operator whose specification takes the narrow type computes in it;
the others (Range, NonMaxSuppression, what holds a graph of its own, other domains) stay in float32
between casts, as do numbers that are float32 by definition, such as the scales of Resize. Graphs
within a node begin and end in float32 and are narrowed inside. Pixels are prepared in float32 where
the model does that itself; see Note [Embedded]. ONNX lets convolutions and pools
take bfloat16 since version 22, so that such a model is brought there.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, MutableMapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.onnx.light import set_aside
from fullconv.frameworks.onnx.retyping import PIXELS, retyped
from fullconv.frameworks.onnx.sorting import inner_graphs

SINGLE = TensorProto.FLOAT
KINDS = {"f16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
NAMES: dict[int, str] = {
    TensorProto.FLOAT16: "tensor(float16)",
    TensorProto.BFLOAT16: "tensor(bfloat16)",
}

WITH_BFLOAT16 = 22
"""Since this version convolutions and pools take bfloat16."""

MADE = frozenset(["Constant", "ConstantOfShape", "Cast"])
"""Operators whose type is that of an attribute."""

Versions = dict[int, str]
"""The names that a value has by the type of its numbers."""


def narrowed(model: ModelProto, precision: str) -> ModelProto:
    """Return a converted model in ``"f16"`` or ``"bf16"``; see Note [What is narrowed].

    Raises
    ------
    ModelError
        If ONNX cannot tell the types of its values, or bring it to the version that is needed.
    """
    light = set_aside(model)
    kind = KINDS[precision]
    written = _with_version(light.model, WITH_BFLOAT16) if precision == "bf16" else light.model
    narrowing = _Narrowing(written, kind)
    values: ChainMap[str, Versions] = ChainMap({})
    for name, tensor in light.weights.items():
        values[name] = narrowing.weight(tensor)
    narrowing.graph(written.graph, values)
    inputs = [value for value in written.graph.input if value.name not in light.weights]
    del written.graph.input[:]
    written.graph.input.extend(inputs)
    written.graph.initializer.extend(light.weights.values())
    return written


def widened(model: ModelProto) -> ModelProto:
    """Return a model with its weights rounded as they are, computed in float32.

    ONNX Runtime has no convolutions of bfloat16 on the CPU (1.31).
    """
    return retyped(model, KINDS.values(), SINGLE)


def has_bfloat16(model: ModelProto) -> bool:
    """Whether a model holds or computes bfloat16."""
    return _has(model.graph, TensorProto.BFLOAT16)


def _has(graph: GraphProto, kind: int) -> bool:
    """Whether weights, or what is cast to, are of a type."""
    if any(tensor.data_type == kind for tensor in graph.initializer):
        return True
    return any(
        (node.op_type == "Cast" and node.attribute[0].i == kind)
        or any(_has(inner, kind) for inner in inner_graphs(node))
        for node in graph.node
    )


def _with_version(model: ModelProto, version: int) -> ModelProto:
    present = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if present >= version:
        return model
    try:
        brought: ModelProto = onnx.version_converter.convert_version(model, version)
    except Exception as error:
        raise ModelError(
            f"the model cannot be written in bf16: that takes version {version} of the ONNX "
            f"operators, and ONNX cannot bring it there from {present} ({first_line(error)}); "
            f"choose f16."
        ) from None
    brought.ir_version = max(brought.ir_version, 10)
    del brought.metadata_props[:]
    brought.metadata_props.extend(model.metadata_props)
    return brought


class _Narrowing:
    def __init__(self, model: ModelProto, kind: int) -> None:
        self.kind = kind
        self.dtype = helper.tensor_dtype_to_np_dtype(kind)
        self.versions = {opset.domain: opset.version for opset in model.opset_import}
        try:
            inferred = onnx.shape_inference.infer_shapes(model)
        except Exception as error:
            raise ModelError(
                f"the model cannot be written in half precision, for ONNX does not know the types "
                f"of its values ({first_line(error)}); leave the precision out."
            ) from None
        self.types = dict(_types(inferred.graph))
        # What turns the axes stays at the ends: see Note [Channels last].
        self.ends = {value.name for value in (*model.graph.input, *model.graph.output)}
        self.single = set(self._single(model.graph))

    def _single(self, graph: GraphProto) -> Iterator[str]:
        """Yield the values that some operator takes in float32."""
        for node in graph.node:
            for inner in inner_graphs(node):
                yield from self._single(inner)
            if node.op_type not in MADE:
                narrow = self._narrow_places(node)
                yield from (name for i, name in enumerate(node.input) if i not in narrow)

    def _narrow_places(self, node: NodeProto) -> set[int]:
        """Return which inputs an operator takes in the narrow type; none where it has no such."""
        if node.domain not in ("", "ai.onnx") or len(node.output) > 1 or any(inner_graphs(node)):
            return set()
        if node.name.startswith(PIXELS):
            return set()
        if node.op_type == "Transpose" and self.ends & {node.input[0], node.output[0]}:
            return set()
        version = self.versions.get("", self.versions.get("ai.onnx", 1))
        try:
            schema = onnx.defs.get_schema(node.op_type, version, "")
        except Exception:
            return set()
        allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}
        if "dtype" in schema.attributes:
            return set()
        places = set()
        for i, name in enumerate(node.input):
            if self.types.get(name) != SINGLE:
                continue
            formal = schema.inputs[min(i, len(schema.inputs) - 1)].type_str
            if formal in allowed:
                if NAMES[self.kind] not in allowed[formal]:
                    return set()
                places.add(i)
        return places

    def weight(self, tensor: TensorProto) -> Versions:
        """Narrow a weight in its place, and return its name by its type."""
        if tensor.data_type != SINGLE:
            return {}
        if tensor.name in self.single:
            return {SINGLE: tensor.name}
        self._narrow(tensor)
        return {self.kind: tensor.name}

    def graph(self, graph: GraphProto, values: ChainMap[str, Versions]) -> None:
        """Narrow a graph in its place; ``values`` are those around it, and its own are added."""
        for tensor in graph.initializer:
            values[tensor.name] = self.weight(tensor)
        for value in graph.input:
            if value.type.tensor_type.elem_type == SINGLE:
                values.setdefault(value.name, {SINGLE: value.name})
        given = {value.name for value in graph.output}
        nodes: list[NodeProto] = []
        for node in graph.node:
            self._node(node, nodes, values, given)
            nodes.append(node)
        for value in graph.output:
            versions = values.get(value.name, {})
            if versions and versions.get(SINGLE) != value.name:
                (name,) = (versions[self.kind],)
                nodes.append(_cast(name, value.name, SINGLE))
        del graph.node[:]
        graph.node.extend(nodes)
        del graph.value_info[:]

    def _node(
        self,
        node: NodeProto,
        nodes: list[NodeProto],
        values: ChainMap[str, Versions],
        given: set[str],
    ) -> None:
        """Narrow a node, with the casts that it needs ahead of it."""
        for inner in inner_graphs(node):
            self.graph(inner, values.new_child())
        is_made = node.op_type in MADE and self.types.get(node.output[0]) == SINGLE
        places = self._narrow_places(node)
        narrow = node.output[0] not in self.single if is_made else bool(places)
        for i, name in enumerate(node.input):
            if values.get(name):
                if node.op_type == "Cast":
                    node.input[i] = next(iter(values[name].values()))
                else:
                    wanted = self.kind if i in places else SINGLE
                    node.input[i] = self._as(name, wanted, nodes, values)
        if is_made and narrow:
            self._make_narrow(node)
        for i, name in enumerate(node.output):
            if self.types.get(name) == SINGLE:
                if narrow and name in given:
                    node.output[i] = f"{name}/narrow"
                values[name] = {self.kind if narrow else SINGLE: node.output[i]}

    def _as(
        self,
        name: str,
        kind: int,
        nodes: list[NodeProto],
        values: MutableMapping[str, Versions],
    ) -> str:
        """Return the name of a value in a type, casting it where it is not there yet."""
        versions = values[name]
        if kind not in versions:
            (other,) = versions.values()
            cast = f"{name}/{'single' if kind == SINGLE else 'narrowed'}"
            nodes.append(_cast(other, cast, kind))
            values[name] = {**versions, kind: cast}
        return values[name][kind]

    def _make_narrow(self, node: NodeProto) -> None:
        """Write an operator that makes numbers of its attribute's type as one of narrow numbers."""
        if node.op_type == "Cast":
            node.attribute[0].i = self.kind
        elif node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, self.dtype))
            node.attribute.append(helper.make_attribute("value", zero))
        for attribute in node.attribute:
            if attribute.name in ("value_float", "value_floats"):
                numbers = attribute.f if attribute.name == "value_float" else attribute.floats
                tensor = numpy_helper.from_array(np.array(numbers, np.float32))
                attribute.Clear()
                attribute.name, attribute.type = "value", AttributeProto.TENSOR
                attribute.t.CopyFrom(tensor)
            if attribute.type == AttributeProto.TENSOR and attribute.t.data_type == SINGLE:
                self._narrow(attribute.t)

    def _narrow(self, tensor: TensorProto) -> None:
        name, numbers = tensor.name, numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(self._rounded(numbers)))
        tensor.name = name

    def _rounded(self, numbers: NDArray[np.float32]) -> NDArray[np.generic]:
        """Round numbers; finite ones stay finite, and what is not zero does not become it.

        A mask of the lowest float32 would be infinite in float16, and an epsilon divide by zero.
        """
        if self.kind == TensorProto.FLOAT16:
            info = np.finfo(np.float16)
            most, least = np.float32(info.max), np.float32(info.smallest_subnormal)
            finite = np.isfinite(numbers)
            numbers = np.where(finite, np.clip(numbers, -most, most), numbers)
            tiny = (numbers != 0) & (np.abs(numbers) < least)
            numbers = np.where(tiny, np.copysign(least, numbers), numbers)
        rounded: NDArray[np.generic] = numbers.astype(self.dtype)
        return rounded


def _cast(name: str, cast: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [name], [cast], name=f"fullconv/cast/{cast}", to=kind)


def _types(graph: GraphProto) -> Iterator[tuple[str, int]]:
    for value in (*graph.input, *graph.value_info, *graph.output):
        yield value.name, value.type.tensor_type.elem_type
    for tensor in graph.initializer:
        yield tensor.name, tensor.data_type
    for node in graph.node:
        for inner in inner_graphs(node):
            yield from _types(inner)
