"""Types and sizes of what an ONNX operator gives: inferred by ONNX, or seen in ONNX Runtime."""

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
from fullconv.frameworks.onnx.session import said_by_runtime
from fullconv.frameworks.onnx.single import NotRunnableError, Single

SIZES = 1024
"""Numbers of a constant that sizes may depend on."""

NUMBERS = 128
"""Numbers of a constant that may each be a size: a pair for every axis of the largest rank."""


class NotInferredError(Exception):
    """ONNX says that an operator does not fit what it is given."""


@dataclass(frozen=True)
class Known:
    """What is known of the values of a model, by their names."""

    opsets: list[OperatorSetIdProto]
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, ir.DataType]
    constants: Mapping[str, NDArray[Any]]

    def version(self, domain: str) -> int:
        """Return the version of the operators of a domain."""
        return next((held.version for held in self.opsets if held.domain == domain), 1)


def kinds_of(node: ir.Node, proto: NodeProto, known: Known, most: int) -> dict[str, TypeProto]:
    """Return the types of a node's outputs, with their sizes where they are known.

    What nobody infers is measured, if the node can give at most so many numbers.

    Raises
    ------
    NotInferredError
        If the node does not fit what it is given.
    ModelError
        If nobody knows such an operator, or it could give more.
    """
    names = [value.name or "" for value in node.inputs if value is not None]
    types = {
        name: onnx.helper.make_tensor_type_proto(int(known.types[name]), known.shapes[name])
        for name in names
    }
    found = _inferred(node, proto, known, types)
    if len(found) == sum(map(bool, proto.output)) and all(
        is_known(kind) or not kind.HasField("tensor_type") for kind in found.values()
    ):
        return found
    numbers = _may_give(node, known, names)
    given = {name: known.constants[name] for name in names if name in known.constants}
    others = {name: kind for name, kind in types.items() if name not in given}
    try:
        single = Single(proto, known.opsets, given, others)
        found = single.kinds(measure=numbers <= most)
    except NotRunnableError as error:
        if found:
            return found  # then the size is not known, as is said later
        raise ModelError(
            f"convert: the model uses the operator {node.op_type!r} of domain "
            f"{node.domain or 'ai.onnx'!r}, version {known.version(node.domain)}, which ONNX does "
            f"not define, nor ONNX Runtime for such inputs ({said_by_runtime(error)}); export it "
            f"with standard operators."
        ) from None
    except Exception:
        return found
    if numbers > most and not all(map(is_known, found.values())):
        told = f"{node.op_type} {node.name or node.outputs[0].name!r}"
        raise too_large(told, (numbers,), most)
    return found


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
    """Return what ONNX itself infers; nothing for operators that it does not define."""
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
        found: dict[str, TypeProto] = onnx.shape_inference.infer_node_outputs(
            schema, proto, dict(types), data, opset_imports=known.opsets
        )
    except Exception as error:
        line = first_line(error)
        for marker in ("[ShapeInferenceError] ", "[TypeInferenceError] "):
            line = line.removeprefix(marker)
        raise NotInferredError(line) from None
    return found


def _may_give(node: ir.Node, known: Known, names: Sequence[str]) -> int:
    """Return how many numbers may come of a node whose result is measured.

    It may have a row for every number that it is given, of as many as that has axes (NonZero), and
    take each whole number that it is given as a size (MaxUnpool, and others' Pad).
    """
    numbers = max((prod(known.shapes[name]) for name in names), default=1)
    rank = len(known.shapes[names[0]]) if node.op_type == "NonZero" else 1
    sizes = [held.value for held in node.attributes.values() if held.type == ir.AttributeType.INT]
    for name in names:
        array = known.constants.get(name)
        if array is not None and array.size <= NUMBERS and np.issubdtype(array.dtype, np.integer):
            sizes += array.reshape(-1).tolist()
    return max(1, numbers) * max(1, rank) * prod(max(1, abs(int(size))) for size in sizes)
