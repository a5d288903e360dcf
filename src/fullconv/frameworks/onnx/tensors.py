"""Checks of the tensors of an ONNX model: each must hold as many numbers as it claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import SparseTensorProto, TensorProto

from fullconv.errors import ModelError
from fullconv.frameworks.bounds import MOST_NODES

MEMORY = "the model"
"""The name, in messages, of a model that comes from no file."""

LARGEST_DENSE = 1 << 26
"""The most numbers that a sparse tensor may unfold to: its few entries may claim any size."""

BITS = {
    **dict.fromkeys(("DOUBLE", "INT64", "UINT64", "COMPLEX64"), 64),
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("FLOAT16", "BFLOAT16", "INT16", "UINT16"), 16),
    **dict.fromkeys(("INT8", "UINT8", "BOOL", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ"), 8),
    **dict.fromkeys(("FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("INT4", "UINT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("INT2", "UINT2"), 2),
    "COMPLEX128": 128,
}
"""Bits of a number in packed storage (onnx.proto, 'raw_data')."""

FIELDS = {
    **dict.fromkeys(("FLOAT", "COMPLEX64"), "float_data"),
    **dict.fromkeys(("DOUBLE", "COMPLEX128"), "double_data"),
    **dict.fromkeys(("UINT32", "UINT64"), "uint64_data"),
    "INT64": "int64_data",
    "STRING": "string_data",
}
"""Fields of numbers that are stored one by one; all other types use ``int32_data``."""


def tensors_of(message: Message) -> Iterator[TensorProto]:
    """Yield every tensor below a message: in weights, attributes, functions, graphs."""
    for value in _parts(message):
        if isinstance(value, TensorProto):
            yield value
        else:
            yield from tensors_of(value)


def check_tensors(model: onnx.ModelProto, label: str) -> None:
    """Refuse a model with a tensor that is not as large as it claims, or names that are no text.

    Raises
    ------
    ModelError
        If there is one; before any memory is taken for the claimed sizes.
    """
    for count in (len(model.graph.node), len(model.graph.initializer)):
        if count > MOST_NODES:
            raise ModelError(
                f"{label}: it has {count} operators or weights, more than {MOST_NODES}; export it "
                f"in a smaller form."
            )
    _check_text(model, label)
    for tensor in tensors_of(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            fault = _fault(tensor)
            if fault:
                raise ModelError(
                    f"{label}: its tensor {tensor.name!r} {fault}; the model is damaged: export or "
                    f"copy it again."
                )


def needed_bytes(tensor: TensorProto) -> int:
    """Return the number of bytes that a tensor's numbers take in packed storage.

    Raises
    ------
    ValueError
        If its sizes or its type are invalid, or its type is not packed.
    """
    name = kind_of(tensor)
    if name not in BITS:
        raise ValueError(f"is of type {name}, whose numbers do not lie one behind the other")
    return -(elements(tensor) * BITS[name] // -8)


def elements(tensor: TensorProto) -> int:
    """Return the count of numbers that a tensor claims; `ValueError` for sizes below zero."""
    if any(size < 0 for size in tensor.dims):
        raise ValueError(f"claims the sizes {tuple(tensor.dims)}")
    return prod(tensor.dims)


def kind_of(tensor: TensorProto) -> str:
    """Return the name of a tensor's type; `ValueError` for an invalid one."""
    try:
        name: str = TensorProto.DataType.Name(tensor.data_type)
    except ValueError:
        raise ValueError(f"is of no type (number {tensor.data_type})") from None
    if name == "UNDEFINED":
        raise ValueError("is of no type")
    return name


def _fault(tensor: TensorProto) -> str:
    """Return the fault of a tensor that holds its own numbers; empty where it has none."""
    try:
        kind, claimed = kind_of(tensor), elements(tensor)
        if tensor.HasField("segment"):
            return "is a piece of another tensor"
        if tensor.HasField("raw_data"):
            needed, stored, what = needed_bytes(tensor), len(tensor.raw_data), "bytes"
        else:
            field = FIELDS.get(kind, "int32_data")
            # Numbers of less than a byte are stored by the byte, complex ones as two numbers.
            each = BITS.get(kind, 8) if BITS.get(kind, 8) < 8 else 8
            needed = -(claimed * each // -8) * (2 if kind.startswith("COMPLEX") else 1)
            stored, what = len(getattr(tensor, field)), "numbers"
    except ValueError as error:
        return str(error)
    sizes = "x".join(map(str, tensor.dims)) or "one number"
    if needed == stored:
        return ""
    return f"claims {sizes} of {kind}, {needed} {what}, and holds {stored}"


def _parts(message: Message) -> Iterator[Any]:
    for _, value in message.ListFields():
        if isinstance(value, Message):
            yield value
        elif not isinstance(value, str | bytes | int | float):
            yield from (item for item in value if isinstance(item, Message))


def _check_text(message: Message, label: str) -> None:
    """Refuse names that are not UTF-8, which protobuf returns as bytes."""
    for field, value in message.ListFields():
        texts = [value] if isinstance(value, str | bytes) else value
        if field.type == field.TYPE_STRING:
            _check_utf8(texts, field.name, label)
        elif isinstance(message, onnx.AttributeProto) and field.type == field.TYPE_BYTES:
            _check_utf8(texts, f"attribute {message.name!r}", label)
    for part in _parts(message):
        if not isinstance(part, TensorProto):
            _check_text(part, label)


def _check_utf8(texts: Iterable[str | bytes], what: str, label: str) -> None:
    for text in texts:
        try:
            if isinstance(text, bytes):
                text.decode()
        except UnicodeDecodeError:
            raise ModelError(
                f"{label}: its {what} {text[:40]!r} is no text; the model is damaged: export or "
                f"copy it again."
            ) from None


def dense(sparse: SparseTensorProto, label: str) -> TensorProto:
    """Return a sparse tensor with all its zeros (onnx.proto, SparseTensorProto).

    Raises
    ------
    ModelError
        If its entries lie outside of it, or it claims more than `LARGEST_DENSE` numbers.
    """
    name = sparse.values.name
    try:
        if any(size < 0 for size in sparse.dims) or prod(sparse.dims) > LARGEST_DENSE:
            raise ValueError(f"claims the sizes {tuple(sparse.dims)}")
        values = onnx.numpy_helper.to_array(sparse.values)
        places = onnx.numpy_helper.to_array(sparse.indices)
        if places.ndim == 2:
            places = np.ravel_multi_index(tuple(places.T), tuple(sparse.dims))
        array = np.zeros(prod(sparse.dims), values.dtype)
        if places.size and places.min() < 0:
            raise ValueError("has entries ahead of its first place")
        array[places] = values
    except (ValueError, IndexError, TypeError) as error:
        raise ModelError(
            f"{label}: its sparse tensor {name!r} cannot be read ({error}); export the model with "
            f"plain tensors."
        ) from None
    return onnx.numpy_helper.from_array(array.reshape(tuple(sparse.dims)), name)
