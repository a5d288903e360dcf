"""How each operation of ``keras.ops`` that a model calls reads as records of the vocabulary.

``x + y`` and ``keras.ops.relu(x)`` in a functional model are calls of operations. What has no
handler becomes `Opaque`, and runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from fullconv.frameworks.keras.calls import Call, Slot, Tensor, numbers, slots
from fullconv.frameworks.keras.map_layers import MODES
from fullconv.frameworks.keras.private import OPERATIONS
from fullconv.frameworks.orders import to_map_order
from fullconv.operations import (
    AlongAxis,
    Concat,
    Pad,
    Permute,
    Pointwise,
    Reduce,
    Reshape,
    Slice,
    Take,
)
from fullconv.table import Table

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

Arguments = tuple[Any, ...]
Handler = Callable[["Reader", keras.Operation, str, Arguments, Tensor], bool]
"""Reads a call of an operation with some arguments; returns whether it could."""

POINTWISE = frozenset(
    """
    Abs Absolute Add Arccos Arcsin Arctan Cast Ceil Celu Clip Copy Cos Cosh Divide Elu Equal Exp
    Expm1 Floor Gelu Greater GreaterEqual HardShrink HardSigmoid HardSilu HardTanh LeakyRelu Less
    LessEqual Log Log1p LogSigmoid Maximum Minimum Multiply Negative NotEqual Power Reciprocal Relu
    Relu6 Round Rsqrt Selu Sigmoid Sign Silu Sin Sinh SoftShrink Softplus Softsign SparsePlus
    SparseSigmoid Sqrt Square Squareplus Subtract Tan Tanh TanhShrink Threshold TrueDivide Where
    """.split()
)

_handles = Table[str, Handler]("a reader", POINTWISE)


def read(
    reader: Reader, operation: keras.Operation, path: str, args: Any, kwargs: Any, result: Any
) -> None:
    """Read one call; what cannot be read becomes `Opaque`."""
    kind = type(operation)
    own = kind.__module__.startswith(OPERATIONS)
    if own and kind.__name__ in POINTWISE and keras.utils.is_keras_tensor(result):
        _pointwise(reader, operation, path, args, kwargs, result)
        return
    told = {name: value for name, value in kwargs.items() if value is not None}
    if set(told) == {"constant_values"}:
        args, told = (*args, told["constant_values"]), {}
    handler = _handles.find(kind.__name__) if own and not told else None
    if handler is None or not handler(reader, operation, path, args, result):
        reader.add_opaque(operation, path, args, kwargs, result)


def _pointwise(
    reader: Reader, operation: keras.Operation, path: str, args: Any, kwargs: Any, result: Tensor
) -> None:
    """Read a function of corresponding numbers; arrays among its operands are parameters."""
    flat = keras.tree.flatten((args, kwargs))
    arrays = [x for x in flat if _varies(x)]
    if not arrays:
        tensors, args, kwargs = slots(args, kwargs)
        inputs, output = reader.alike(tensors, result, path)
        call = Call(operation, args, kwargs)
        reader.add(Pointwise(type(operation).__name__), inputs, (output,), path, call)
        return
    stand_ins = {id(x): keras.KerasTensor(tuple(x.shape), dtype="float32") for x in arrays}
    names: dict[int, str] = {}
    for x in arrays:
        recipe = reader.weight(x, f"{path}/operand")
        names[id(stand_ins[id(x)])] = recipe.source
    args, kwargs = keras.tree.map_structure(lambda x: stand_ins.get(id(x), x), (args, kwargs))
    tensors, args, kwargs = slots(args, kwargs)
    inputs = [names[id(x)] if id(x) in names else reader.native(x) for x in tensors]
    output = reader.bind(result, path)
    call = Call(operation, args, kwargs)
    reader.add(Pointwise(type(operation).__name__), inputs, (output,), path, call)


def _varies(value: Any) -> bool:
    """Whether an argument is an array, or a variable, of more than one number."""
    if keras.utils.is_keras_tensor(value) or not hasattr(value, "shape"):
        return False
    return isinstance(value, keras.Variable) or int(np.prod(tuple(value.shape))) > 1


@_handles("Reshape", "Ravel", "Squeeze", "ExpandDims")
def _reshape(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    if type(operation).__name__ == "Ravel":
        return False
    source, output = reader.native(args[0]), reader.bind(result, path)
    call = Call(operation)
    reader.add(Reshape(reader.shapes[output]), (source,), (output,), path, call)
    return True


@_handles("Transpose")
def _transpose(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    rank = len(args[0].shape)
    order = tuple(int(n) % rank for n in operation.axes or range(rank)[::-1])
    source, output = reader.native(args[0]), reader.bind(result, path)
    reader.add(Permute(order), (source,), (output,), path, Call(operation))
    return True


@_handles("Moveaxis", "Swapaxes")
def _move_axes(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    # NumPy moves axes that are told apart by their sizes.
    places = np.broadcast_to(True, range(1, 1 + len(args[0].shape)))
    if type(operation).__name__ == "Swapaxes":
        moved = np.swapaxes(places, operation.axis1, operation.axis2)
    else:
        moved = np.moveaxis(places, operation.source, operation.destination)
    source, output = reader.native(args[0]), reader.bind(result, path)
    order = tuple(size - 1 for size in moved.shape)
    reader.add(Permute(order), (source,), (output,), path, Call(operation))
    return True


@_handles("Concatenate")
def _concatenate(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    tensors = list(args[0])
    if not all(keras.utils.is_keras_tensor(x) for x in tensors):
        return False
    inputs, output = reader.alike(tensors, result, path)
    axis = reader.axis(operation.axis, result)
    reader.add(Concat(axis), inputs, (output,), path, Call(operation))
    return True


@_handles("Mean", "Sum", "Max", "Amax")
def _reduce(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    kinds: dict[str, Literal["mean", "sum", "max"]] = {"Mean": "mean", "Sum": "sum"}
    if operation.axis is None or getattr(operation, "initial", None) is not None:
        return False
    rank = len(args[0].shape)
    given = [operation.axis] if isinstance(operation.axis, int) else operation.axis
    axes = tuple(sorted(int(axis) % rank for axis in given))
    keepdims = bool(operation.keepdims)
    record = Reduce(kinds.get(type(operation).__name__, "max"), axes, keepdims)
    source, output = reader.native(args[0]), reader.bind(result, path)
    reader.add(record, (source,), (output,), path, Call(operation))
    return True


@_handles("Softmax", "LogSoftmax")
def _softmax(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    if not isinstance(operation.axis, int):
        return False
    inputs, output = reader.alike([args[0]], result, path)
    name = "softmax" if type(operation).__name__ == "Softmax" else "log_softmax"
    axis = reader.axis(operation.axis, result)
    reader.add(AlongAxis(name, axis), inputs, (output,), path, Call(operation))
    return True


@_handles("GetItem")
def _get_item(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    """Read ``x[:, 1:, ..., 0]``: one slice per axis that is cut, then the axes that are dropped."""
    x, key = args
    cuts = _cuts(key, tuple(x.shape))
    if cuts is None:
        return False
    source, shape = reader.native(x), list(x.shape)
    for axis, kept in cuts:
        shape[axis] = len(kept)
        cut = reader.fresh(f"{path}/axis{axis}")
        reader.shapes[cut] = tuple(shape)
        record = Slice(axis, kept.start, kept.stop, kept.step)
        reader.add(record, (source,), (cut,), path, Call(operation))
        source = cut
    output = reader.bind(result, path)
    reader.add(Reshape(reader.shapes[output]), (source,), (output,), path, Call(operation))
    return True


def _cuts(key: Any, shape: tuple[int, ...]) -> list[tuple[int, range]] | None:
    """Return what is kept of each axis that an index cuts; None where it does more than that."""
    parts = list(key) if isinstance(key, (tuple, list)) else [key]
    if not all(part is Ellipsis or isinstance(part, (int, slice)) for part in parts):
        return None
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    cuts = []
    for axis, (part, size) in enumerate(zip(parts, shape, strict=False)):
        if isinstance(part, int):
            cuts.append((axis, range(part % size, part % size + 1)))
        elif part.indices(size) != (0, size, 1):
            cuts.append((axis, range(*part.indices(size))))
    if any(axis == 0 or kept.step < 1 or not kept for axis, kept in cuts):
        return None
    return cuts


@_handles("Flip", "Roll", "Take")
def _take(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    """Read what leaves out or reorders entries of one axis."""
    x, *more = args
    if not isinstance(operation.axis, int) or any(
        keras.utils.is_keras_tensor(each) for each in more
    ):
        return False
    axis = operation.axis % len(x.shape)
    size, kind = x.shape[axis], type(operation).__name__
    if axis == 0 or (kind == "Roll" and not isinstance(operation.shift, int)):
        return False
    entries = np.arange(size)
    if kind == "Take":
        if numbers(more[0]).ndim != 1:
            return False
        entries = entries[numbers(more[0])]
    else:
        entries = entries[::-1] if kind == "Flip" else np.roll(entries, operation.shift)
    source, output = reader.native(x), reader.bind(result, path)
    record, call = Take(axis, tuple(map(int, entries))), Call(operation, (Slot(0), *more))
    reader.add(record, (source,), (output,), path, call)
    return True


@_handles("Pad")
def _pad(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    x, *value = args
    rank, modes = len(x.shape), {name: mode for mode, name in MODES.items()}
    width = [(int(before), int(after)) for before, after in operation.pad_width]
    width = width * rank if len(width) == 1 else width
    mode = modes.get(operation.mode)
    plain = not value or value[0] is None or isinstance(value[0], (int, float))
    if mode is None or not plain or not 3 <= rank <= 5 or any(width[0]):
        return False
    (source,), output = reader.alike([x], result, path)
    order = to_map_order(rank) if reader.has_map(result) else range(rank)
    number = float(value[0] or 0) if value else 0.0
    record = Pad(tuple(width[axis] for axis in order), mode, number)
    reader.add(record, (source,), (output,), path, Call(operation, (Slot(0), *value)))
    return True
