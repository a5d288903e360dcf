"""How each ATen operator reads as a record of the vocabulary.

Written for the operators that ``torch.export`` of PyTorch 2.13 leaves in its training dialect.
Arguments are bound by the operator's own schema, so a default is never guessed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn import functional as F

from fullconv.frameworks.torch import functional
from fullconv.geometry import Sliding
from fullconv.operations import (
    PADDING_MODES,
    AdaptivePool,
    AlongAxis,
    Concat,
    Convolution,
    GroupNormalization,
    Identity,
    LayerNormalization,
    Linear,
    Opaque,
    Operation,
    Pad,
    PerChannel,
    Permute,
    Pointwise,
    Pool,
    Reduce,
    Reshape,
    Slice,
    TransposedConvolution,
    Upsample,
)

if TYPE_CHECKING:
    from fullconv.frameworks.torch.read import Reader

FxNode = torch.fx.Node
Handler = Callable[[FxNode, "Reader", dict[str, Any]], None]

_handlers: dict[str, Handler] = {}

POINTWISE = frozenset(
    """
    abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh bitwise_and bitwise_not
    bitwise_or bitwise_xor ceil celu clamp clamp_max clamp_min clip cos cosh div elu eq erf erfc
    exp exp2 expm1 fill floor floor_divide fmod frac ge gelu gt hardshrink hardsigmoid hardswish
    hardtanh isfinite isinf isnan le leaky_relu lerp log log10 log1p log2 log_sigmoid
    logical_and logical_not logical_or logical_xor logit lt masked_fill maximum minimum mish mul
    nan_to_num ne neg pow reciprocal relu relu6 remainder round rrelu rsqrt rsub selu sgn sigmoid
    sign silu sin sinh softplus softshrink sqrt square sub tan tanh threshold to trunc type_as
    where zero _to_copy
    """.split()
)
IDENTITY = frozenset(
    """
    alias alpha_dropout clone contiguous detach dropout feature_alpha_dropout feature_dropout
    lift_fresh_copy
    """.split()
)
ALIASES = IDENTITY - frozenset(["clone", "contiguous", "lift_fresh_copy"])
"""What hands its argument on in eval mode, and no copy of it."""
RESHAPE = frozenset("_unsafe_view flatten reshape squeeze unflatten unsqueeze view view_as".split())


def base_name(target: Any) -> str:
    """Return an operator's name without namespace and overload: ``conv2d``."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target.overloadpacket.__name__)
    return getattr(target, "__name__", str(target))


def is_in_place(target: Any) -> bool:
    """Whether an operator overwrites its first argument."""
    name = base_name(target)
    return isinstance(target, torch._ops.OpOverload) and name[-1] == "_" and name[-2:] != "__"


def out_of_place(target: Any) -> Any:
    """Return the operator that gives a new tensor instead of overwriting its argument."""
    if not is_in_place(target):
        return target
    packet = getattr(torch.ops.aten, base_name(target)[:-1])
    return getattr(packet, target._overloadname)


def base_of_view(node: FxNode) -> FxNode | None:
    """Return what a call's result shares its memory with; None where it has its own."""
    if node.target is operator.getitem:
        parent = node.args[0]
        return base_of_view(parent) if isinstance(parent, FxNode) else None
    base = node.args[0] if node.args else None
    if not isinstance(base, FxNode) or not isinstance(node.target, torch._ops.OpOverload):
        return None
    name, (first, *_) = base_name(node.target), node.target._schema.arguments
    if name in ALIASES:
        return base
    if first.alias_info is None or first.alias_info.is_write:
        return None
    before, after = base.meta["val"], node.meta["val"]
    if name in ("contiguous", "to", "flatten", "reshape"):  # those copy where they must
        return base if before.dtype == after.dtype and _is_viewed(before, after) else None
    return base


def _is_viewed(before: torch.Tensor, after: torch.Tensor) -> bool:
    try:
        return before.view(after.shape).stride() == after.stride()
    except (RuntimeError, ValueError):
        return False


