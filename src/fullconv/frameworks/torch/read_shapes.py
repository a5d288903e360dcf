"""Read ATen operators that rearrange, join, cut or pad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.aten import POINTWISE, FxNode, base_name, handles, out_of_place
from fullconv.frameworks.torch.read_maps import map_axes
from fullconv.frameworks.torch.reader import Slot
from fullconv.operations import (
    PADDING_MODES,
    Concat,
    Convolution,
    Identity,
    Opaque,
    Pad,
    Permute,
    Reshape,
    Slice,
    Take,
)

if TYPE_CHECKING:
    from fullconv.frameworks.torch.reader import Reader


@handles("cat")
def _cat(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    axis = a["dim"] % len(reader.shapes[node.name])
    reader.add(node, Concat(axis))


@handles("stack")
def _stack(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[node.name]
    axis = a["dim"] % len(shape)
    one = Reshape((*shape[:axis], 1, *shape[axis + 1 :]))
    layers = []
    for index, x in enumerate(a["tensors"]):
        layers.append(f"{node.name}_layer{index}")
        reader.shapes[layers[-1]] = one.shape
        reader.add(node, one, (x,), output=layers[-1])
    reader.add(node, Concat(axis), tuple(layers))


@handles("slice", "narrow")
def _slice(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[reader.names[node.args[0]]]  # type: ignore[index]
    axis = a["dim"] % len(shape)
    if base_name(node.target) == "narrow":
        bounds = slice(a["start"], a["start"] + a["length"])
    else:
        bounds = slice(a["start"], a["end"], a["step"])
    start, stop, step = bounds.indices(shape[axis])
    if (start, stop, step) == (0, shape[axis], 1):
        reader.add(node, Identity("slice"), (node.args[0],))
    else:
        reader.add(node, Slice(axis, start, stop, step), (node.args[0],))


@handles("flip", "roll")
def _reordered(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[reader.names[a["self"]]]
    axes, moved = a["dims"], a.get("shifts")
    axis = axes[0] % len(shape) if len(axes) == 1 else 0
    if axis == 0:  # it mixes images
        reader.opaque(node, base_name(node.target))
        return
    entries = range(shape[axis])
    if moved is None:
        indices = tuple(reversed(entries))
    else:
        shift = moved if isinstance(moved, int) else moved[0]
        indices = tuple((i - shift) % shape[axis] for i in entries)
    reader.add(node, Take(axis, indices), (a["self"],))


@handles("index_select", "index")
def _index(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[reader.names[a["self"]]]
    given = {a["dim"]: a["index"]} if "dim" in a else dict(enumerate(a["indices"]))
    given = {axis % len(shape): index for axis, index in given.items() if index is not None}
    numbers = [reader.numbers(index) for index in given.values()]
    if len(numbers) != 1 or numbers[0] is None or numbers[0].dim() != 1:
        reader.opaque(node, base_name(node.target))
        return
    (axis,) = given
    if numbers[0].dtype == torch.bool:
        numbers[0] = numbers[0].nonzero()[:, 0]
    indices = tuple(int(i) % shape[axis] for i in numbers[0])
    if axis == 0 and reader.names[a["self"]] not in reader.recipes:  # it selects images
        reader.opaque(node, base_name(node.target))
        return
    count = len(reader.nodes)
    reader.add(node, Take(axis, indices), (a["self"],))
    if len(reader.nodes) > count:  # else it took a part of a parameter
        reader.instead(functional.entries, (Slot(0), axis, list(indices)))


@handles("im2col")
def _unfold(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if not map_axes(node, reader, 2):
        return
    # Each channel's cells under the kernel become features: filters with a single 1.
    name = reader.names[a["self"]]
    (batch, channels, *cells), kernel = reader.shapes[name], tuple(a["kernel_size"])
    taps = kernel[0] * kernel[1]
    filters = torch.eye(taps).reshape(taps, 1, *kernel).repeat(channels, 1, 1, 1)
    padding, dilation, stride = a["padding"], a["dilation"], a["stride"]
    operation = Convolution(
        kernel, tuple(stride), tuple((p, p) for p in padding), tuple(dilation), channels, True
    )
    size = [s.output(n) for s, n in zip(operation.slidings, cells, strict=True)]
    apart = f"{node.name}_apart"
    reader.shapes[apart] = (batch, channels * taps, *size)
    weight = reader.generated(f"{node.name}_taps", filters, node.meta["val"])
    reader.add(node, operation, (a["self"], weight, None), output=apart)
    reader.add(node, Reshape(reader.shapes[node.name]), (apart,))


@handles("select")
def _select(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[reader.names[a["self"]]]
    axis = a["dim"] % len(shape)
    if isinstance(a["index"], FxNode):
        index = reader.number_of(a["index"])
        reader.add(node, Opaque("select"), (a["self"], index))
        reader.instead(functional.entry, (Slot(0), axis, Slot(1)))
        return
    index = a["index"] % shape[axis]
    reader.piece(node, a["self"], axis, index, index + 1, drop=True)


@handles("pad", "constant_pad_nd")
def _pad(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    numbers = list(a["pad"])
    rank = len(reader.shapes[node.name])
    pads = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)][::-1]
    full = tuple([(0, 0)] * (rank - len(pads)) + pads)
    mode = a.get("mode", "constant")
    value = a.get("value")
    if not 3 <= rank <= 5 or mode not in PADDING_MODES or any(full[0]):
        reader.opaque(node, f"pad ({mode})")
        return
    reader.add(node, Pad(full, mode, float(value or 0.0)), (a["self"],))


@handles("copy")
def _copy(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    before, after = (a[name].meta["val"] for name in ("src", "self"))
    same = reader.shapes[reader.names[a["src"]]] == reader.shapes[node.name]
    if same and before.dtype == after.dtype:
        reader.add(node, Identity("copy"), (a["src"],))
    else:
        reader.opaque(node, "copy")


@handles("permute")
def _permute(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    rank = len(reader.shapes[node.name])
    reader.add(node, Permute(tuple(d % rank for d in a["dims"])), (a["self"],))


@handles("transpose", "t", "swapaxes", "swapdims")
def _transpose(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    rank = len(reader.shapes[node.name])
    order = list(range(rank))
    numbers = [v for k, v in a.items() if k.startswith(("dim", "axis"))] or [0, rank - 1]
    i, j = (int(n) % rank for n in numbers)
    order[i], order[j] = order[j], order[i]
    reader.add(node, Permute(tuple(order)), (node.args[0],))


@handles("expand", "expand_as")
def _expand(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    name = reader.names[a["self"]]
    if reader.shapes[name] == reader.shapes[node.name]:
        reader.add(node, Identity("expand"), (a["self"],))
    elif all(_broadcasts(user, node, reader) for user in node.users):
        reader.names[node] = name
    else:
        reader.opaque(node, "expand")
        operation = reader.nodes[-1].operation
        if isinstance(operation, Opaque) and operation.standing is not None:
            sizes = (-1, *reader.shapes[node.name][1:])  # the first axis keeps its size
            reader.instead(torch.ops.aten.expand.default, (Slot(0), sizes))


def _broadcasts(user: FxNode, operand: FxNode, reader: Reader) -> bool:
    """Whether an operation broadcasts an operand itself, to the size of its other operand."""
    name = base_name(out_of_place(user.target))
    others = [x for x in user.all_input_nodes if x is not operand and x in reader.names]
    return name in POINTWISE and any(
        reader.shapes.get(reader.names[x]) == reader.shapes[operand.name] for x in others
    )


@handles("channel_shuffle")
def _channel_shuffle(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    # Reshape, permute, reshape.
    groups = a["groups"]
    batch, channels, *rest = reader.shapes[reader.names[node.args[0]]]  # type: ignore[index]
    split = (batch, groups, channels // groups, *rest)
    _rearrange(node, reader, split, (0, 2, 1, *range(3, 3 + len(rest))))


@handles("pixel_unshuffle")
def _pixel_unshuffle(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if not map_axes(node, reader, 2):
        return
    # Space to depth: reshape, permute, reshape.
    factor = a["downscale_factor"]
    batch, channels, rows, columns = reader.shapes[reader.names[node.args[0]]]  # type: ignore[index]
    split = (batch, channels, rows // factor, factor, columns // factor, factor)
    _rearrange(node, reader, split, (0, 1, 3, 5, 2, 4))


@handles("pixel_shuffle")
def _pixel_shuffle(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if not map_axes(node, reader, 2):
        return
    # Depth to space: reshape, permute, reshape.
    factor = a["upscale_factor"]
    batch, channels, rows, columns = reader.shapes[reader.names[node.args[0]]]  # type: ignore[index]
    split = (batch, channels // factor**2, factor, factor, rows, columns)
    _rearrange(node, reader, split, (0, 1, 4, 2, 5, 3))


def _rearrange(
    node: FxNode, reader: Reader, split: tuple[int, ...], order: tuple[int, ...]
) -> None:
    """Read a call as a reshape, a permute and another reshape."""
    apart, turned = f"{node.name}_split", f"{node.name}_turned"
    reader.shapes[apart] = split
    reader.shapes[turned] = tuple(split[axis] for axis in order)
    reader.add(node, Reshape(split), (node.args[0],), output=apart)
    reader.add(node, Permute(order), (apart,), output=turned)
    reader.add(node, Reshape(reader.shapes[node.name]), (turned,))
