"""A drawn network as a PyTorch module, written in the many ways people write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


def torch_form(network: Network) -> nn.Module:
    """Return the network as a module in eval mode."""
    weights = Weights(network.seed)
    layers, at = [], network.input
    for index, layer in enumerate(network.trunk):
        layers.append(form(layer, at, weights.at(index)))
        at = layer.after(at)
    head = form(network.head, at, weights.at("head"))
    tail, vector = [], network.collected()
    for index, layer in enumerate(network.tail):
        tail.append(form(layer, vector, weights.at(f"tail{index}")))
        vector = layer.after(vector)
    module: nn.Module
    if network.style == "sequential" and network.outputs == "array" and not network.taps:
        module = nn.Sequential(*layers, head, *tail)
    else:
        module = _Whole(layers, head, tail, network.taps, network.outputs)
    return (module.double() if network.double else module).eval()


def around(
    function: Callable[..., Tensor], window: tuple[int, int], *parts: nn.Module
) -> nn.Module:
    """Return a classifier of 4 features: a 3x3 convolution, this function, flatten, linear."""
    weights = Weights(0)
    first = form(Conv(4), Map(2, *window), weights.at("first"))
    middle = _Call(function, *parts)
    with torch.no_grad():
        count = middle(first(torch.ones(1, 2, *window))).flatten(1).shape[1]
    last = form(Linear(3), Map(count, 1, 1, vector=True), weights.at("last"))
    return nn.Sequential(first, middle, nn.Flatten(), last).eval()


class _Whole(nn.Module):
    """A network whose forward is code: it keeps maps for later and returns a structure."""

    def __init__(
        self,
        trunk: Sequence[nn.Module],
        head: nn.Module,
        tail: Sequence[nn.Module],
        taps: tuple[int, ...],
        outputs: str,
    ) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(trunk)
        self.head = head
        self.tail = nn.ModuleList(tail)
        self.taps = taps
        self.outputs = outputs

    def forward(self, x: Tensor) -> Any:
        tapped = []
        for index, layer in enumerate(self.trunk):
            x = layer(x)
            if index in self.taps:
                tapped.append(torch.flatten(x, 1))
        x = self.head(x)
        if tapped:
            x = torch.cat([x, *tapped], dim=1)
        before = x
        for layer in self.tail:
            before, x = x, layer(x)
        match self.outputs:
            case "tuple":
                return x, before
            case "list":
                return [before, x]
            case "dict":
                return {"scores": x, "features": before}
        return x


class _Call(nn.Module):
    """Any function of a tensor, with the modules and parameters that it uses."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module | np.ndarray) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(p for p in parts if isinstance(p, nn.Module))
        self.numbers = nn.ParameterList(
            nn.Parameter(torch.from_numpy(p)) for p in parts if isinstance(p, np.ndarray)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts, *self.numbers)


def _set(module: nn.Module, **numbers: np.ndarray | None) -> nn.Module:
    with torch.no_grad():
        for name, array in numbers.items():
            if array is not None:
                getattr(module, name).copy_(torch.from_numpy(array))
    return module


SIGNS = (-1, 0, 1)


@singledispatch
def form(spec: Spec, here: Map, weights: Weights) -> nn.Module:
    """Return the module of one layer that stands behind this map."""
    raise NotImplementedError(spec)


def _all(layers: tuple[Spec, ...], here: Map, weights: Weights) -> nn.Sequential:
    made = []
    for index, layer in enumerate(layers):
        made.append(form(layer, here, weights.at(index)))
        here = layer.after(here)
    return nn.Sequential(*made)


