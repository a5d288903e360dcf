"""The tensors of an ONNX model: what each claims to hold, and whether it does."""

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
"""What a message calls a model that comes from no file."""

LARGEST_DENSE = 1 << 26
"""Numbers that a sparse tensor may unfold to: its few entries may claim any size."""

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
"""Bits of a number, where they lie one behind the other (onnx.proto, 'raw_data')."""

FIELDS = {
    **dict.fromkeys(("FLOAT", "COMPLEX64"), "float_data"),
    **dict.fromkeys(("DOUBLE", "COMPLEX128"), "double_data"),
    **dict.fromkeys(("UINT32", "UINT64"), "uint64_data"),
    "INT64": "int64_data",
    "STRING": "string_data",
}
"""Fields of numbers that lie one by one; those of all other types are ``int32_data``."""


def tensors_of(message: Message) -> Iterator[TensorProto]:
    """Yield every tensor below a message: in weights, attributes, functions, graphs."""
    for value in _parts(message):
        if isinstance(value, TensorProto):
            yield value
        else:
            yield from tensors_of(value)


def check_tensors(model: onnx.ModelProto, told: str) -> None:
    """Refuse a model with a tensor that is not as large as it claims, or names that are no text.

    Raises
    ------
    ModelError
        Before any memory is taken for what is claimed.
    """
    for count in (len(model.graph.node), len(model.graph.initializer)):
        if count > MOST_NODES:
            raise ModelError(
                f"{told}: it has {count} operators or weights, more than {MOST_NODES}; export it "
                f"in a smaller form."
            )
    _check_text(model, told)
    for tensor in tensors_of(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            fault = _fault(tensor)
            if fault:
                raise ModelError(
                    f"{told}: its tensor {tensor.name!r} {fault}; the model is damaged: export or "
                    f"copy it again."
                )


def needed_bytes(tensor: TensorProto) -> int:
    """Return how many bytes a tensor's numbers take where they lie one behind the other.

    Raises
    ------
    ValueError
        If its sizes or its type are none.
    """
    name = kind_of(tensor)
    if name not in BITS:
        raise ValueError(f"is of type {name}, whose numbers do not lie one behind the other")
    return -(elements(tensor) * BITS[name] // -8)


def elements(tensor: TensorProto) -> int:
    """Return how many numbers a tensor claims to hold; `ValueError` for sizes below zero."""
    if any(size < 0 for size in tensor.dims):
        raise ValueError(f"claims the sizes {tuple(tensor.dims)}")
    return prod(tensor.dims)


def kind_of(tensor: TensorProto) -> str:
    """Return the name of a tensor's type; `ValueError` where it is none."""
    try:
        name: str = TensorProto.DataType.Name(tensor.data_type)
    except ValueError:
        raise ValueError(f"is of no type (number {tensor.data_type})") from None
    if name == "UNDEFINED":
        raise ValueError("is of no type")
    return name


def _fault(tensor: TensorProto) -> str:
    """Return what is wrong with a tensor that holds its own numbers; empty where nothing is."""
    try:
        kind, claimed = kind_of(tensor), elements(tensor)
        if tensor.HasField("segment"):
            return "is a piece of another tensor"
        if tensor.HasField("raw_data"):
            needed, held, what = needed_bytes(tensor), len(tensor.raw_data), "bytes"
        else:
            field = FIELDS.get(kind, "int32_data")
            # Numbers of less than a byte lie a byte at a time, complex ones as two.
            each = BITS.get(kind, 8) if BITS.get(kind, 8) < 8 else 8
            needed = -(claimed * each // -8) * (2 if kind.startswith("COMPLEX") else 1)
            held, what = len(getattr(tensor, field)), "numbers"
    except ValueError as error:
        return str(error)
    sizes = "x".join(map(str, tensor.dims)) or "one number"
    return "" if needed == held else f"claims {sizes} of {kind}, {needed} {what}, and holds {held}"


def _parts(message: Message) -> Iterator[Any]:
    for _, value in message.ListFields():
        if isinstance(value, Message):
            yield value
        elif not isinstance(value, str | bytes | int | float):
            yield from (item for item in value if isinstance(item, Message))


def _check_text(message: Message, told: str) -> None:
    """Refuse names that are not UTF-8, which protobuf hands on as bytes."""
    for field, value in message.ListFields():
        texts = [value] if isinstance(value, str | bytes) else value
        if field.type == field.TYPE_STRING:
            _check_utf8(texts, field.name, told)
        elif isinstance(message, onnx.AttributeProto) and field.type == field.TYPE_BYTES:
            _check_utf8(texts, f"attribute {message.name!r}", told)
    for part in _parts(message):
        if not isinstance(part, TensorProto):
            _check_text(part, told)


def _check_utf8(texts: Iterable[str | bytes], what: str, told: str) -> None:
    for text in texts:
        try:
            if isinstance(text, bytes):
                text.decode()
        except UnicodeDecodeError:
            raise ModelError(
                f"{told}: its {what} {text[:40]!r} is no text; the model is damaged: export or "
                f"copy it again."
            ) from None


def dense(sparse: SparseTensorProto, told: str) -> TensorProto:
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
            f"{told}: its sparse tensor {name!r} cannot be read ({error}); export the model with "
            f"plain tensors."
        ) from None
    return onnx.numpy_helper.from_array(array.reshape(tuple(sparse.dims)), name)
