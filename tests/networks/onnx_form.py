"""A drawn network as an ONNX model, in the operators and attributes of its own operator set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from networks.specs import (
    AdaptivePool,
    AvgPool,
    BatchNorm,
    ChannelPad,
    ChannelsLastLinear,
    Concat,
    Conv,
    ConvTranspose,
    Dropout,
    Flatten,
    Gate,
    GlobalPool,
    Gram,
    GroupNorm,
    Linear,
    Map,
    MaxPool,
    Merge,
    Network,
    Pad,
    Pointwise,
    Pool,
    PoolOneAxis,
    PRelu,
    Scale,
    Shuffle,
    Slice,
    Spec,
    Split,
    Squeeze,
    Twice,
    Unshared,
    Upsample,
)
from networks.weights import Weights
from oracle import onnx_classifier

SIGNS = (-1, 0, 1)


def onnx_form(network: Network) -> onnx.ModelProto:
    """Return the network as a checked ONNX model."""
    graph = Graph(network.opset)
    weights = Weights(network.seed)
    batch = "N" if network.batch is None else network.batch
    size = ("H", "W") if network.free_size else network.window
    given = helper.make_tensor_value_info(
        "image", TensorProto.FLOAT, [batch, network.channels, *size]
    )

    at, x, tapped = network.input, "image", []
    for index, layer in enumerate(network.trunk):
        x = form(layer, graph, x, at, weights.at(index))
        at = layer.after(at)
        if index in network.taps:
            tapped.append(graph.add("Flatten", x, axis=1))
    x = form(network.head, graph, x, at, weights.at("head"))
    if tapped:
        x = graph.add("Concat", x, *tapped, axis=1)
    vector, before = network.collected(), x
    lengths = {x: vector.channels}
    for index, layer in enumerate(network.tail):
        before, x = x, form(layer, graph, x, vector, weights.at(f"tail{index}"))
        vector = layer.after(vector)
        lengths[x] = vector.channels
    outputs = [graph.add("Identity", x, to="scores")]
    lengths["scores"] = lengths[x]
    if network.outputs != "array":
        outputs.append(graph.add("Identity", before, to="features"))
        lengths["features"] = lengths[before]

    return _model(graph, given, {name: [batch, lengths[name]] for name in outputs})


def around(
    body: Callable[[Graph, str], str], window: tuple[int, int], opset: int = 17
) -> onnx.ModelProto:
    """Return a classifier of 4 features: a 3x3 convolution, this body, Flatten and Gemm."""
    graph, weights = Graph(opset), Weights(0)
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 2, *window])
    x = body(graph, form(Conv(4), graph, "image", Map(2, *window), weights.at("first")))
    x = graph.add("Flatten", x)
    part = _model(graph, given, {x: ["N", None]})
    count = onnx_classifier(part)(np.ones((1, 2, *window), np.float32)).shape[1]
    vector = Map(count, 1, 1, vector=True)
    x = form(Linear(3, "Gemm"), graph, x, vector, weights.at("last"))
    graph.add("Identity", x, to="scores")
    return _model(graph, given, {"scores": ["N", 3]})


def _model(
    graph: Graph, given: onnx.ValueInfoProto, outputs: dict[str, list[Any]]
) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", graph.opset)]
    made = helper.make_graph(
        graph.nodes,
        "classifier",
        [given],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in outputs.items()
        ],
        graph.initializers,
    )
    version = min(10, helper.find_min_ir_version_for(imports))
    model = helper.make_model(made, opset_imports=imports, ir_version=version)
    onnx.checker.check_model(model, full_check=True)
    return model


class Graph:
    """Nodes and initializers in the making, for one operator set.

    Operator sets moved many attributes into inputs; `add_axes` and the functions below write
    each operator as its own version says (source: the ONNX operator changelog).
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        return self.add_many(operator, *inputs, to=(to,), **attributes)[0]

    def add_many(
        self, operator: str, *inputs: str, to: Sequence[str | None], **attributes: Any
    ) -> list[str]:
        name = f"{operator}_{len(self.nodes)}"
        outputs = [given or f"{name}_out{k}" for k, given in enumerate(to)]
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))
        return outputs

    def number(self, array: Any, dtype: Any = np.float32) -> str:
        """Add an initializer and return its name."""
        name = f"number_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def integers(self, *values: int) -> str:
        return self.number(values, np.int64)

    def add_axes(self, operator: str, x: str, axes: Sequence[int], since: int, **more: Any) -> str:
        """Add an operator whose `axes` became an input in operator set `since`."""
        if self.opset >= since:
            return self.add(operator, x, self.integers(*axes), **more)
        return self.add(operator, x, axes=list(axes), **more)

    def clip(self, x: str, low: float | None, high: float | None) -> str:
        if self.opset >= 11:
            bounds = ["" if bound is None else self.number(bound) for bound in (low, high)]
            return self.add("Clip", x, *bounds)
        named = {"min": low, "max": high}
        return self.add("Clip", x, **{k: float(v) for k, v in named.items() if v is not None})

    def pad(
        self,
        x: str,
        amounts: Sequence[int],
        mode: str,
        value: float = 0.0,
        channels: tuple[int, int] = (0, 0),
    ) -> str:
        """Pad a map by (top, left, bottom, right), and its channels."""
        pads = [0, channels[0], *amounts[:2], 0, channels[1], *amounts[2:]]
        if self.opset >= 11:
            return self.add("Pad", x, self.integers(*pads), self.number(value), mode=mode)
        return self.add("Pad", x, pads=pads, mode=mode, value=float(value))

    def slice(self, x: str, cuts: dict[int, tuple[int, int | None, int]]) -> str:
        """Cut axes to (start, stop, step)."""
        axes, starts, steps = (
            list(cuts),
            [c[0] for c in cuts.values()],
            [c[2] for c in cuts.values()],
        )
        ends = [2**31 - 1 if c[1] is None else c[1] for c in cuts.values()]
        if self.opset >= 10:
            return self.add("Slice", x, *(self.integers(*v) for v in (starts, ends, axes, steps)))
        if set(steps) != {1}:
            raise ValueError("operator set 9 has no steps")
        return self.add("Slice", x, starts=starts, ends=ends, axes=axes)

    def reduce(self, kind: str, x: str, axes: Sequence[int], keepdims: int) -> str:
        operator = {"mean": "ReduceMean", "sum": "ReduceSum", "max": "ReduceMax"}[kind]
        return self.add_axes(operator, x, axes, 13 if kind == "sum" else 18, keepdims=keepdims)