@form.register
def _(spec: Conv, here: Map, weights: Weights) -> nn.Module:
    shape = (spec.out, here.channels // spec.groups, *spec.kernel)
    weight = weights.filters("weight", *shape)
    bias = weights.pick("bias", SIGNS, spec.out) if spec.bias else None
    padding, before = spec.padding, None
    if padding in ("VALID", "SAME_UPPER", "SAME_LOWER"):  # PyTorch has to be told the numbers
        padding = spec.pads(here.extent)
    if not isinstance(padding, str):
        top, left, bottom, right = padding
        if (top, left) != (bottom, right) or spec.style == "pad first":
            before, padding = _pad((top, left, bottom, right), spec.mode, 0, "module"), 0
        else:
            padding = (top, left)
    rest = (spec.stride, padding, spec.dilation, spec.groups)
    if spec.style == "functional" and spec.mode == "zeros":
        numbers = (weight,) if bias is None else (weight, bias)

        def convolve(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
            return F.conv2d(x, w, b, *rest)

        after: nn.Module = _Call(convolve, *numbers)
    else:
        mode = "zeros" if before is not None else spec.mode
        after = nn.Conv2d(
            here.channels, spec.out, spec.kernel, *rest, bias=spec.bias, padding_mode=mode
        )
        _set(after, weight=weight, bias=bias)
    return after if before is None else nn.Sequential(before, after)


@form.register
def _(spec: ConvTranspose, here: Map, weights: Weights) -> nn.Module:
    made = nn.ConvTranspose2d(
        here.channels,
        spec.out,
        spec.kernel,
        spec.stride,
        spec.padding,
        spec.more,
        spec.groups,
        spec.bias,
        spec.dilation,
    )
    weight = weights.pick("weight", SIGNS, *made.weight.shape)
    return _set(
        made, weight=weight, bias=weights.pick("bias", SIGNS, spec.out) if spec.bias else None
    )


@form.register
def _(spec: Upsample, here: Map, weights: Weights) -> nn.Module:
    size = tuple(spec.after(here).extent)
    match spec.style:
        case "size":
            return _Call(lambda x: F.interpolate(x, size))
        case "exact":
            return nn.Upsample(size, mode="nearest-exact")
    return nn.Upsample(scale_factor=spec.factor)


def _pad(amounts: tuple[int, ...], mode: str, value: int, style: str) -> nn.Module:
    top, left, bottom, right = amounts
    order = (left, right, top, bottom)
    if style == "module":
        match mode:
            case "zeros":
                return nn.ZeroPad2d(order)
            case "value":
                return nn.ConstantPad2d(order, float(value))
            case "reflect":
                return nn.ReflectionPad2d(order)
            case "replicate":
                return nn.ReplicationPad2d(order)
            case "circular":
                return nn.CircularPad2d(order)
    if mode in ("zeros", "value"):
        return _Call(lambda x: F.pad(x, order, value=float(value)))
    return _Call(lambda x: F.pad(x, order, mode=mode))


@form.register
def _(spec: Pad, here: Map, weights: Weights) -> nn.Module:
    return _pad(spec.amounts, spec.mode, spec.value, spec.style)


@form.register
def _(spec: ChannelPad, here: Map, weights: Weights) -> nn.Module:
    return _Call(lambda x: F.pad(x, (0, 0, 0, 0, spec.before, spec.behind)))


def _even(spec: Pool) -> tuple[int, int]:
    if isinstance(spec.padding, str) or len(spec.padding) != 2:
        raise ValueError("a pool of PyTorch has the same padding on both sides")
    return spec.padding


@form.register
def _(spec: MaxPool, here: Map, weights: Weights) -> nn.Module:
    return nn.MaxPool2d(spec.kernel, spec.stride, _even(spec), spec.dilation, False, spec.ceil)


@form.register
def _(spec: AvgPool, here: Map, weights: Weights) -> nn.Module:
    return nn.AvgPool2d(
        spec.kernel, spec.stride, _even(spec), spec.ceil, spec.count_pads, spec.divisor
    )


@form.register
def _(spec: AdaptivePool, here: Map, weights: Weights) -> nn.Module:
    made = nn.AdaptiveAvgPool2d if spec.kind == "average" else nn.AdaptiveMaxPool2d
    return made(spec.bins)


def _norm(made: nn.BatchNorm1d | nn.BatchNorm2d, weights: Weights) -> nn.Module:
    count, eps = made.num_features, made.eps
    _set(
        made,
        running_mean=weights.pick("mean", SIGNS, count),
        running_var=weights.pick("deviation", (0.5, 1, 2), count) ** 2 - np.float32(eps),
    )
    if made.affine:
        scale, shift = weights.pick("scale", (-1, 1, 2), count), weights.pick("shift", SIGNS, count)
        _set(made, weight=scale, bias=shift)
    return made


@form.register
def _(spec: BatchNorm, here: Map, weights: Weights) -> nn.Module:
    kind = nn.BatchNorm1d if here.vector else nn.BatchNorm2d
    return _norm(kind(here.channels, eps=spec.epsilon, affine=spec.affine), weights)


@form.register
def _(spec: Pointwise, here: Map, weights: Weights) -> nn.Module:
    modules: dict[str, Callable[[], nn.Module]] = {
        "relu": nn.ReLU,
        "leaky": lambda: nn.LeakyReLU(0.5),
        "hardtanh": lambda: nn.Hardtanh(-3, 3),
        "wide": lambda: nn.Hardtanh(-31, 31),
        "widest": lambda: nn.Hardtanh(-1023, 1023),
        "relu6": lambda: nn.ReLU6(inplace=True),
    }
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "relu": torch.relu,
        "leaky": lambda x: F.leaky_relu(x, 0.5),
        "hardtanh": lambda x: torch.clamp(x, -3, 3),
        "wide": lambda x: torch.clamp(x, -31, 31),
        "widest": lambda x: torch.clamp(x, -1023, 1023),
        "relu6": lambda x: x.clamp(min=0).clamp(max=6),
        "abs": torch.abs,
        "sign": torch.sign,
        "double": lambda x: x * 2,
        "shift": lambda x: x + 1,
        "mirror": lambda x: 1 - x,
    }
    if spec.style == "module" and spec.kind in modules:
        return modules[spec.kind]()
    return _Call(functions[spec.kind])


@form.register
def _(spec: PRelu, here: Map, weights: Weights) -> nn.Module:
    made = nn.PReLU(here.channels if spec.per_channel else 1)
    return _set(made, weight=weights.pick("weight", (-1, 0, 0.5, 2), made.num_parameters))


@form.register
def _(spec: Scale, here: Map, weights: Weights) -> nn.Module:
    shape = (1, here.channels, 1, 1)
    numbers = weights.pick("scale", (-1, 1, 2), *shape), weights.pick("shift", SIGNS, *shape)
    return _Call(lambda x, scale, shift: x * scale + shift, *numbers)


@form.register
def _(spec: Dropout, here: Map, weights: Weights) -> nn.Module:
    match spec.style:
        case "module":
            return nn.Dropout(0.5)
        case "channels" if not here.vector:
            return nn.Dropout2d(0.5)
    return _Call(lambda x: F.dropout(x, 0.5, training=False))


@form.register
def _(spec: Slice, here: Map, weights: Weights) -> nn.Module:
    rows, columns = slice(*spec.rows), slice(*spec.columns)
    return _Call(lambda x: x[:, :, rows, columns])


@form.register
def _(spec: Shuffle, here: Map, weights: Weights) -> nn.Module:
    g, c, h, w = spec.groups, here.channels, here.rows, here.columns

    def shuffle(x: Tensor) -> Tensor:
        return x.view(x.size(0), g, c // g, h, w).transpose(1, 2).reshape(x.size(0), c, h, w)

    return _Call(shuffle)


@form.register
def _(spec: ChannelsLastLinear, here: Map, weights: Weights) -> nn.Module:
    made = nn.Linear(here.channels, spec.out)
    _set(
        made,
        weight=weights.pick("weight", SIGNS, *made.weight.shape),
        bias=weights.pick("bias", SIGNS, spec.out),
    )
    return _Call(lambda x, linear: linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), made)


def _cut(x: Tensor, rows: int, columns: int) -> Tensor:
    """Return the middle of a map, in these many rows and columns."""
    top, left = (x.shape[2] - rows) // 2, (x.shape[3] - columns) // 2
    if (x.shape[2], x.shape[3]) == (rows, columns):
        return x
    return x[:, :, top : top + rows, left : left + columns]


@form.register
def _(spec: Merge, here: Map, weights: Weights) -> nn.Module:
    extent = spec.after(here).extent
    operations: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "add": torch.add,
        "subtract": torch.sub,
        "multiply": torch.mul,
        "maximum": torch.maximum,
    }
    operation = operations[spec.kind]

    def merge(x: Tensor, body: nn.Module, shortcut: nn.Module) -> Tensor:
        return operation(_cut(shortcut(x), *extent), _cut(body(x), *extent))

    shortcut = _all(spec.shortcut, here, weights.at("shortcut"))
    return _Call(merge, _all(spec.body, here, weights), shortcut)


