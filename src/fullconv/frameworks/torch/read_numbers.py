"""Read ATen operators on numbers: linear layers, normalization and reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from fullconv.frameworks.torch.aten import FxNode, base_name, handles
from fullconv.frameworks.torch.reader import Slot
from fullconv.operations import (
    AlongAxis,
    GroupNormalization,
    LayerNormalization,
    Linear,
    PerChannel,
    Pointwise,
    Reduce,
)

if TYPE_CHECKING:
    from fullconv.frameworks.torch.reader import Reader


@handles("linear")
def _linear(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    reader.add(node, Linear(), (a["input"], a["weight"], a["bias"]))


@handles("matmul", "mm")
def _matmul(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    x, weight = node.args[:2]
    name = reader.names[weight]  # type: ignore[index]
    if name in reader.recipes and len(reader.shapes[name]) == 2:
        reader.add(node, Linear(), (x, reader.turned(name), None))
    else:
        reader.opaque(node, base_name(node.target))


@handles("addmm")
def _addmm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    name, bias = reader.names[a["mat2"]], reader.names[a["self"]]
    if name in reader.recipes and bias in reader.recipes and a["alpha"] == a["beta"] == 1:
        reader.add(node, Linear(), (a["mat1"], reader.turned(name), a["self"]))
    else:
        reader.opaque(node, "addmm")


@handles("batch_norm")
def _batch_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if a["training"] or a["running_mean"] is None:
        _statistics_of_the_batch(node, reader, a)
        return
    parameters = (a["weight"], a["bias"], a["running_mean"], a["running_var"])
    reader.add(node, PerChannel("batch_norm"), (a["input"], *parameters))


def _statistics_of_the_batch(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    """Read a batch normalization by the statistics of its batch, if the batch is one image."""
    images, channels = reader.shapes[reader.names[a["input"]]][:2]
    if images > 1 or not reader.is_of_image(a["input"]):
        reader.opaque(node, "batch_norm without running statistics")
        return
    operation = GroupNormalization(channels, a["eps"])
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))
    places = iter(range(1, 3))
    given = (Slot(0), *(x and Slot(next(places)) for x in (a["weight"], a["bias"])))
    settings = (None, None, True, 0.0, a["eps"], False)
    reader.instead(torch.ops.aten.instance_norm.default, (*given, *settings))


@handles("prelu")
def _prelu(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    reader.add(node, PerChannel("prelu"))


@handles("softmax", "log_softmax", "_softmax", "_log_softmax")
def _softmax(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    axis = a["dim"] % len(reader.shapes[node.name])
    reader.add(node, AlongAxis(base_name(node.target).strip("_"), axis), (a["self"],))


@handles("layer_norm")
def _layer_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    operation = LayerNormalization(len(a["normalized_shape"]), a["eps"])
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@handles("group_norm")
def _group_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    operation = GroupNormalization(a["num_groups"], a["eps"])
    reader.add(node, operation, (a["input"], a["weight"], a["bias"]))


@handles("instance_norm")
def _instance_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if not a["use_input_stats"]:
        reader.opaque(node, "instance_norm with running statistics")
        return
    channels = reader.shapes[reader.names[a["input"]]][1]
    reader.add(node, GroupNormalization(channels, a["eps"]), (a["input"], a["weight"], a["bias"]))


@handles("linalg_vector_norm")
def _vector_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if a["ord"] != 2 or a["dtype"] is not None:
        reader.opaque(node, "linalg_vector_norm")
        return
    operation = Reduce("l2", _axes(a["dim"], a["self"], reader), a["keepdim"])
    reader.add(node, operation, (a["self"],))


def _axes(dims: Any, x: Any, reader: Reader) -> tuple[int, ...]:
    """Return the axes of a reduction; all axes where it names none."""
    rank = len(reader.shapes[reader.names[x]])
    if dims is None or dims == []:
        return tuple(range(rank))
    return tuple(sorted(d % max(1, rank) for d in ([dims] if isinstance(dims, int) else dims)))


@handles("var", "std")
def _spread(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    name, correction = base_name(node.target), a.get("correction", int(a.get("unbiased", True)))
    correction = 1 if correction is None else correction
    if int(correction) != correction:
        reader.opaque(node, name)
        return
    axes = _axes(a.get("dim"), a["self"], reader)
    kind: Literal["var", "std"] = "var" if name == "var" else "std"
    operation = Reduce(kind, axes, bool(a.get("keepdim", False)), int(correction))
    reader.add(node, operation, (a["self"],))


@handles("mean", "sum", "amax", "max")
def _reduce(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    name = base_name(node.target)
    if "other" in a:
        reader.add(node, Pointwise(name))
        return
    if a.get("dtype") is not None:
        reader.opaque(node, name)
        return
    kinds: dict[str, Literal["mean", "sum", "max"]] = {"mean": "mean", "sum": "sum"}
    axes = _axes(a.get("dim"), a["self"], reader)
    operation = Reduce(kinds.get(name, "max"), axes, bool(a.get("keepdim")))
    reader.add(node, operation, (a["self"],))


@handles("masked_fill")
def _masked_fill(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    """Read as `where` if the number is a tensor from the image: it may differ between windows."""
    if not reader.is_of_image(a["value"]):
        reader.add(node, Pointwise("masked_fill"))
    elif a["value"].meta["val"].dtype == node.meta["val"].dtype:
        reader.add(node, Pointwise("where"), (a["mask"], a["value"], a["self"]))
        reader.instead(torch.ops.aten.where.self, (Slot(0), Slot(1), Slot(2)))
    else:
        reader.opaque(node, "masked_fill")


@handles("fill")
def _fill(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if reader.is_of_image(a["value"]):
        reader.opaque(node, "fill")
    else:
        reader.add(node, Pointwise("fill"))


@handles("min")
def _min(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if "other" in a:
        reader.add(node, Pointwise("min"))
    else:
        reader.opaque(node, "min")
