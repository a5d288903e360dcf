"""Write a lifted network as a `keras.Model` under the original names."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatchmethod
from typing import Any, NamedTuple

import keras
import numpy as np

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.keras import layers as own
from fullconv.frameworks.keras import sliding_layers as sliding
from fullconv.frameworks.keras.calls import TO_MAP, TO_NATIVE, Call, filled, numbers
from fullconv.frameworks.keras.convolving import Convolving
from fullconv.frameworks.keras.part_layers import PartBatchNormalization
from fullconv.frameworks.keras.read import Source, functional, leaves
from fullconv.geometry import Grid
from fullconv.graph import Graph, Node, Recipe
from fullconv.operations import (
    AlongAxis,
    Assemble,
    Cells,
    ChannelNormalization,
    Combine,
    Concat,
    Convolution,
    DivideCells,
    FoldWindows,
    Gathered,
    GroupNormalization,
    Identity,
    Keep,
    LayerNormalization,
    LayOut,
    Linear,
    Operation,
    Own,
    Pad,
    PerChannel,
    Permute,
    Pointwise,
    Pool,
    Power,
    Reduce,
    Regroup,
    Reshape,
    Running,
    Slice,
    SlidingNormalization,
    SlidingTotal,
    SplitChannels,
    Stretch,
    TakeChannels,
    TransposedConvolution,
    Upsample,
)

layers = keras.layers


def write(graph: Graph, source: Source, grid: Grid) -> Any:
    """Return a model from images to the scores of every window, of any size.

    ``(N, H, W, C)`` to ``(N, rows, columns, K)``, or ``(N, C, H, W)`` to ``(N, K, rows, columns)``
    where the classifier takes its channels first. Its layers are layers of their own, with copies
    of the original's weights.
    """
    return Writer(graph, source, grid).write()


class Held(NamedTuple):
    """A value of the graph as a tensor of Keras; ``last``: a map with its channels last."""

    tensor: Any
    last: bool


class Writer:
    """The state of one writing."""

    def __init__(self, graph: Graph, source: Source, grid: Grid) -> None:
        self.graph, self.source = graph, source
        self.geometry = {"window": grid.window, "step": grid.step}
        self.last = source.channels_last
        self.values: dict[str, Held] = {}
        self.layers: dict[Any, Any] = {}
        self.taken: set[str] = set()
        self.fused: dict[str, str] = {}
        self.policy: Any = None
        self.names = _flat_names(functional(source.model))
        self.convolving = Convolving(self)

    def write(self) -> Any:
        """Write every node, then the outputs in the structure the model returns them in."""
        whole = functional(self.source.model)
        channels = self.source.graph.shapes[self.graph.image][1]
        shape = (None, None, channels) if self.last else (channels, None, None)
        given = whole.inputs[0]
        name = self.unique(given._keras_history.operation.name)
        image = keras.Input(shape, dtype=given.dtype, name=name)
        self.values[self.graph.image] = Held(image, self.last)
        for node in self.graph.nodes:
            self.policy = self._policy(node)
            before = self.fused.get(node.outputs[0])
            result = self.values[before] if before else self.operation(node.operation, node)
            self._bind(node, result)
        flat = [self.values[name].tensor for name in self.graph.outputs]
        # An output that is a value twice, or the image itself, needs a tensor of its own.
        outputs = keras.tree.pack_sequence_as(whole._outputs_struct, flat)
        return keras.Model(image, outputs, name=self.source.model.name)

    def _policy(self, node: Node) -> Any:
        """Return the type of numbers that a node's layers compute in: its layer's, or its input's.

        Left alone, a layer would cast what it is given to the type that Keras is set to.
        """
        call = node.source
        if isinstance(call, Call) and isinstance(call.target, keras.Layer):
            return call.target.dtype_policy
        return self.values[node.inputs[0] or ""].tensor.dtype

    def _bind(self, node: Node, result: Any) -> None:
        results = result if isinstance(result, list) else [result]
        for name, held in zip(node.outputs, results, strict=False):
            self.values[name] = held

    @singledispatchmethod
    def operation(self, operation: Operation, node: Node) -> Any:
        """Write one operation; what has no method of its own is repeated as its source."""
        return self._repeat(node)

    # Values.

    def map(self, name: str | None) -> Any:
        """Return a value as a map in the model's own order."""
        held = self.values[name or ""]
        if held.last or not self.last:
            return held.tensor
        return self.layer(("permute", (2, 3, 1)), layers.Permute, "to_channels_last", (2, 3, 1))(
            held.tensor
        )

    def plain(self, name: str | None) -> Any:
        """Return a value with its axes as the graph has them."""
        held = self.values[name or ""]
        if not held.last:
            return held.tensor
        return self.layer(("permute", (3, 1, 2)), layers.Permute, "to_channels_first", (3, 1, 2))(
            held.tensor
        )

    def on_map(self, tensor: Any) -> Held:
        """Return a tensor as a map in the model's own order."""
        return Held(tensor, self.last)

    def array(self, name: str | Recipe) -> Any:
        """Return a parameter, rearranged."""
        recipe = self.graph.constants[name] if isinstance(name, str) else name
        weight = self.source.weights[recipe.source]
        return recipe.apply(numbers(weight))

    def vector(self, name: str | None) -> Any:
        """Return a parameter, or None where it is left out."""
        return None if name is None else self.array(name)

    @property
    def format(self) -> str:
        """The order of maps, as Keras calls it."""
        return "channels_last" if self.last else "channels_first"

    # Layers.

    def layer(self, key: Any, kind: Any, name: str, /, *args: Any, **settings: Any) -> Any:
        """Return the layer made for a key, or make it: what is called twice is one layer."""
        settings = {"dtype": self.policy, **settings}
        key = key, str(settings["dtype"])
        if key not in self.layers:
            self.layers[key] = kind(*args, name=self.unique(name), **settings)
        return self.layers[key]

    def unique(self, base: str) -> str:
        """Return a layer name that is not taken; an original name where it is free."""
        name, number = base, 1
        while name in self.taken or (number > 1 and name in self.names.values()):
            number += 1
            name = f"{base}_{number}"
        self.taken.add(name)
        return name

    def name(self, node: Node) -> str:
        """Return the name of a node's layer in the written model."""
        return self.names.get(node.name) or node.name.replace("/", "_")

    def own(self, kind: Any, inputs: Any, /, *, node: Node | None = None, **settings: Any) -> Any:
        """Call one of our own layers on maps; the same settings are the same layer."""
        if issubclass(kind, own.OfWindows):
            settings |= self.geometry
        base = self.name(node) if node is not None and node.name else kind.__name__.lower()
        key = kind, node.name if node is not None else "", tuple(sorted(settings.items()))
        return self.layer(key, kind, base, channels_last=self.last, **settings)(inputs)

    def clone(self, layer: Any) -> Any:
        """Return a copy of a layer or operation, weights and all, under its own name."""
        if id(layer) not in self.layers:
            paths = [p for p, held in leaves(functional(self.source.model)) if held is layer]
            name = self.unique(self.names[paths[0]] if paths else layer.name)
            if isinstance(layer, layers.Lambda):
                # Made from the function itself: a Lambda in memory is the user's own code.
                copy = layers.Lambda(layer.function, name=name, arguments=layer.arguments)
                copy._output_shape = layer._output_shape
            else:
                copy = _remade(layer, name)
            self.layers[id(layer)] = copy
        return self.layers[id(layer)]

    def _repeat(self, node: Node) -> Any:
        """Call the original layer's copy on other tensors."""
        call = node.source
        if not isinstance(call, Call):
            raise ModelError(f"convert: no way to write {node.operation!r} in Keras.")
        tensors = [name for name in node.inputs if name in self.values]
        on_maps = not node.per_window or all(self.values[name].last for name in tensors)
        on_maps = on_maps and isinstance(node.operation, Pointwise | Identity)
        take = self.map if on_maps else self.plain
        operands = [
            take(name) if name in self.values else self._operand(name, on_maps)
            for name in node.inputs
        ]
        args, kwargs = filled(call, operands)
        copy = self.clone(call.target)
        fresh = not getattr(copy, "built", True)
        result = copy(*args, **kwargs)
        if fresh:
            _fill(copy, call.target)
        last = on_maps and self.last
        return [Held(tensor, last) for tensor in keras.tree.flatten(result)]

    def _operand(self, name: str | None, on_maps: bool) -> Any:
        if name is None:
            return None
        array = self.array(name)
        turned = on_maps and self.last and array.ndim == 4
        return np.transpose(array, TO_NATIVE) if turned else array

    # One method per operation that is not a repetition of its source.

    @operation.register
    def _(self, operation: Convolution, node: Node) -> Any:
        return self.convolving.convolution(operation, node)

    @operation.register
    def _(self, operation: TransposedConvolution, node: Node) -> Any:
        return self.convolving.transposed(operation, node)

    @operation.register
    def _(self, operation: Upsample, node: Node) -> Any:
        key = "upsample", node.name
        settings = operation.factor, self.format
        repeat = self.layer(key, layers.UpSampling2D, self.name(node), *settings)
        return self.on_map(repeat(self.map(node.inputs[0])))

    @operation.register
    def _(self, operation: Linear, node: Node) -> Any:
        return self.convolving.linear(node)

    @operation.register
    def _(self, operation: Identity, node: Node) -> Any:
        call = node.source
        if isinstance(call, Call) and "Random" not in type(call.target).__name__:
            return self._repeat(node)
        return self.values[node.inputs[0] or ""]  # varies images in training, and nothing in use

    @operation.register
    def _(self, operation: Pointwise, node: Node) -> Any:
        call = node.source
        if isinstance(call, Call) and call.part == "activation":
            return self._activation(node, operation.name)
        return self._repeat(node)

    def _activation(self, node: Node, function: str) -> Held:
        held = self.values[node.inputs[0] or ""]
        base = self.name(node)
        if not isinstance(node.source.target, layers.Activation):
            base = f"{base}_{function}"
        key = "activation", node.name
        return Held(
            self.layer(key, layers.Activation, base, node.source.target.activation)(held.tensor),
            held.last,
        )

    @operation.register
    def _(self, operation: AlongAxis, node: Node) -> Held:
        held = self.values[node.inputs[0] or ""]
        axis = TO_NATIVE.index(operation.axis) if held.last else operation.axis
        rank = len(held.tensor.shape)
        if operation.name == "log_softmax":
            if axis != rank - 1:
                order = (*(n for n in range(1, rank) if n != axis), axis)
                turn = self.layer(("permute", order), layers.Permute, "turned", order)
                back = tuple(order.index(n) + 1 for n in range(1, rank))
                again = self.layer(("permute", back), layers.Permute, "turned_back", back)
                return Held(again(self._log_softmax(node, turn(held.tensor))), held.last)
            return Held(self._log_softmax(node, held.tensor), held.last)
        base = self.name(node)
        if not isinstance(node.source.target, layers.Activation | layers.Softmax):
            base = f"{base}_softmax"
        softmax = self.layer(("softmax", node.name, axis), layers.Softmax, base, axis)
        return Held(softmax(held.tensor), held.last)

    def _log_softmax(self, node: Node, x: Any) -> Any:
        base = f"{self.name(node)}_log_softmax"
        return self.layer(("log_softmax", node.name), layers.Activation, base, "log_softmax")(x)

    @operation.register
    def _(self, operation: PerChannel, node: Node) -> Held:
        x, *parameters = node.inputs
        held = self.values[x or ""]
        if not node.per_window:
            held = self.on_map(self.map(x))
        vectors = [self.vector(name) for name in parameters]
        write = {
            "batch_norm": self._batch_norm,
            "prelu": self._prelu,
            "LayerScale": self._layer_scale,
            "Rescaling": self._rescaling,
            "Normalization": self._normalization,
        }[operation.name]
        return Held(write(node, held, vectors), held.last)

    def _batch_norm(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        layer = node.source.target
        axis = -1 if held.last else 1
        settings = kept_settings(layer, "gamma_regularizer", "beta_regularizer") | {
            "axis": axis,
            "momentum": layer.momentum,
            "epsilon": layer.epsilon,
            "center": layer.center,
            "scale": layer.scale,
        }
        calls = [n for n in self.graph.nodes if n.source is node.source]
        key = "batch_norm", node.name, tuple(node.inputs[1:]), axis
        kind = layers.BatchNormalization if len(calls) == 1 else PartBatchNormalization
        norm = self.layer(key, kind, self.name(node), **settings)
        fresh = not norm.built
        x = norm(held.tensor)
        if fresh:
            names = ("gamma", "beta", "moving_mean", "moving_variance")
            for name, vector in zip(names, vectors, strict=True):
                if vector is not None:
                    getattr(norm, name).assign(vector)
        return x

    def _prelu(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        rank = len(held.tensor.shape)
        axes = list(range(1, rank - 1)) if held.last or rank == 2 else list(range(2, rank))
        (slopes,) = vectors
        if slopes.size == 1:
            axes = list(range(1, rank))
        settings = kept_settings(node.source.target, "alpha_regularizer") | {
            "shared_axes": axes or None
        }
        key = "prelu", node.name, node.inputs[1], rank
        prelu = self.layer(key, layers.PReLU, self.name(node), **settings)
        fresh = not prelu.built
        x = prelu(held.tensor)
        if fresh:
            prelu.alpha.assign(np.reshape(slopes, prelu.alpha.shape))
        return x

    def _layer_scale(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        scale = self.clone(node.source.target)
        fresh = not scale.built
        x = scale(held.tensor)
        if fresh:
            scale.gamma.assign(vectors[0])
        return x

    def _rescaling(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        shape = (1, 1, -1) if held.last else (-1, *[1] * (len(held.tensor.shape) - 2))
        scale, offset = (vector.reshape(shape) for vector in vectors)
        key = "rescaling", node.name
        base = self.name(node)
        return self.layer(key, layers.Rescaling, base, scale=scale, offset=offset)(held.tensor)

    def _normalization(self, node: Node, held: Held, vectors: list[Any]) -> Any:
        mean, variance = (vector.tolist() for vector in vectors)
        settings = {
            "axis": -1 if held.last else 1,
            "mean": mean,
            "variance": variance,
            "invert": node.source.target.invert,
        }
        key = "normalization", node.name
        return self.layer(key, layers.Normalization, self.name(node), **settings)(held.tensor)

    @operation.register
    def _(self, operation: ChannelNormalization, node: Node) -> Held:
        axis = -1 if self.last else 1
        x = self.map(node.inputs[0])
        return self.on_map(self._layer_norm(node, operation.epsilon, x, axis))

    @operation.register
    def _(self, operation: LayerNormalization, node: Node) -> Held:
        x = self.plain(node.inputs[0])
        rank = len(x.shape)
        axes = list(range(rank - operation.axes, rank))
        return Held(self._layer_norm(node, operation.epsilon, x, axes), False)

    def _layer_norm(self, node: Node, epsilon: float, x: Any, axis: Any) -> Any:
        scale, bias = (self.vector(name) for name in node.inputs[1:])
        settings = kept_settings(node.source.target, "gamma_regularizer", "beta_regularizer") | {
            "axis": axis,
            "epsilon": epsilon,
            "scale": scale is not None,
            "center": bias is not None,
        }
        key = "layer_norm", node.name
        norm = self.layer(key, layers.LayerNormalization, self.name(node), **settings)
        fresh = not norm.built
        result = norm(x)
        if fresh:
            for name, vector in (("gamma", scale), ("beta", bias)):
                if vector is not None:
                    getattr(norm, name).assign(vector)
        return result

    @operation.register
    def _(self, operation: GroupNormalization, node: Node) -> Held:
        x = self.map(node.inputs[0])
        layer = node.source.target
        copy = self.clone(layer)
        fresh = not copy.built
        result = copy(x)
        if fresh:
            _fill(copy, layer)
        return self.on_map(result)

    @operation.register
    def _(self, operation: SlidingNormalization, node: Node) -> Held:
        x, *parameters = node.inputs
        vectors = [self.vector(name) for name in parameters]
        layer = node.source.target
        settings: Any = {
            "groups": operation.groups,
            "kernel": operation.kernel,
            "dilation": operation.dilation,
            "epsilon": operation.epsilon,
            "scale": any(v is not None for v in vectors[:1]),
            "center": any(v is not None for v in vectors[1:]),
        }
        norm = self.layer(
            ("sliding", node.name),
            sliding.SlidingNormalization,
            self.name(node),
            channels_last=self.last,
            trainable=layer.trainable,
            **settings,
        )
        fresh = not norm.built
        result = norm(self.map(x))
        for name, vector in zip(("gamma", "beta"), vectors, strict=False):
            if fresh and vector is not None:
                weight = getattr(norm, name)
                weight.assign(np.repeat(vector, weight.shape[0] // vector.size))
        return self.on_map(result)

    @operation.register
    def _(self, operation: Power, node: Node) -> Held:
        x = self.map(node.inputs[0])
        return self.on_map(self.own(sliding.Power, x, kind=operation.kind))

    @operation.register
    def _(self, operation: SlidingTotal, node: Node) -> Held:
        settings = {name: getattr(operation, name) for name in ("kind", "kernel", "dilation")}
        x = self.map(node.inputs[0])
        return self.on_map(self.own(sliding.SlidingTotal, x, node=node, **settings))

    @operation.register
    def _(self, operation: Pool, node: Node) -> Held:
        x = self.map(node.inputs[0])
        if node.per_window:
            return self.on_map(self.clone(node.source.target)(x))
        mode = _padding_mode(operation)
        if mode is None:
            settings = ("kind", "kernel", "stride", "padding", "dilation", "divisor")
            given = {name: getattr(operation, name) for name in settings}
            return self.on_map(self.own(own.MovingPool, x, node=node, **given))
        kind = layers.MaxPooling2D if operation.kind == "max" else layers.AveragePooling2D
        key = "pool", node.name, replace(operation, channels=0)
        settings_ = operation.kernel, operation.stride, mode, self.format
        return self.on_map(self.layer(key, kind, self.name(node), *settings_)(x))

    @operation.register
    def _(self, operation: Reduce, node: Node) -> Held:
        held = self.values[node.inputs[0] or ""]
        x, axes, last = held.tensor, operation.axes, held.last
        if held.last and not operation.keepdims and operation.axes != (2, 3):
            x, last = self.plain(node.inputs[0]), False
        elif held.last:
            axes = tuple(sorted(TO_NATIVE.index(axis) for axis in operation.axes))
            last = operation.keepdims
        settings = {"kind": operation.kind, "axes": axes, "keepdims": operation.keepdims}
        return Held(self.own(own.ReduceAxes, x, node=node, **settings), last)

    @operation.register
    def _(self, operation: Concat, node: Node) -> Held:
        # The same map twice is still two inputs; a layer takes a tensor more than once.
        last = not node.per_window or all(self.values[name or ""].last for name in node.inputs)
        take = self.map if last else self.plain
        tensors = [take(name) for name in node.inputs]
        axis = TO_NATIVE.index(operation.axis) if last and self.last else operation.axis
        base = self.name(node) if node.name else "concatenate"
        join = self.layer(("concat", node.name, axis), layers.Concatenate, base, axis)
        return Held(join(tensors), last and self.last)

    @operation.register
    def _(self, operation: Slice, node: Node) -> Held:
        held = self.values[node.inputs[0] or ""]
        axis = TO_NATIVE.index(operation.axis) if held.last else operation.axis
        numbers = (axis, operation.start, operation.stop, operation.step)
        settings = dict(zip(("axis", "start", "stop", "stride"), numbers, strict=True))
        return Held(self.own(own.SliceAxis, held.tensor, node=node, **settings), held.last)

    @operation.register
    def _(self, operation: Pad, node: Node) -> Held:
        _, channels, *spatial = operation.pads
        return self.on_map(
            self.padded(
                self.map(node.inputs[0]),
                (spatial[0], spatial[1]),
                operation.value,
                "edge" if operation.mode == "replicate" else "constant",
                channels,
                node,
            )
        )

    def padded(
        self,
        x: Any,
        pads: Any,
        value: float = 0.0,
        mode: str = "constant",
        channels: tuple[int, int] = (0, 0),
        node: Node | None = None,
    ) -> Any:
        """Return a map with cells added around it."""
        plain = mode == "constant" and value == 0 and channels == (0, 0)
        if plain and min(n for pair in pads for n in pair) >= 0:
            base = self.name(node) if node is not None and node.name else "zero_padding"
            key = "zero_padding", node.name if node is not None else "", pads
            return self.layer(key, layers.ZeroPadding2D, base, pads, self.format)(x)
        settings = {"pads": tuple(pads), "channels": channels, "mode": mode, "value": value}
        return self.own(own.PadCells, x, node=node, **settings)

    @operation.register
    def _(self, operation: Reshape, node: Node) -> Held:
        x, shape = self.plain(node.inputs[0]), operation.shape
        if shape[:1] != (-1,):  # the windows are not the first axis
            return self._regrouped(node, x, shape, tuple(range(len(shape))), shape)
        key = "reshape", node.name, node.outputs
        return Held(self.layer(key, layers.Reshape, self.name(node), shape[1:])(x), False)

    @operation.register
    def _(self, operation: Permute, node: Node) -> Held:
        held = self.values[node.inputs[0] or ""]
        if held.last and operation.order == TO_NATIVE:
            return Held(held.tensor, False)
        if self.last and not held.last and operation.order == TO_MAP:
            return Held(held.tensor, True)
        x = self.plain(node.inputs[0])
        if operation.order[0] == 0:
            dims = operation.order[1:]
            return Held(self.layer(("permute", dims), layers.Permute, "permute", dims)(x), False)
        shape = tuple(-1 if n is None else n for n in x.shape)
        turned = tuple(shape[i] for i in operation.order)
        return self._regrouped(node, x, shape, operation.order, turned)

    def _regrouped(self, node: Node, x: Any, split: Any, order: Any, shape: Any) -> Held:
        """Reshape, permute and reshape a tensor as it is, whichever axis holds the windows."""
        settings: Any = {"split": split, "order": order, "shape": shape}
        name = self.unique(self.name(node))
        regroup = own.Regroup(channels_last=False, name=name, dtype=self.policy, **settings)
        return Held(regroup(x), False)

    # What lifting adds.

    def _maps(self, node: Node) -> list[Any]:
        return [self.map(name) for name in node.inputs]

    @operation.register
    def _(self, operation: Combine, node: Node) -> Held:
        kind = layers.Add if operation.kind == "sum" else layers.Maximum
        base = f"{self.name(node)}_{operation.kind}"
        return self.on_map(self.layer(("combine", node.name), kind, base)(self._maps(node)))

    @operation.register
    def _(self, operation: TakeChannels, node: Node) -> Held:
        x = self.map(node.inputs[0])
        return self.on_map(self.own(own.TakeChannels, x, node=node, indices=operation.indices))

    @operation.register
    def _(self, operation: Cells, node: Node) -> Held:
        x = self.map(node.inputs[0])
        if operation.stride == (1, 1):
            pads = tuple(zip(operation.before, operation.after, strict=True))
            crop = self.layer(("crop", pads), layers.Cropping2D, "crop", pads, self.format)
            return self.on_map(crop(x))
        settings = {name: getattr(operation, name) for name in ("before", "after", "stride")}
        return self.on_map(self.own(own.Cells, x, **settings))

    @operation.register
    def _(self, operation: Keep, node: Node) -> Held:
        kept = operation.rows, operation.columns
        return self.on_map(self.own(own.Keep, self._maps(node), kept=kept))

    @operation.register
    def _(self, operation: Assemble, node: Node) -> Held:
        settings: Any = {
            "channels": operation.channels,
            "along_rows": tuple(map(_segment, operation.rows)),
            "along_columns": tuple(map(_segment, operation.columns)),
        }
        return self.on_map(self.own(own.Assemble, self._maps(node), **settings))

    @operation.register
    def _(self, operation: LayOut, node: Node) -> Held:
        settings: Any = {"axes": operation.axes, "private": operation.private}
        return self.on_map(self.own(own.LayOut, self._maps(node), **settings))

    @operation.register
    def _(self, operation: DivideCells, node: Node) -> Held:
        settings: Any = {"along_rows": operation.rows, "along_columns": operation.columns}
        x = self.map(node.inputs[0])
        return self.on_map(self.own(own.DivideCells, x, **settings))

    @operation.register
    def _(self, operation: Regroup, node: Node) -> Held:
        settings: Any = {name: getattr(operation, name) for name in ("split", "order", "shape")}
        return Held(self.own(own.Regroup, self.map(node.inputs[0]), **settings), False)

    @operation.register
    def _(self, operation: FoldWindows, node: Node) -> Held:
        x, image = node.inputs
        tensors = [self.plain(x), self.map(image)]
        return self.on_map(self.own(own.FoldWindows, tensors, shape=operation.shape))

    @operation.register
    def _(self, operation: SplitChannels, node: Node) -> Held:
        x = self.map(node.inputs[0])
        return self.on_map(self.own(own.SplitChannels, x, shape=operation.shape))

    @operation.register
    def _(self, operation: Stretch, node: Node) -> Held:
        x = self.map(node.inputs[0])
        if operation.dilation == (1, 1):
            return self.on_map(self.padded(x, operation.padding, mode="edge"))
        pads, distance = operation.padding, operation.dilation
        return self.on_map(self.own(sliding.Stretch, x, padding=pads, dilation=distance))


def kept_settings(layer: Any, *names: str) -> dict[str, Any]:
    """Return what a written layer keeps of the original's settings: type, training, penalties."""
    held = {name: getattr(layer, name, None) for name in names}
    return {"trainable": layer.trainable, "dtype": layer.dtype_policy, **held}


def _padding_mode(operation: Pool) -> str | None:
    """Return how Keras calls a pool's padding; None where it has no word, or no such pool."""
    if operation.dilation != (1, 1) or operation.kind == "sum" or operation.divisor is not None:
        return None
    pads = operation.padding
    if not any(map(any, pads)):
        return "valid"
    same = tuple(((k - 1) // 2, k // 2) for k in operation.kernel)
    even = all(before == after for before, after in pads)
    fits = pads == same and operation.stride == (1, 1)
    return "same" if fits and (even or operation.kind == "max") else None


def _segment(segment: Own | Gathered | Running) -> tuple[Any, ...]:
    """Return what one part gives to a block along one axis, as `Assemble` takes it."""
    if isinstance(segment, Own):
        return ("own", segment.cells)
    if isinstance(segment, Gathered):
        return ("gathered", segment.cells, segment.stride)
    return ("running", segment.skip)


def _flat_names(whole: Any) -> dict[str, str]:
    """Return the name in a flat model of every layer's path: its own, or its path where taken."""
    paths = [path for path, _ in leaves(whole)]
    own_names = [path.rpartition("/")[2] for path in paths]
    return {
        path: name if own_names.count(name) == 1 else path.replace("/", "_")
        for path, name in zip(paths, own_names, strict=True)
    }


def _fill(copy: Any, layer: Any) -> None:
    """Give a layer the weights of another of its kind."""
    for mine, own_ in zip(copy.weights, layer.weights, strict=True):
        mine.assign(numbers(own_))


def _remade(layer: Any, name: str) -> Any:
    """Make a layer or operation again from its own settings, under another name."""
    kind = type(layer)
    try:
        return kind.from_config({**layer.get_config(), "name": name})
    except Exception as error:
        raise ModelError(
            f"convert: {kind.__name__} {layer.name!r} cannot be made again from its own settings "
            f"({first_line(error)}); give it a get_config that returns what its __init__ takes."
        ) from None
