"""Write convolutions, and fully connected layers, as layers of Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

from fullconv.frameworks.keras.activations import name_of
from fullconv.frameworks.keras.calls import Call
from fullconv.frameworks.keras.part_layers import PartConv2D, PartDepthwiseConv2D
from fullconv.graph import Node, Recipe
from fullconv.operations import Convolution, Padding, Pointwise, TransposedConvolution

if TYPE_CHECKING:
    from fullconv.frameworks.keras.values import Held, Values

Cuts = tuple[tuple[int, int, int], ...]

layers = keras.layers


@dataclass(frozen=True)
class Use:
    """One call of some filters: how they move, which of them, and whether the bias is added."""

    operation: Convolution
    cuts: Cuts
    bias: str | None


class Convolving:
    """What the writer knows of its convolutions: filters are held once, however often called."""

    def __init__(self, writer: Values) -> None:
        self.writer = writer
        self.uses: dict[Recipe, list[Use]] = {}
        for node in writer.graph.nodes:
            if isinstance(node.operation, Convolution):
                whole, use = self._use(node)
                self.uses.setdefault(whole, []).append(use)

    def _use(self, node: Node) -> tuple[Recipe, Use]:
        operation = node.operation
        assert isinstance(operation, Convolution)
        whole, cuts = self.writer.graph.constants[node.inputs[1] or ""].uncut()
        return whole, Use(operation, cuts, node.inputs[2])

    def convolution(self, operation: Convolution, node: Node) -> Held:
        """Write a convolution: a plain layer where its filters are called in one way only."""
        writer = self.writer
        whole, use = self._use(node)
        uses = self.uses[whole]
        x = writer.map(node.inputs[0])
        depthwise = operation.groups == whole.shape[0] // _multiplier(whole, operation)
        depthwise = depthwise and node.source.part == "depthwise"
        plain = len(set(uses)) == 1 and not use.cuts and _has_layer(operation, depthwise)
        bias = next((u.bias for u in uses if u.bias is not None), None)
        settings = _settings(node, depthwise) | {
            "use_bias": bias is not None,
            "data_format": writer.format,
        }
        padding = operation.padding
        name = writer.name(node)
        if node.source.part == "depthwise" and isinstance(
            node.source.target, layers.SeparableConv2D
        ):
            name = f"{name}_depthwise"
        if plain:
            settings |= {"strides": operation.stride, "dilation_rate": operation.dilation}
            if _is_same(operation):
                settings["padding"] = "same"
            elif any(map(any, padding)):
                x = writer.padded(x, padding)
            function = self._fused(node) if len(uses) == 1 else None
            if function is not None:
                settings["activation"] = function
        size = whole.shape[2:]
        kinds: tuple[Any, ...]
        if depthwise:
            kinds = layers.DepthwiseConv2D, PartDepthwiseConv2D
            settings |= {"depth_multiplier": _multiplier(whole, operation), "kernel_size": size}
        else:
            kinds = layers.Conv2D, PartConv2D
            settings |= {"filters": whole.shape[0], "kernel_size": size}
            settings["groups"] = operation.groups
        layer = writer.layer(("conv", whole), kinds[0 if plain else 1], name, **settings)
        fresh = not layer.built
        result = layer(x) if plain else layer(x, **_arguments(use))
        if fresh:
            layer.kernel.assign(self._kernel(whole, depthwise, operation))
            if bias is not None:
                layer.bias.assign(writer.vector(bias))
        return writer.on_map(result)

    def _kernel(self, whole: Recipe, depthwise: bool, operation: Convolution) -> Any:
        filters = self.writer.array(whole)
        if not depthwise:
            return filters.transpose(2, 3, 1, 0)
        times = _multiplier(whole, operation)
        return filters.reshape(-1, times, *filters.shape[2:]).transpose(2, 3, 0, 1)

    def _fused(self, node: Node) -> Any:
        """Return the activation that stands behind a convolution alone, and take it in."""
        writer, (value,) = self.writer, node.outputs
        readers = writer.graph.consumers(value)
        if len(readers) != 1 or value in writer.graph.outputs:
            return None
        (reader,) = readers
        call, own = reader.source, node.source
        if not isinstance(call, Call) or call.target is not own.target or reader.per_window:
            return None
        if call.part != "activation" or isinstance(call.target, layers.Activation):
            return None
        function = call.target.activation
        pointwise = isinstance(reader.operation, Pointwise)
        if not pointwise and not (writer.last and name_of(function) in ("softmax", "log_softmax")):
            return None
        writer.fused[reader.outputs[0]] = value
        return function

    def transposed(self, operation: TransposedConvolution, node: Node) -> Held:
        """Write a transposed convolution, and cut what its padding takes away."""
        writer = self.writer
        filters = writer.array(node.inputs[1] or "")
        bias = writer.vector(node.inputs[2])
        settings = _settings(node, False) | {
            "filters": filters.shape[1],
            "kernel_size": operation.kernel,
            "strides": operation.stride,
            "dilation_rate": operation.dilation,
            "use_bias": bias is not None,
            "data_format": writer.format,
        }
        key = "transposed", node.inputs[1], operation
        layer = writer.layer(key, layers.Conv2DTranspose, writer.name(node), **settings)
        fresh = not layer.built
        result = layer(writer.map(node.inputs[0]))
        if fresh:
            layer.kernel.assign(filters.transpose(2, 3, 1, 0))
            if bias is not None:
                layer.bias.assign(bias)
        return writer.on_map(result)

    def linear(self, node: Node) -> Held:
        """Write a fully connected layer on one tensor per window."""
        from fullconv.frameworks.keras.values import Held

        writer = self.writer
        weight, bias = (writer.vector(name) for name in node.inputs[1:3])
        settings = _settings(node, False) | {"use_bias": bias is not None}
        key = "dense", node.inputs[1:]
        layer = writer.layer(key, layers.Dense, writer.name(node), weight.shape[0], **settings)
        fresh = not layer.built
        result = layer(writer.plain(node.inputs[0]))
        if fresh:
            layer.kernel.assign(weight.T)
            if bias is not None:
                layer.bias.assign(bias)
        return Held(result, False)


def _multiplier(whole: Recipe, operation: Convolution) -> int:
    return max(1, whole.shape[0] // operation.groups)


def _has_layer(operation: Convolution, depthwise: bool) -> bool:
    """Whether a layer of Keras moves so: it does not stride and dilate at once."""
    both = max(operation.stride) > 1 and max(operation.dilation) > 1
    uneven = depthwise and operation.stride[0] != operation.stride[1]
    return not both and not uneven


def _is_same(operation: Convolution) -> bool:
    """Whether ``padding="same"`` pads so at every size."""
    spans = [d * (k - 1) for k, d in zip(operation.kernel, operation.dilation, strict=True)]
    same: Padding = tuple((n // 2, n - n // 2) for n in spans)  # type: ignore[assignment]
    padded = any(map(any, operation.padding))
    return padded and operation.stride == (1, 1) and operation.padding == same


def _settings(node: Node, depthwise: bool) -> dict[str, Any]:
    """Return what a convolution keeps of the layer that it was."""
    layer = node.source.target
    kernel = "depthwise" if depthwise else "kernel"
    names = [f"{kernel}_regularizer"]
    if isinstance(layer, layers.SeparableConv2D) and not depthwise:
        names = ["pointwise_regularizer"]
    held = {
        f"{kernel}_regularizer": getattr(layer, names[0], None),
        f"{kernel}_initializer": "zeros",
        "bias_regularizer": getattr(layer, "bias_regularizer", None),
    }
    return {"trainable": layer.trainable, "dtype": layer.dtype_policy, **held}


def _arguments(use: Use) -> dict[str, Any]:
    """Return the arguments of one call of a layer that is called in several ways."""
    operation = use.operation
    cut = {axis: (start, stop) for axis, start, stop in use.cuts}
    padded = any(map(any, operation.padding))
    return {
        "strides": operation.stride,
        "dilation": operation.dilation,
        "padding": operation.padding if padded else None,
        "rows": cut.get(2),
        "columns": cut.get(3),
        "biased": use.bias is not None,
    }
