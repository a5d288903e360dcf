"""How ATen's operators on numbers read: linear layers, normalization, reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fullconv.frameworks.torch.aten import FxNode, base_name, handles
from fullconv.operations import (
    AlongAxis,
    GroupNormalization,
    LayerNormalization,
    Linear,
    Opaque,
    PerChannel,
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
        reader.add(node, Opaque(base_name(node.target)))


@handles("addmm")
def _addmm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    name, bias = reader.names[a["mat2"]], reader.names[a["self"]]
    if name in reader.recipes and bias in reader.recipes and a["alpha"] == a["beta"] == 1:
        reader.add(node, Linear(), (a["mat1"], reader.turned(name), a["self"]))
    else:
        reader.add(node, Opaque("addmm"))


@handles("batch_norm")
def _batch_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if a["training"] or a["running_mean"] is None:
        # Statistics of the batch itself: no two crops may be scored together.
        reader.add(node, Opaque("batch_norm without running statistics"))
        return
    parameters = (a["weight"], a["bias"], a["running_mean"], a["running_var"])
    reader.add(node, PerChannel("batch_norm"), (a["input"], *parameters))


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
        reader.add(node, Opaque("instance_norm with running statistics"))
        return
    channels = reader.shapes[reader.names[a["input"]]][1]
    reader.add(node, GroupNormalization(channels, a["eps"]), (a["input"], a["weight"], a["bias"]))


@handles("linalg_vector_norm")
def _vector_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    if a["ord"] != 2 or a["dim"] is None or a["dtype"] is not None:
        reader.add(node, Opaque("linalg_vector_norm"))
        return
    rank = len(reader.shapes[reader.names[a["self"]]])
    dims = [a["dim"]] if isinstance(a["dim"], int) else a["dim"]
    operation = Reduce("l2", tuple(sorted(d % rank for d in dims)), a["keepdim"])
    reader.add(node, operation, (a["self"],))


@handles("var", "std")
def _spread(node: FxNode, reader: Reader, a: dict[str, Any]) -> None:
    shape = reader.shapes[reader.names[a["self"]]]
    dims, correction = a.get("dim"), a.get("correction", int(a.get("unbiased", True)))
    correction = 1 if correction is None else correction
    dims = [dims] if isinstance(dims, int) else dims
    if not dims or int(correction) != correction:
        reader.add(node, Opaque(base_name(node.target)))
        return
    axes = tuple(sorted(d % len(shape) for d in dims))
    kind: Literal["var", "std"] = "var" if base_name(node.target) == "var" else "std"
    operation = Reduce(kind, axes, bool(a.get("keepdim", False)), int(correction))
    reader.add(node, operation, (a["self"],))


@handles("mean", "sum", "amax")
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
