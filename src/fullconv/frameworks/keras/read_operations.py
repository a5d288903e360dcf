"""Readers of operations of ``keras.ops`` that move, cut, pad, join or reduce tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np

from fullconv.frameworks.keras.calls import Call, Slot, Tensor, numbers
from fullconv.frameworks.keras.map_layers import MODES
from fullconv.frameworks.keras.tables import Arguments, handles_operation
from fullconv.frameworks.orders import to_map_order
from fullconv.operations import AlongAxis, Concat, Pad, Permute, Reduce, Reshape, Slice, Take

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader


@handles_operation("Reshape", "Ravel", "Squeeze", "ExpandDims")
def _reshape(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    if type(operation).__name__ == "Ravel":
        return False
    source, output = reader.native(args[0]), reader.bind(result, path)
    call = Call(operation)
    reader.add(Reshape(reader.shapes[output]), (source,), (output,), path, call)
    return True


@handles_operation("Transpose")
def _transpose(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    rank = len(args[0].shape)
    order = tuple(int(n) % rank for n in operation.axes or range(rank)[::-1])
    source, output = reader.native(args[0]), reader.bind(result, path)
    reader.add(Permute(order), (source,), (output,), path, Call(operation))
    return True


@handles_operation("Moveaxis", "Swapaxes")
def _move_axes(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    # NumPy moves the axes of an array whose sizes all differ, so that each can be recognized.
    places = np.broadcast_to(True, range(1, 1 + len(args[0].shape)))
    if type(operation).__name__ == "Swapaxes":
        moved = np.swapaxes(places, operation.axis1, operation.axis2)
    else:
        moved = np.moveaxis(places, operation.source, operation.destination)
    source, output = reader.native(args[0]), reader.bind(result, path)
    order = tuple(size - 1 for size in moved.shape)
    reader.add(Permute(order), (source,), (output,), path, Call(operation))
    return True


@handles_operation("Concatenate")
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


REDUCTIONS: dict[str, Literal["mean", "sum", "max", "var", "std"]] = {
    **{"Mean": "mean", "Sum": "sum", "Max": "max", "Amax": "max", "Var": "var", "Std": "std"},
}


@handles_operation(*REDUCTIONS)
def _reduce(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    if getattr(operation, "initial", None) is not None:
        return False
    rank, given = len(args[0].shape), operation.axis
    if given is None:
        given = range(rank)
    elif isinstance(given, int):
        given = [given]
    axes = tuple(sorted(int(axis) % rank for axis in given))
    keepdims = bool(operation.keepdims)
    record = Reduce(REDUCTIONS[type(operation).__name__], axes, keepdims)
    source, output = reader.native(args[0]), reader.bind(result, path)
    reader.add(record, (source,), (output,), path, Call(operation))
    return True


@handles_operation("Softmax", "LogSoftmax")
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


@handles_operation("GetItem")
def _get_item(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    """Read ``x[:, 1:, ..., 0]``: one slice per axis that is cut, then the axes that are dropped."""
    x, key = args
    cuts = _cuts(key, tuple(x.shape))
    if cuts is None or (reader.batch > 1 and any(axis == 0 for axis, _ in cuts)):
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
    """Return the kept range of each axis that an index cuts; None where it does not only cut."""
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
    if any(kept.step < 1 or not kept for axis, kept in cuts):
        return None
    return cuts


@handles_operation("Flip", "Roll", "Take")
def _take(
    reader: Reader, operation: keras.Operation, path: str, args: Arguments, result: Tensor
) -> bool:
    """Read an operation that leaves out or reorders entries of one axis."""
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


@handles_operation("Pad")
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