@form.register
def _(spec: Concat, here: Map, weights: Weights) -> nn.Module:
    extent = spec.after(here).extent

    def concatenate(x: Tensor, *bodies: nn.Module) -> Tensor:
        return torch.cat([_cut(body(x), *extent) for body in bodies], dim=1)

    bodies = (_all(body, here, weights.at(f"body{k}")) for k, body in enumerate(spec.bodies))
    return _Call(concatenate, *bodies)


@form.register
def _(spec: Split, here: Map, weights: Weights) -> nn.Module:
    extent, size = spec.after(here).extent, -(-here.channels // 2)

    def split(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
        match spec.style:
            case "chunk":
                a, b = x.chunk(2, dim=1)
            case "split":
                a, b = torch.split(x, [size, here.channels - size], dim=1)
            case _:
                a, b = x[:, :size], x[:, size:]
        return torch.cat((_cut(first(a), *extent), _cut(second(b), *extent)), dim=1)

    return _Call(
        split,
        _all(spec.first, _channels(here, size), weights.at("first")),
        _all(spec.second, _channels(here, here.channels - size), weights.at("second")),
    )


def _channels(here: Map, channels: int) -> Map:
    from dataclasses import replace

    return replace(here, channels=channels)


@form.register
def _(spec: Twice, here: Map, weights: Weights) -> nn.Module:
    return _Call(lambda x, layer: layer(layer(x)), form(spec.layer, here, weights))


@form.register
def _(spec: Gate, here: Map, weights: Weights) -> nn.Module:
    return _Call(lambda x: x * x.amax((2, 3), keepdim=True).clamp(-1, 2))


@form.register
def _(spec: GroupNorm, here: Map, weights: Weights) -> nn.Module:
    made = nn.GroupNorm(spec.groups, here.channels, eps=GroupNorm.epsilon, affine=False)
    return _Call(lambda x, norm: torch.floor(norm(x) * 2 + 0.25), made)


@form.register
def _(spec: Unshared, here: Map, weights: Weights) -> nn.Module:
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "cumsum": lambda x: torch.cumsum(x, dim=3),
        "sort": lambda x: torch.sort(x, dim=2).values,
        "flip": lambda x: x.flip(3),
        "roll": lambda x: torch.roll(x, 1, dims=2),
        "transpose": lambda x: x.transpose(2, 3),
        "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        "space to depth": lambda x: F.pixel_unshuffle(x, 2),
    }
    return _Call(kinds[spec.kind])


@form.register
def _(spec: Flatten, here: Map, weights: Weights) -> nn.Module:
    count = here.channels * here.cells
    styles: dict[str, Callable[[Tensor], Tensor]] = {
        "flatten": lambda x: torch.flatten(x, 1),
        "view(-1, M)": lambda x: x.contiguous().view(-1, count),
        "view(N, -1)": lambda x: x.contiguous().view(x.size(0), -1),
        "reshape(N, -1)": lambda x: x.reshape(x.shape[0], -1),
        "reshape(N, M)": lambda x: x.reshape(x.shape[0], count),
    }
    axes = (0, *(1 + "CHW".index(axis) for axis in spec.order))
    if spec.style == "flatten cells first":
        if spec.order == "HWC":
            return _Call(lambda x: x.flatten(2).transpose(1, 2).flatten(1))
        return _Call(lambda x: x.permute(axes).flatten(2).flatten(1))
    if spec.style == "nn.Flatten":
        flat: nn.Module = nn.Flatten()
        return flat if spec.order == "CHW" else _Call(lambda x, f: f(x.permute(axes)), flat)
    flatten = styles[spec.style]
    if spec.order == "CHW":
        return _Call(flatten)
    return _Call(lambda x: flatten(x.permute(axes)))


@form.register
def _(spec: GlobalPool, here: Map, weights: Weights) -> nn.Module:
    extent = here.extent
    reductions: dict[str, Callable[..., Tensor]] = {
        "mean": torch.mean,
        "sum": torch.sum,
        "max": torch.amax,
    }
    reduction = reductions[spec.kind]
    adaptive = {"mean": F.adaptive_avg_pool2d, "max": F.adaptive_max_pool2d}
    pool = {"mean": F.avg_pool2d, "max": F.max_pool2d}
    match spec.style:
        case "adaptive" if spec.kind in adaptive:
            return _Call(lambda x: adaptive[spec.kind](x, 1).flatten(1))
        case "pool" if spec.kind in pool:
            return _Call(lambda x: torch.flatten(pool[spec.kind](x, extent), 1))
        case "keepdim":
            return _Call(lambda x: reduction(x, (2, 3), keepdim=True).squeeze(3).squeeze(2))
        case "one axis, then the other":
            return _Call(lambda x: reduction(reduction(x, 3), 2))
        case "flat":
            return _Call(lambda x: reduction(x.flatten(2), -1))
    return _Call(lambda x: reduction(x, (2, 3)))


@form.register
def _(spec: Squeeze, here: Map, weights: Weights) -> nn.Module:
    match spec.style:
        case "index":
            return _Call(lambda x: x[:, :, 0, 0])
        case "both":
            return _Call(lambda x: x.squeeze((2, 3)))
    return _Call(lambda x: x.squeeze(-1).squeeze(-1))


@form.register
def _(spec: PoolOneAxis, here: Map, weights: Weights) -> nn.Module:
    axis = 2 if spec.axis == "rows" else 3
    return _Call(lambda x: x.amax(axis).flatten(1))


@form.register
def _(spec: Gram, here: Map, weights: Weights) -> nn.Module:
    def gram(x: Tensor) -> Tensor:
        flat = x.flatten(2)
        return torch.bmm(flat, flat.transpose(1, 2)).flatten(1)

    return _Call(gram)


@form.register
def _(spec: Linear, here: Map, weights: Weights) -> nn.Module:
    weight = weights.pick("weight", (-2, -1, 0, 1, 2), spec.out, here.channels)
    bias = weights.pick("bias", SIGNS, spec.out) if spec.bias else None
    numbers = (weight,) if bias is None else (weight, bias)
    match spec.style:
        case "functional":
            return _Call(F.linear, *numbers)
        case "matmul":
            return _Call(lambda x, w, b=None: x @ w.t() if b is None else x @ w.t() + b, *numbers)
        case "addmm" if bias is not None:
            return _Call(lambda x, w, b: torch.addmm(b, x, w.t()), *numbers)
    made = nn.Linear(here.channels, spec.out, bias=spec.bias)
    return _set(made, weight=weight, bias=bias)