def read(node: FxNode, reader: Reader) -> bool:
    """Read one call; return whether it has become part of the graph.

    What has no handler becomes `Opaque`; a tuple that is only taken apart is read item by item.
    """
    if pieces(node, reader) is not None or only_first_used(node):
        return _tuple(node, reader)
    name = base_name(out_of_place(node.target))
    handler = _handlers.get(name)
    known = isinstance(node.target, torch._ops.OpOverload) and node.target.namespace == "aten"
    reader.name(node)
    if known and handler is not None:
        handler(node, reader, arguments(node))
    elif known and name in POINTWISE:
        reader.add(node, Pointwise(name))
    elif known and name in IDENTITY:
        reader.add(node, Identity(name), (node.args[0],))
    elif known and name in RESHAPE:
        reader.add(node, Reshape(reader.shapes[node.name]), (node.args[0],))
    else:
        reader.add(node, Opaque(name))
    return True


def arguments(node: FxNode) -> dict[str, Any]:
    """Bind a call's arguments to the names in its operator's schema, defaults included."""
    bound: dict[str, Any] = {}
    for index, argument in enumerate(node.target._schema.arguments):  # type: ignore[union-attr]
        if index < len(node.args):
            bound[argument.name] = node.args[index]
        elif argument.name in node.kwargs:
            bound[argument.name] = node.kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value
    return bound


