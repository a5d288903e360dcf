"""Write convolutions, fully connected layers, pools and upsampling."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.reader import Call
from fullconv.frameworks.torch.writing import FxNode, Writing, writes
from fullconv.geometry.grid import Sizes
from fullconv.graph.graph import Node
from fullconv.operations import (
    AdaptivePool,
    Convolution,
    Linear,
    Padding,
    Pool,
    TransposedConvolution,
    Upsample,
)

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, Any] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
MAX_POOLS: dict[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOLS: dict[int, Any] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
"""Modules by the number of axes that they move over."""


@writes(Convolution)
def write_convolution(writing: Writing, node: Node, operation: Convolution) -> FxNode:
    """Write a convolution: as a layer, or as a function of filters from elsewhere."""
    weight_name, bias_name = node.inputs[1:3]
    x = writing.first(node)
    padding = _symmetric(operation.padding)
    if padding is None:
        numbers = tuple(n for pair in reversed(operation.padding) for n in pair)
        x = writing.function(F.pad, x, numbers)
        padding = (0,) * operation.dimensions
    moves = operation.stride, padding, operation.dilation, operation.groups
    if operation.copies:
        weight = writing.value(weight_name)
        return writing.function(functional.copied_cells, x, weight, None, *moves[:3])
    convolve = functional.CONVOLUTIONS[operation.dimensions]
    if _computed(writing, node):
        weight, bias = writing.value(weight_name), writing.value(bias_name)
        return writing.function(convolve, x, weight, bias, *moves)
    whole, cuts = writing.graph.constants[weight_name or ""].uncut()
    weight_, bias_ = writing.tensor(whole), writing.constant(bias_name)
    module = CONVOLUTIONS[operation.dimensions](
        weight_.shape[1] * operation.groups,
        weight_.shape[0],
        whole.shape[2:],
        *moves,
        bias=bias_ is not None,
        device="meta",
    )
    path = _holder(writing, weight_, bias_)
    if path is None:
        _parametrize(module, weight_, bias_)
        path = writing.place(_path(writing, node), module)
    if not cuts and _is_conv(writing, path, operation, padding, bias_ is not None):
        return writing.fx.call_module(path, (x,))
    # Another part of the map, or a part of the filters, uses the parameters of the same layer.
    weight = writing.fx.get_attr(f"{path}.weight")
    for axis, start, stop in cuts:
        weight = writing.function(torch.narrow, weight, axis, start, stop - start)
    bias = None if bias_ is None else writing.fx.get_attr(f"{path}.bias")
    return writing.function(convolve, x, weight, bias, *moves)


def _holder(writing: Writing, weight: torch.Tensor, bias: torch.Tensor | None) -> str | None:
    """Return the path of the written convolution that has these parameters; None without one."""
    for path, module in writing.modules.items():
        if (
            isinstance(module, tuple(CONVOLUTIONS.values()))
            and module.weight is weight
            and (bias is None or module.bias is bias)
        ):
            return path
    return None


def _is_conv(
    writing: Writing, path: str, operation: Convolution, padding: Sizes, bias: bool
) -> bool:
    """Whether the module at a path computes this convolution."""
    module: Any = writing.modules[path]
    if (module.bias is not None) != bias:
        return False
    settings = operation.kernel, operation.stride, padding, operation.dilation
    same = (module.kernel_size, module.stride, module.padding, module.dilation) == settings
    return bool(same and module.groups == operation.groups)


@writes(TransposedConvolution)
def write_transposed_convolution(
    writing: Writing, node: Node, operation: TransposedConvolution
) -> FxNode:
    """Write a transposed convolution."""
    padding = tuple(before for before, _ in operation.padding)
    if _computed(writing, node):
        extra, groups, dilation = operation.output_padding, operation.groups, operation.dilation
        convolve = functional.TRANSPOSED[operation.dimensions]
        moves = operation.stride, padding, extra, groups, dilation
        return writing.apply(node, convolve, *moves)
    weight, bias = (writing.constant(name) for name in node.inputs[1:3])
    assert weight is not None
    module = TRANSPOSED[operation.dimensions](
        weight.shape[0],
        weight.shape[1] * operation.groups,
        operation.kernel,
        operation.stride,
        padding,
        operation.output_padding,
        operation.groups,
        bias is not None,
        operation.dilation,
        device="meta",
    )
    return _parametrized(writing, node, module, weight, bias)


@writes(Linear)
def write_linear(writing: Writing, node: Node, operation: Linear) -> FxNode:
    """Write a fully connected layer on one tensor per window."""
    if _computed(writing, node):
        return writing.apply(node, F.linear)
    weight, bias = (writing.constant(name) for name in node.inputs[1:3])
    assert weight is not None
    outputs, inputs = weight.shape
    module = nn.Linear(inputs, outputs, bias is not None, device="meta")
    return _parametrized(writing, node, module, weight, bias)


def _computed(writing: Writing, node: Node) -> bool:
    """Whether weight or bias are computed, so that they cannot be parameters of a module."""
    names = node.inputs[1:3]
    return any(name is not None and name not in writing.graph.constants for name in names)


def _parametrized(
    writing: Writing,
    node: Node,
    module: nn.Module,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
) -> FxNode:
    _parametrize(module, weight, bias)
    return writing.call_module(node, _path(writing, node), module)


def _parametrize(module: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None:
            module._parameters.pop(name, None)
            if isinstance(tensor, nn.Parameter):
                module.register_parameter(name, tensor)
            else:
                module.register_buffer(name, tensor)


def _path(writing: Writing, node: Node) -> str:
    call = node.source
    if isinstance(call, Call) and call.owner:
        return call.owner
    weight = writing.graph.constants[node.inputs[1] or ""].source
    parent, _, leaf = writing.source.weights[weight].path.rpartition(".")
    if leaf != "weight":
        # A parameter of a larger module, such as in_proj_weight of an attention.
        parent = f"{parent}.{leaf.removesuffix('weight').rstrip('_') or 'layer'}".lstrip(".")
    return parent or node.name.replace(".", "_")


@writes(Upsample)
def write_upsample(writing: Writing, node: Node, operation: Upsample) -> FxNode:
    """Write a repetition of cells."""
    call, powers = node.source, all(n.bit_count() == 1 for n in operation.factor)
    if isinstance(call, Call) and call.owner and powers:
        module = nn.Upsample(scale_factor=tuple(map(float, operation.factor)))
        return writing.call_module(node, call.owner, module)
    # For other factors the module would compute the index of a cell in rounded numbers.
    return writing.apply(node, functional.upsample, operation.factor)


@writes(Pool)
def write_pool(writing: Writing, node: Node, operation: Pool) -> FxNode:
    """Write a pool: as a layer where PyTorch has one, else as a function."""
    shape = (operation.kernel, operation.stride)
    axes, padding = operation.dimensions, tuple(before for before, _ in operation.padding)
    ceil, divisor = any(operation.overhang), operation.divisor
    if operation.kind == "sum":
        return writing.apply(node, functional.sum_pool, *shape, operation.dilation)
    dilated = any(n != 1 for n in operation.dilation)
    if operation.kind == "average" and (dilated or (axes == 1 and divisor is not None)):
        return writing.apply(node, functional.average_pool, *shape, operation.dilation, divisor)
    module: nn.Module
    if operation.kind == "max":
        module = MAX_POOLS[axes](*shape, padding, operation.dilation, ceil_mode=ceil)
    else:
        given = {} if divisor is None else {"divisor_override": divisor}
        module = AVERAGE_POOLS[axes](*shape, padding, ceil, operation.count_include_pad, **given)
    call = node.source
    path = call.owner if isinstance(call, Call) and call.owner else node.name.replace(".", "_")
    return writing.call_module(node, path, module)


@writes(AdaptivePool)
def write_adaptive_pool(writing: Writing, node: Node, operation: AdaptivePool) -> FxNode:
    """Write a pool to a given size."""
    kind = "avg" if operation.kind == "average" else "max"
    target = getattr(F, f"adaptive_{kind}_pool{operation.dimensions}d")
    return writing.apply(node, target, operation.size)


def _symmetric(padding: Padding) -> Sizes | None:
    """Return the padding of one side along every axis; None where the sides differ."""
    same = all(before == after for before, after in padding)
    return tuple(before for before, _ in padding) if same else None
