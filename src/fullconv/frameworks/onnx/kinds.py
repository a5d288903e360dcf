"""Types and sizes of an ONNX operator's results: inferred by ONNX, or seen in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import NodeProto, OperatorSetIdProto, TypeProto

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.bounds import too_large
from fullconv.frameworks.onnx.moving import POOLS, pooled
from fullconv.frameworks.onnx.session import said_by_runtime
from fullconv.frameworks.onnx.single import NotRunnableError, Single

SIZES = 1024
"""The most numbers of a constant that sizes may depend on."""

NUMBERS = 128
"""The most numbers of a constant that may each be a size: two per axis of the largest rank."""


class NotInferredError(Exception):
    """ONNX says that an operator does not fit its inputs."""


@dataclass(frozen=True)
class Known:
    """The known shapes, types and numbers of a model's values, by their names."""

    opsets: list[OperatorSetIdProto]
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, ir.DataType]
    constants: Mapping[str, NDArray[Any]]

    def version(self, domain: str) -> int:
        """Return the version of the operators of a domain."""
        return next((opset.version for opset in self.opsets if opset.domain == domain), 1)


def kinds_of(node: ir.Node, proto: NodeProto, known: Known, most: int) -> dict[str, TypeProto]:
    """Return the types of a node's outputs, with their sizes where they are known.

    Sizes that ONNX does not infer are measured, if the node can return at most ``most`` numbers.

    Raises
    ------
    NotInferredError
        If the node does not fit its inputs.
    ModelError
        If the operator is unknown, or could return more numbers.
    """
    names = [value.name or "" for value in node.inputs if value is not None]
    types = {
        name: onnx.helper.make_tensor_type_proto(int(known.types[name]), known.shapes[name])
        for name in names
    }
    kinds = _inferred(node, proto, known, types)
    if len(kinds) == sum(map(bool, proto.output)) and all(
        is_known(kind) or not kind.HasField("tensor_type") for kind in kinds.values()
    ):
        return kinds
    numbers = _may_give(node, known, names)
    given = {name: known.constants[name] for name in names if name in known.constants}
    others = {name: kind for name, kind in types.items() if name not in given}
    try:
        single = Single(proto, known.opsets, given, others)
        kinds = single.kinds(measure=numbers <= most)
    except NotRunnableError as error:
        if kinds:
            return kinds  # the size stays unknown, which is reported later
        raise ModelError(
            f"convert: the model uses the operator {node.op_type!r} of domain "
            f"{node.domain or 'ai.onnx'!r}, version {known.version(node.domain)}, which ONNX does "
            f"not define, nor ONNX Runtime for such inputs ({said_by_runtime(error)}); export it "
            f"with standard operators."
        ) from None
    except Exception:
        return kinds
    if numbers > most and not all(map(is_known, kinds.values())):
        label = f"{node.op_type} {node.name or node.outputs[0].name!r}"
        raise too_large(label, (numbers,), most)
    return kinds


def is_known(kind: TypeProto) -> bool:
    """Whether a type is that of a tensor whose sizes are all known."""
    shape = kind.tensor_type.shape
    return kind.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in shape.dim)


def shape_of(kind: TypeProto) -> tuple[int, ...]:
    """Return the sizes of a type that has them."""
    return tuple(dim.dim_value for dim in kind.tensor_type.shape.dim)


def _inferred(
    node: ir.Node, proto: NodeProto, known: Known, types: Mapping[str, TypeProto]
) -> dict[str, TypeProto]:
    """Return the types that ONNX itself infers; none for operators that it does not define."""
    data = {
        name: onnx.numpy_helper.from_array(array, name)
        for name in types
        if (array := known.constants.get(name)) is not None and array.size <= SIZES
    }
    try:
        schema = onnx.defs.get_schema(node.op_type, known.version(node.domain), node.domain)
    except Exception:
        return {}
    try:
        kinds: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema, proto, dict(types), data, opset_imports=known.opsets
        )
    except Exception as error:
        line = first_line(error)
        for marker in ("[ShapeInferenceError] ", "[TypeInferenceError] "):
            line = line.removeprefix(marker)
        raise NotInferredError(line) from None
    if node.op_type in POOLS:
        _as_run(kinds, node, types)
    return kinds


def _as_run(kinds: Mapping[str, TypeProto], node: ir.Node, types: Mapping[str, TypeProto]) -> None:
    """Give the results of a pool the sizes that they have in ONNX Runtime."""
    cells = shape_of(types[node.inputs[0].name or ""])[2:] if node.inputs[0] is not None else ()
    outputs = pooled(node, cells)
    for kind in kinds.values():
        for dim, size in zip(kind.tensor_type.shape.dim[2:], outputs, strict=True):
            dim.dim_value = size if size > 0 else dim.dim_value


def _may_give(node: ir.Node, known: Known, names: Sequence[str]) -> int:
    """Return the most numbers that a node may return whose result is measured.

    It may return a row for every number of its input, with one entry per axis (NonZero), and may
    take each integer of its inputs as a size (MaxUnpool, and the Pad of other domains).
    """
    numbers = max((prod(known.shapes[name]) for name in names), default=1)
    rank = len(known.shapes[names[0]]) if node.op_type == "NonZero" else 1
    sizes = [
        attribute.value
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.INT
    ]
    for name in names:
        array = known.constants.get(name)
        if array is not None and array.size <= NUMBERS and np.issubdtype(array.dtype, np.integer):
            sizes += array.reshape(-1).tolist()
    return max(1, numbers) * max(1, rank) * prod(max(1, abs(int(size))) for size in sizes)