@singledispatch
def form(spec: Spec, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    """Add one layer behind the tensor `x` of this map, and return its output's name."""
    raise NotImplementedError(spec)


def _all(layers: tuple[Spec, ...], graph: Graph, x: str, here: Map, weights: Weights) -> str:
    for index, layer in enumerate(layers):
        x = form(layer, graph, x, here, weights.at(index))
        here = layer.after(here)
    return x


PAD_MODES = {
    "zeros": "constant",
    "value": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


@form.register
def _(spec: Conv, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    shape = (spec.out, here.channels // spec.groups, *spec.kernel)
    numbers = [graph.number(weights.filters("weight", *shape))]
    if spec.bias:
        numbers.append(graph.number(weights.pick("bias", SIGNS, spec.out)))
    place: dict[str, Any] = {"strides": spec.stride, "dilations": spec.dilation}
    if isinstance(spec.padding, str):
        place["auto_pad"] = spec.padding
    elif spec.mode != "zeros" or spec.style == "pad first":
        x = graph.pad(x, spec.padding, PAD_MODES[spec.mode])
    else:
        place["pads"] = spec.padding
    return graph.add("Conv", x, *numbers, kernel_shape=spec.kernel, group=spec.groups, **place)


@form.register
def _(spec: ConvTranspose, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    shape = (here.channels, spec.out // spec.groups, *spec.kernel)
    numbers = [graph.number(weights.pick("weight", SIGNS, *shape))]
    if spec.bias:
        numbers.append(graph.number(weights.pick("bias", SIGNS, spec.out)))
    return graph.add(
        "ConvTranspose",
        x,
        *numbers,
        strides=spec.stride,
        dilations=spec.dilation,
        group=spec.groups,
        pads=[*spec.padding, *spec.padding],
        output_padding=spec.more,
    )


@form.register
def _(spec: Upsample, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    if spec.style == "scale" or graph.opset < 11:
        place = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return _resized(graph, x, spec.factor, mode="nearest", **place)
    none = graph.number([])
    if spec.style == "size":
        cells = graph.slice(graph.add("Shape", x), {0: (0, 2, 1)})
        size = graph.number(spec.after(here).extent, np.int64)
        return graph.add("Resize", x, none, none, graph.add("Concat", cells, size, axis=0))
    scales = graph.number([1, 1, *spec.factor])
    return graph.add("Resize", x, none, scales)  # half_pixel, round_prefer_floor


def _resized(graph: Graph, x: str, factor: tuple[int, int], mode: str, **place: str) -> str:
    scales = graph.number([1, 1, *factor])
    if graph.opset < 11:
        return graph.add("Resize" if graph.opset == 10 else "Upsample", x, scales, mode=mode)
    return graph.add("Resize", x, graph.number([]), scales, mode=mode, **place)


@form.register
def _(spec: Pad, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    return graph.pad(x, spec.amounts, PAD_MODES[spec.mode], spec.value)


@form.register
def _(spec: ChannelPad, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    return graph.pad(x, (0, 0, 0, 0), "constant", channels=(spec.before, spec.behind))


def _newer(graph: Graph, since: int, **attributes: Any) -> dict[str, Any]:
    """Return attributes that an operator has since some operator set and, before, must lack."""
    if graph.opset >= since:
        return attributes
    if any(np.any(np.asarray(v) != d) for v, d in ((attributes.get("ceil_mode", 0), 0),)):
        raise ValueError(f"operator set {graph.opset} has no ceil_mode")
    if any(d != 1 for d in attributes.get("dilations", ())):
        raise ValueError(f"operator set {graph.opset} has no dilations")
    return {}


@form.register
def _(spec: MaxPool, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    return graph.add(
        "MaxPool",
        x,
        kernel_shape=spec.kernel,
        strides=spec.stride,
        **_place(spec, here),
        **_newer(graph, 10, ceil_mode=int(spec.ceil), dilations=spec.dilation),
    )


def _place(spec: Pool, here: Map) -> dict[str, Any]:
    if isinstance(spec.padding, str):
        return {"auto_pad": spec.padding}
    return {"pads": spec.pads(here.extent)}


@form.register
def _(spec: AvgPool, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    if spec.divisor is not None:
        raise ValueError("ONNX has no divisor")
    return graph.add(
        "AveragePool",
        x,
        kernel_shape=spec.kernel,
        strides=spec.stride,
        **_place(spec, here),
        count_include_pad=int(spec.count_pads),
        **_newer(graph, 10, ceil_mode=int(spec.ceil)),
    )


@form.register
def _(spec: AdaptivePool, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    """ONNX has no adaptive pooling: even bins are an ordinary pool."""
    size = tuple(n // bins for n, bins in zip(here.extent, spec.bins, strict=True))
    if any(n % bins for n, bins in zip(here.extent, spec.bins, strict=True)):
        raise ValueError("ONNX has no uneven bins")
    operator = "AveragePool" if spec.kind == "average" else "MaxPool"
    return graph.add(operator, x, kernel_shape=size, strides=size)


@form.register
def _(spec: BatchNorm, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    count, epsilon = here.channels, np.float32(spec.epsilon)
    ones, zeros = np.ones(count), np.zeros(count)
    variance = weights.pick("deviation", (0.5, 1, 2), count) ** 2 - epsilon
    return graph.add(
        "BatchNormalization",
        x,
        graph.number(weights.pick("scale", (-1, 1, 2), count) if spec.affine else ones),
        graph.number(weights.pick("shift", SIGNS, count) if spec.affine else zeros),
        graph.number(weights.pick("mean", SIGNS, count)),
        graph.number(variance),
        epsilon=float(epsilon),
    )


@form.register
def _(spec: Pointwise, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    kinds: dict[str, Callable[[], str]] = {
        "relu": lambda: graph.add("Relu", x),
        "leaky": lambda: graph.add("LeakyRelu", x, alpha=0.5),
        "hardtanh": lambda: graph.clip(x, -3, 3),
        "wide": lambda: graph.clip(x, -31, 31),
        "widest": lambda: graph.clip(x, -1023, 1023),
        "relu6": lambda: graph.clip(graph.clip(x, 0, None), None, 6),
        "abs": lambda: graph.add("Abs", x),
        "sign": lambda: graph.add("Sign", x),
        "double": lambda: graph.add("Mul", x, graph.number(2)),
        "shift": lambda: graph.add("Add", x, graph.number([1])),
        "mirror": lambda: graph.add("Sub", graph.number(1), x),
    }
    return kinds[spec.kind]()


@form.register
def _(spec: PRelu, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    count = here.channels if spec.per_channel else 1
    slope = weights.pick("weight", (-1, 0, 0.5, 2), count)
    return graph.add("PRelu", x, graph.number(slope if here.vector else slope[:, None, None]))


@form.register
def _(spec: Scale, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    shape = (1, here.channels, 1, 1)
    scaled = graph.add("Mul", x, graph.number(weights.pick("scale", (-1, 1, 2), *shape)))
    return graph.add("Add", graph.number(weights.pick("shift", SIGNS, *shape)), scaled)


@form.register
def _(spec: Dropout, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    return graph.add("Dropout" if spec.style == "module" else "Identity", x)


@form.register
def _(spec: Slice, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    return graph.slice(x, {2: spec.rows, 3: spec.columns})


@form.register
def _(spec: Shuffle, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    g, c, h, w = spec.groups, here.channels, here.rows, here.columns
    x = graph.add("Reshape", x, graph.integers(0, g, c // g, h, w))
    x = graph.add("Transpose", x, perm=[0, 2, 1, 3, 4])
    return graph.add("Reshape", x, graph.integers(0, c, h, w))


@form.register
def _(spec: ChannelsLastLinear, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    weight = weights.pick("weight", SIGNS, spec.out, here.channels)
    x = graph.add("Transpose", x, perm=[0, 2, 3, 1])
    x = graph.add("MatMul", x, graph.number(weight.T))
    x = graph.add("Add", x, graph.number(weights.pick("bias", SIGNS, spec.out)))
    return graph.add("Transpose", x, perm=[0, 3, 1, 2])


def _cut(graph: Graph, x: str, here: Map, rows: int, columns: int) -> str:
    """Return the middle of a map, in these many rows and columns."""
    if here.extent == (rows, columns):
        return x
    top, left = (here.rows - rows) // 2, (here.columns - columns) // 2
    return graph.slice(x, {2: (top, top + rows, 1), 3: (left, left + columns, 1)})


def _body(
    layers: tuple[Spec, ...], graph: Graph, x: str, here: Map, weights: Weights, to: Map
) -> str:
    made = here
    for layer in layers:
        made = layer.after(made)
    return _cut(graph, _all(layers, graph, x, here, weights), made, *to.extent)


@form.register
def _(spec: Merge, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    to = spec.after(here)
    operators = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "maximum": "Max"}
    kept = _body(spec.shortcut, graph, x, here, weights.at("shortcut"), to)
    return graph.add(operators[spec.kind], kept, _body(spec.body, graph, x, here, weights, to))


@form.register
def _(spec: Concat, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    to = spec.after(here)
    made = [
        _body(body, graph, x, here, weights.at(f"body{k}"), to)
        for k, body in enumerate(spec.bodies)
    ]
    return graph.add("Concat", *made, axis=1)


@form.register
def _(spec: Split, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    to, size = spec.after(here), -(-here.channels // 2)
    sizes = [size, here.channels - size]
    if spec.style == "slice":
        a = graph.slice(x, {1: (0, size, 1)})
        b = graph.slice(x, {1: (size, None, 1)})
    elif graph.opset >= 13:
        a, b = graph.add_many("Split", x, graph.integers(*sizes), axis=1, to=(None, None))
    else:
        a, b = graph.add_many("Split", x, split=sizes, axis=1, to=(None, None))
    halves = [replace(here, channels=n) for n in sizes]
    made = [
        _body(spec.first, graph, a, halves[0], weights.at("first"), to),
        _body(spec.second, graph, b, halves[1], weights.at("second"), to),
    ]
    return graph.add("Concat", *made, axis=1)


@form.register
def _(spec: Twice, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    """The second time reads the initializers of the first."""
    before = len(graph.initializers)
    x = form(spec.layer, graph, x, here, weights)
    first = graph.initializers[before:]
    x = form(spec.layer, graph, x, spec.layer.after(here), weights)
    again = graph.initializers[before + len(first) :]
    renamed = {new.name: old.name for new, old in zip(again, first, strict=True)}
    del graph.initializers[before + len(first) :]
    for node in graph.nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    return x


@form.register
def _(spec: Gate, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    return graph.add("Mul", x, graph.clip(graph.reduce("max", x, (2, 3), 1), -1, 2))


@form.register
def _(spec: GroupNorm, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    """Say it as exporters do, until operator set 21 has it: one instance for each group."""
    if graph.opset >= 21:
        ones, zeros = graph.number([1] * here.channels), graph.number([0] * here.channels)
        groups: dict[str, Any] = {"num_groups": spec.groups, "epsilon": spec.epsilon}
        x = graph.add("GroupNormalization", x, ones, zeros, **groups)
    else:
        ones, zeros = graph.number([1] * spec.groups), graph.number([0] * spec.groups)
        x = graph.add("Reshape", x, graph.integers(0, spec.groups, -1))
        x = graph.add("InstanceNormalization", x, ones, zeros, epsilon=spec.epsilon)
        x = graph.add("Reshape", x, graph.integers(0, here.channels, *here.extent))
    doubled = graph.add("Mul", x, graph.number(2))
    return graph.add("Floor", graph.add("Add", doubled, graph.number(0.25)))


@form.register
def _(spec: Unshared, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    match spec.kind:
        case "cumsum":
            return graph.add("CumSum", x, graph.number(3, np.int64))
        case "transpose":
            return graph.add("Transpose", x, perm=[0, 1, 3, 2])
        case "flip":
            return graph.slice(x, {3: (-1, -(2**31) + 1, -1)})
        case "bilinear":
            return _resized(graph, x, (2, 2), mode="linear")
        case "space to depth":
            return graph.add("SpaceToDepth", x, blocksize=2)
    raise NotImplementedError(spec.kind)


@form.register
def _(spec: Flatten, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    count = here.channels * here.cells
    if spec.order != "CHW":
        x = graph.add("Transpose", x, perm=[0, *(1 + "CHW".index(axis) for axis in spec.order)])
    match spec.style:
        case "Flatten":
            return graph.add("Flatten", x, axis=1)
        case "Reshape [0, -1]":
            return graph.add("Reshape", x, graph.integers(0, -1))
        case "Reshape [-1, M]":
            return graph.add("Reshape", x, graph.integers(-1, count))
        case "Reshape [0, M]":
            return graph.add("Reshape", x, graph.integers(0, count))
        case "Reshape [1, M]":
            return graph.add("Reshape", x, graph.integers(1, count))
        case "Reshape by shape":
            rows = graph.add("Gather", graph.add("Shape", x), graph.number(0, np.int64), axis=0)
            rows = graph.add_axes("Unsqueeze", rows, (0,), 13)
            shape = graph.add("Concat", rows, graph.integers(-1), axis=0)
            return graph.add("Reshape", x, shape)
    raise NotImplementedError(spec)


@form.register
def _(spec: GlobalPool, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    operators = {"mean": "GlobalAveragePool", "max": "GlobalMaxPool"}
    pools = {"mean": "AveragePool", "max": "MaxPool"}
    match spec.style:
        case "adaptive" if spec.kind in operators:
            return graph.add("Flatten", graph.add(operators[spec.kind], x))
        case "pool" if spec.kind in pools:
            pooled = graph.add(pools[spec.kind], x, kernel_shape=here.extent)
            return graph.add("Reshape", pooled, graph.integers(0, -1))
        case "keepdim":
            x = graph.reduce(spec.kind, x, (2, 3), 1)
            return graph.add_axes("Squeeze", x, (2, 3), 13)
        case "one axis, then the other":
            return graph.reduce(spec.kind, graph.reduce(spec.kind, x, (3,), 0), (2,), 0)
    return graph.reduce(
        spec.kind, x, (2, 3) if graph.opset % 2 or graph.opset < 11 else (-2, -1), 0
    )


@form.register
def _(spec: Squeeze, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    if spec.style == "index":
        x = graph.add("Gather", x, graph.number(0, np.int64), axis=3)
        return graph.add("Gather", x, graph.number(0, np.int64), axis=2)
    return graph.add_axes("Squeeze", x, (2, 3), 13)


@form.register
def _(spec: PoolOneAxis, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    return graph.add("Flatten", graph.reduce("max", x, (2 if spec.axis == "rows" else 3,), 0))


@form.register
def _(spec: Gram, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    flat = graph.add("Reshape", x, graph.integers(0, here.channels, here.cells))
    turned = graph.add("Transpose", flat, perm=[0, 2, 1])
    return graph.add("Flatten", graph.add("MatMul", flat, turned))


@form.register
def _(spec: Linear, graph: Graph, x: str, here: Map, weights: Weights) -> str:
    weight = weights.pick("weight", (-2, -1, 0, 1, 2), spec.out, here.channels)
    bias = weights.pick("bias", SIGNS, spec.out)
    match spec.style:
        case "Gemm transB":
            return graph.add("Gemm", x, graph.number(weight), graph.number(bias), transB=1)
        case "Gemm":
            return graph.add("Gemm", x, graph.number(weight.T), graph.number(bias))
        case "Gemm scaled":
            numbers = graph.number(weight * 2), graph.number(bias[None, :] * 2)
            return graph.add("Gemm", x, *numbers, transB=1, alpha=0.5, beta=0.5)
        case "MatMul and Add":
            x = graph.add("MatMul", x, graph.number(weight.T))
            return graph.add("Add", x, graph.number(bias))
        case "MatMul" if not spec.bias:
            return graph.add("MatMul", x, graph.number(weight.T))
    raise NotImplementedError(spec)
