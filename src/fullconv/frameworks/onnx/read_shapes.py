"""Readers of ONNX's operators that rearrange or cut tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from fullconv.frameworks.onnx.operators import handles
from fullconv.operations import (
    Concat,
    Identity,
    Pad,
    PaddingMode,
    Permute,
    Reshape,
    Slice,
    Take,
)

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.reader import Reader


@handles("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(node: ir.Node, reader: Reader) -> None:
    reader.add(node, Reshape(reader.shape(node.outputs[0])), (node.inputs[0],))


@handles("Transpose")
def _transpose(node: ir.Node, reader: Reader) -> None:
    rank = len(reader.shape(node.inputs[0]))
    order = node.attributes.get_ints("perm", None) or range(rank)[::-1]
    reader.add(node, Permute(tuple(order)), (node.inputs[0],))


@handles("Concat")
def _concat(node: ir.Node, reader: Reader) -> None:
    axis = node.attributes.get_int("axis", 0) % len(reader.shape(node.outputs[0]))
    reader.add(node, Concat(axis))


@handles("Slice")
def _slice(node: ir.Node, reader: Reader) -> None:
    shape = reader.shape(node.inputs[0])
    numbers = [reader.constant(value) for value in node.inputs[1:]]
    if any(n is None for n in numbers) or len(numbers[0]) == 0:
        reader.opaque(node, "Slice")
        return
    starts, ends = numbers[0], numbers[1]
    axes = numbers[2] if len(numbers) > 2 else range(len(starts))
    steps = numbers[3] if len(numbers) > 3 else [1] * len(starts)
    cuts = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        at = int(axis) % len(shape)
        cuts.append((at, *slice(int(start), int(end), int(step)).indices(shape[at])))
    if any(step < 1 for *_, step in cuts):
        axis, *ends = cuts[0]
        if len(cuts) > 1 or axis == 0:
            reader.opaque(node, "Slice backwards")
        else:
            reader.add(node, Take(axis, tuple(range(*ends))), (node.inputs[0],))
        return
    name: ir.Value | str | None = node.inputs[0]
    now = list(shape)
    for index, (axis, start, stop, step) in enumerate(cuts):
        now[axis] = len(range(start, stop, step))
        last = index == len(cuts) - 1
        result = node.outputs[0].name if last else f"{node.outputs[0].name}/{index}"
        reader.shapes[result or ""] = tuple(now)
        reader.add(node, Slice(axis, start, stop, step), (name,), result)
        name = result


@handles("Split")
def _split(node: ir.Node, reader: Reader) -> None:
    reader.pieces(node, node.attributes.get_int("axis", 0) % len(reader.shape(node.inputs[0])))


@handles("Gather")
def _gather(node: ir.Node, reader: Reader) -> None:
    shape = reader.shape(node.inputs[0])
    axis = node.attributes.get_int("axis", 0) % len(shape)
    index = reader.constant(node.inputs[1])
    if index is None or np.ndim(index) > 1:
        reader.opaque(node, "Gather")
    elif np.ndim(index) == 0:
        reader.select(node, axis, int(index) % shape[axis])
    else:
        numbers = [int(i) % shape[axis] for i in index]
        steps = set(np.diff(numbers).tolist()) or {1}
        if len(steps) == 1 and min(steps) > 0:
            step = steps.pop()
            reader.add(node, Slice(axis, numbers[0], numbers[-1] + 1, step), (node.inputs[0],))
        elif axis == 0 and reader.constant(node.inputs[0]) is None:  # it would take other images
            reader.opaque(node, "Gather")
        else:
            reader.add(node, Take(axis, tuple(numbers)), (node.inputs[0],))


@handles("Pad")
def _pad(node: ir.Node, reader: Reader) -> None:
    shape = reader.shape(node.inputs[0])
    settings = [reader.constant(value) for value in node.inputs[1:]]
    numbers, value, axes = (*settings, None, None)[:3]
    modes: dict[str, PaddingMode] = {
        "constant": "constant",
        "reflect": "reflect",
        "edge": "replicate",
        "wrap": "circular",
    }
    mode = modes.get(node.attributes.get_string("mode", "constant"))
    unknown = [v for v, n in zip(node.inputs[1:], settings, strict=True) if v and n is None]
    if unknown or numbers is None or mode is None or not 3 <= len(shape) <= 5:
        reader.opaque(node, "Pad")
        return
    axes = range(len(shape)) if axes is None else axes
    pads = [(0, 0)] * len(shape)
    for place, axis in enumerate(axes):
        pads[int(axis) % len(shape)] = (int(numbers[place]), int(numbers[place + len(axes)]))
    number = float(np.asarray(value).reshape(-1)[0]) if value is not None else 0.0
    reader.add(node, Pad(tuple(pads), mode, number), (node.inputs[0],))


@handles("Expand")
def _expand(node: ir.Node, reader: Reader) -> None:
    same = reader.shape(node.inputs[0]) == reader.shape(node.outputs[0])
    if same:
        reader.add(node, Identity("Expand"), (node.inputs[0],))
    else:
        reader.opaque(node, "Expand")