def _handles(*names: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for name in names:
            if name in _handlers or name in POINTWISE | IDENTITY | RESHAPE:
                raise RuntimeError(f"aten.{name} is already read elsewhere")
            _handlers[name] = handler
        return handler

    return register


def _pair(value: Any, default: tuple[int, int] | None = None) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if not value:
        assert default is not None
        return default
    return (value[0], value[0]) if len(value) == 1 else (value[0], value[1])


def _spatial(node: FxNode, reader: Reader) -> bool:
    """Whether a call runs over batches of 2-D maps; on others it has no rule."""
    if len(reader.shapes.get(reader.names.get(node.args[0]), ())) == 4:  # type: ignore[arg-type]
        return True
    reader.add(node, Opaque(base_name(node.target)))
    return False


@_handles("conv2d", "_convolution_mode")
def _conv2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if not _spatial(node, reader):
        return
    kernel = reader.shapes[reader.names[a["weight"]]][2:]
    dilation = _pair(a["dilation"])
    padding = a["padding"]
    if padding == "same":
        # PyTorch puts the odd cell after (torch.nn.Conv2d, 'padding').
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        numbers = (0, 0) if padding == "valid" else _pair(padding)
        pads = [(n, n) for n in numbers]
    operation = Convolution(
        (kernel[0], kernel[1]),
        _pair(a["stride"]),
        (pads[0], pads[1]),
        dilation,
        a["groups"],
    )
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@_handles("conv_transpose2d")
def _conv_transpose2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if not _spatial(node, reader):
        return
    kernel = reader.shapes[reader.names[a["weight"]]][2:]
    padding = _pair(a["padding"])
    operation = TransposedConvolution(
        (kernel[0], kernel[1]),
        _pair(a["stride"]),
        ((padding[0], padding[0]), (padding[1], padding[1])),
        _pair(a["dilation"]),
        a["groups"],
        _pair(a["output_padding"]),
    )
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@_handles("convolution")
def _convolution(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    # What a trace records for both kinds, with the arguments of either.
    (_conv_transpose2d if a["transposed"] else _conv2d)(node, reader, a)


@_handles("upsample_nearest2d", "_upsample_nearest_exact2d")
def _upsample(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    image, *settings = node.args
    before = reader.shapes[reader.names[image]][2:]  # type: ignore[index]
    after = reader.shapes[node.name][2:]
    factor = after[0] // before[0], after[1] // before[1]
    # Which cell is the nearest is a matter of rounding, so PyTorch itself is asked.
    cells = torch.arange(before[0] * before[1], dtype=torch.float64).reshape(1, 1, *before)
    nearest = node.target(cells, *settings, **node.kwargs)  # type: ignore[operator]
    if torch.equal(nearest, functional.upsample(cells, factor)):
        reader.add(node, Upsample(factor), (image,))
    else:
        reader.add(node, Opaque(base_name(node.target)))


@_handles("linear")
def _linear(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    reader.add(node, Linear(), (a["input"], a["weight"], a["bias"]))


@_handles("matmul", "mm")
def _matmul(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    x, weight = node.args[:2]
    name = reader.names[weight]  # type: ignore[index]
    if name in reader.recipes and len(reader.shapes[name]) == 2:
        reader.add(node, Linear(), (x, reader.turned(name), None))
    else:
        reader.add(node, Opaque(base_name(node.target)))


@_handles("addmm")
def _addmm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    name, bias = reader.names[a["mat2"]], reader.names[a["self"]]
    if name in reader.recipes and bias in reader.recipes and a["alpha"] == a["beta"] == 1:
        reader.add(node, Linear(), (a["mat1"], reader.turned(name), a["self"]))
    else:
        reader.add(node, Opaque("addmm"))


@_handles("max_pool2d")
def _max_pool2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if _spatial(node, reader):
        reader.add(node, _pool("max", node, reader, a, _pair(a["dilation"])), (a["self"],))


@_handles("avg_pool2d")
def _avg_pool2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if _spatial(node, reader):
        reader.add(node, _pool("average", node, reader, a, (1, 1)), (a["self"],))


def _pool(
    kind: Literal["max", "average"],
    node: FxNode,
    reader: Reader,
    a: dict[str, Any],
    dilation: tuple[int, int],
) -> Pool:
    kernel = _pair(a["kernel_size"])
    stride = _pair(a["stride"], kernel)
    padding = _pair(a["padding"])
    overhang = [0, 0]
    if a["ceil_mode"]:
        outputs, cells = reader.shapes[node.name][2:], reader.shapes[reader.names[a["self"]]][2:]
        for i in (0, 1):
            span = Sliding(kernel[i], dilation=dilation[i]).span
            overhang[i] = (outputs[i] - 1) * stride[i] + span - cells[i] - 2 * padding[i]
    return Pool(
        kind,
        kernel,
        stride,
        ((padding[0], padding[0]), (padding[1], padding[1])),
        dilation,
        (max(0, overhang[0]), max(0, overhang[1])),
        bool(a.get("count_include_pad", False)),
        a.get("divisor_override"),
    )


@_handles("adaptive_avg_pool2d")
def _adaptive_avg_pool2d(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if _spatial(node, reader):
        size = reader.shapes[node.name][2:]
        reader.add(node, AdaptivePool("average", (size[0], size[1])), (a["self"],))


@_handles("batch_norm")
def _batch_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if a["training"] or a["running_mean"] is None:
        # Statistics of the batch itself: no two crops may be scored together.
        reader.add(node, Opaque("batch_norm without running statistics"))
        return
    parameters = (a["weight"], a["bias"], a["running_mean"], a["running_var"])
    reader.add(node, PerChannel("batch_norm"), (a["input"], *parameters))


@_handles("prelu")
def _prelu(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    reader.add(node, PerChannel("prelu"))


@_handles("softmax", "log_softmax", "_softmax", "_log_softmax")
def _softmax(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    axis = a["dim"] % len(reader.shapes[node.name])
    reader.add(node, AlongAxis(base_name(node.target).strip("_"), axis), (a["self"],))


@_handles("layer_norm")
def _layer_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    operation = LayerNormalization(len(a["normalized_shape"]), a["eps"])
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@_handles("group_norm")
def _group_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    operation = GroupNormalization(a["num_groups"], a["eps"])
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@_handles("instance_norm")
def _instance_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if not a["use_input_stats"]:
        reader.add(node, Opaque("instance_norm with running statistics"))
        return
    channels = reader.shapes[reader.names[a["input"]]][1]
    reader.add(node, GroupNormalization(channels, a["eps"]), (a["input"], a["weight"], a["bias"]))


@_handles("linalg_vector_norm")
def _vector_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if a["ord"] != 2 or a["dim"] is None or a["dtype"] is not None:
        reader.add(node, Opaque("linalg_vector_norm"))
        return
    rank = len(reader.shapes[reader.names[a["self"]]])
    dims = [a["dim"]] if isinstance(a["dim"], int) else a["dim"]
    operation = Reduce("l2", tuple(sorted(d % rank for d in dims)), a["keepdim"])
    reader.add(node, operation, (a["self"],))


@_handles("mean", "sum", "amax")
def _reduce(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[reader.names[a["self"]]]
    dims = a.get("dim")
    if dims is None or dims == [] or a.get("dtype") is not None:
        reader.add(node, Opaque(base_name(node.target)))
        return
    dims = [dims] if isinstance(dims, int) else dims
    axes = tuple(sorted(d % len(shape) for d in dims))
    kinds: dict[str, Literal["mean", "sum", "max"]] = {"mean": "mean", "sum": "sum", "amax": "max"}
    operation = Reduce(kinds[base_name(node.target)], axes, a["keepdim"])
    reader.add(node, operation, (a["self"],))


@_handles("cat")
def _cat(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    axis = a["dim"] % len(reader.shapes[node.name])
    reader.add(node, Concat(axis))


@_handles("stack")
def _stack(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[node.name]
    axis = a["dim"] % len(shape)
    one = Reshape((*shape[:axis], 1, *shape[axis + 1 :]))
    layers = []
    for index, x in enumerate(a["tensors"]):
        layers.append(f"{node.name}_layer{index}")
        reader.shapes[layers[-1]] = one.shape
        if node.name in reader.batch_axes:
            reader.batch_axes[layers[-1]] = reader.batch_axes[node.name]
        reader.add(node, one, (x,), output=layers[-1])
    reader.add(node, Concat(axis), tuple(layers))


@_handles("slice", "narrow")
def _slice(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[reader.names[node.args[0]]]  # type: ignore[index]
    axis = a["dim"] % len(shape)
    if base_name(node.target) == "narrow":
        bounds = slice(a["start"], a["start"] + a["length"])
    else:
        bounds = slice(a["start"], a["end"], a["step"])
    symbolic = any(isinstance(n, FxNode) for n in (bounds.start, bounds.stop))
    start, stop, step = (0, shape[axis], 1) if symbolic else bounds.indices(shape[axis])
    if symbolic and reader.shapes[node.name] != shape:
        reader.add(node, Opaque("slice"))
    elif (start, stop, step) == (0, shape[axis], 1):
        reader.add(node, Identity("slice"), (node.args[0],))
    else:
        reader.add(node, Slice(axis, start, stop, step), (node.args[0],))


@_handles("select")
def _select(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[reader.names[a["self"]]]
    axis = a["dim"] % len(shape)
    index = a["index"] % shape[axis]
    reader.piece(node, a["self"], axis, index, index + 1, drop=True)


@_handles("pad", "constant_pad_nd")
def _pad(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    numbers = list(a["pad"])
    rank = len(reader.shapes[node.name])
    pads = [(numbers[i], numbers[i + 1]) for i in range(0, len(numbers), 2)][::-1]
    full = tuple([(0, 0)] * (rank - len(pads)) + pads)
    mode = a.get("mode", "constant")
    value = a.get("value")
    if rank != 4 or mode not in PADDING_MODES or any(full[0]):
        reader.add(node, Opaque(f"pad ({mode})"))
        return
    reader.add(node, Pad(full, mode, float(value or 0.0)), (a["self"],))


@_handles("copy")
def _copy(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    before, after = (a[name].meta["val"] for name in ("src", "self"))
    same = reader.shapes[reader.names[a["src"]]] == reader.shapes[node.name]
    if same and before.dtype == after.dtype:
        reader.add(node, Identity("copy"), (a["src"],))
    else:
        reader.add(node, Opaque("copy"))


@_handles("permute")
def _permute(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    rank = len(reader.shapes[node.name])
    reader.add(node, Permute(tuple(d % rank for d in a["dims"])), (a["self"],))


@_handles("transpose", "t", "swapaxes", "swapdims")
def _transpose(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    rank = len(reader.shapes[node.name])
    order = list(range(rank))
    numbers = [v for k, v in a.items() if k.startswith(("dim", "axis"))] or [0, rank - 1]
    i, j = (int(n) % rank for n in numbers)
    order[i], order[j] = order[j], order[i]
    reader.add(node, Permute(tuple(order)), (node.args[0],))


@_handles("expand", "expand_as")
def _expand(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    name = reader.names[a["self"]]
    if reader.shapes[name] == reader.shapes[node.name]:
        reader.add(node, Identity("expand"), (a["self"],))
    elif all(_broadcasts(user, node, reader) for user in node.users):
        reader.names[node] = name
    else:
        reader.add(node, Opaque("expand"))


def _broadcasts(user: FxNode, operand: FxNode, reader: Reader) -> bool:
    """Whether an operation would enlarge an operand by itself, beside another of full size."""
    name = base_name(out_of_place(user.target))
    others = [x for x in user.all_input_nodes if x is not operand and x in reader.names]
    return name in POINTWISE and any(
        reader.shapes.get(reader.names[x]) == reader.shapes[operand.name] for x in others
    )


@_handles("channel_shuffle")
def _channel_shuffle(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    reader.shuffle(node, a["groups"])


@_handles("pixel_unshuffle")
def _pixel_unshuffle(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if _spatial(node, reader):
        reader.unshuffle(node, a["downscale_factor"])


# Operators that return tuples.


def pieces(node: FxNode, reader: Reader) -> list[tuple[int, int, int, bool]] | None:
    """Return ``(axis, start, stop, drop)`` for each item of a split, or None for other calls."""
    name = base_name(node.target)
    if name not in ("chunk", "split", "split_with_sizes", "tensor_split", "unbind"):
        return None
    values = node.meta["val"]
    axis = arguments(node)["dim"] % len(reader.shapes[reader.names[node.args[0]]])  # type: ignore[index]
    if name == "unbind":
        return [(axis, i, i + 1, True) for i in range(len(values))]
    found, start = [], 0
    for value in values:
        size = reader.shape(value)[axis]
        found.append((axis, start, start + size, False))
        start += size
    return found


def only_first_used(node: FxNode) -> bool:
    """Whether a call gives values with indices, and the indices are not used."""
    name, overload = base_name(node.target), getattr(node.target, "_overloadname", "")
    with_indices = name in ("adaptive_max_pool2d", "max_pool2d_with_indices") or (
        name == "max" and overload == "dim"
    )
    return with_indices and not any(user.args[1] != 0 and user.users for user in node.users)


def _tuple(node: FxNode, reader: Reader) -> bool:
    if not only_first_used(node):
        return False
    a = arguments(node)
    name = base_name(node.target)
    reader.name(node)
    shape = reader.shapes[node.name]
    if name == "max":
        axes = (a["dim"] % len(reader.shapes[reader.names[a["self"]]]),)
        reader.add(node, Reduce("max", axes, a["keepdim"]), (a["self"],))
    elif len(shape) != 4:
        reader.add(node, Opaque(name))
    elif name == "adaptive_max_pool2d":
        reader.add(node, AdaptivePool("max", (shape[2], shape[3])), (a["self"],))
    else:
        reader.add(node, _pool("max", node, reader, a, _pair(a["dilation"])), (a["self"],))
    return True


# Calls that PyTorch spells out as several operators.


@dataclass(frozen=True, eq=False)
class Group:
    """Several operators that are one function of the library."""

    first: FxNode
    last: FxNode
    name: str
    target: Callable[..., Any]
    args: tuple[Any, ...]
    operation: Operation


def groups(calls: Iterable[FxNode]) -> dict[FxNode, Group]:
    """Find local response normalization, which is traced as nine operators or more."""
    members: dict[str, list[FxNode]] = {}
    for node in calls:
        label = (node.meta.get("torch_fn") or ("",))[0]
        if label.startswith("local_response_norm"):
            members.setdefault(label, []).append(node)
    found: dict[FxNode, Group] = {}
    for nodes in members.values():
        group = _local_response_norm(nodes)
        if group is not None:
            found.update(dict.fromkeys(nodes, group))
    return found


def _local_response_norm(nodes: Sequence[FxNode]) -> Group | None:
    scalars: dict[str, Any] = {}
    for node in nodes:
        name = base_name(node.target)
        if name in ("mul", "add", "pow") and not isinstance(node.args[1], FxNode):
            scalars[name] = node.args[1]
        elif name in ("avg_pool3d", "avg_pool2d"):
            scalars["size"] = node.args[1][0]  # type: ignore[index]
    if set(scalars) != {"size", "mul", "pow", "add"} or base_name(nodes[-1].target) != "div":
        return None
    args = (scalars["size"], scalars["mul"], scalars["pow"], scalars["add"])
    operation = AlongAxis("local_response_norm", 1, ordered=True)
    return Group(nodes[0], nodes[-1], "local_response_norm", F.local_response_norm, args, operation)
