"""Write ATen's activations as ONNX: those with settings, and those without an operator there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from fullconv.frameworks.onnx.formulas import gelu
from fullconv.frameworks.torch.aten import base_name
from fullconv.frameworks.torch.reader import Slot

if TYPE_CHECKING:
    pass
from fullconv.frameworks.torch.onnx_calling import Calling, functions


@functions("silu")
def _silu(c: Calling) -> ir.Value:
    x = c.operand("self")
    return c.emit("Mul", x, c.writing.emit("Sigmoid", [x]))


@functions("gelu")
def _gelu(c: Calling) -> ir.Value:
    return gelu(c.writing, c.operand("self"), c.given["approximate"] == "tanh")


@functions("elu", "celu")
def _elu(c: Calling) -> ir.Value | None:
    if c.given.get("scale", 1) != 1 or c.given.get("input_scale", 1) != 1:
        return None
    kind = base_name(c.node.source.target).capitalize()
    return c.emit(kind, c.operand("self"), alpha=float(c.given["alpha"]))


@functions("leaky_relu")
def _leaky_relu(c: Calling) -> ir.Value:
    return c.emit("LeakyRelu", c.operand("self"), alpha=float(c.given["negative_slope"]))


@functions("hardsigmoid")
def _hard_sigmoid(c: Calling) -> ir.Value:
    return c.emit("HardSigmoid", c.operand("self"), alpha=1 / 6, beta=0.5)


@functions("hardshrink", "softshrink")
def _shrink(c: Calling) -> ir.Value:
    limit = float(c.given["lambd"])
    soft = base_name(c.node.source.target) == "softshrink"
    return c.emit("Shrink", c.operand("self"), lambd=limit, bias=limit if soft else 0.0)


@functions("softplus")
def _softplus(c: Calling) -> ir.Value:
    # Beyond its threshold PyTorch's softplus is x, to which x + exp(-x) rounds there.
    x, beta = c.operand("self"), c.given["beta"]
    if beta == 1:
        return c.emit("Softplus", x)
    scaled = c.writing.emit("Mul", [x, c.number(beta)])
    return c.emit("Div", c.writing.emit("Softplus", [scaled]), c.number(beta))


@functions("log_sigmoid")
def _log_sigmoid(c: Calling) -> ir.Value:
    away = c.writing.emit("Neg", [c.operand("self")])
    return c.emit("Neg", c.writing.emit("Softplus", [away]))


@functions("threshold")
def _threshold(c: Calling) -> ir.Value:
    x = c.operand("self")
    beyond = c.writing.emit("Greater", [x, c.operand("threshold")])
    return c.emit("Where", beyond, x, c.operand("value"))


@functions("clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "relu6")
def _clamp(c: Calling) -> ir.Value:
    """Clamp numbers: PyTorch applies the lower bound first."""
    x = c.operand("self")
    ends = {"Max": ("min", "min_val"), "Min": ("max", "max_val")}
    if base_name(c.node.source.target) == "relu6":
        return c.emit("Clip", x, c.number(0), c.number(6))
    given = {
        kind: name
        for kind, names in ends.items()
        for name in names
        if c.given.get(name) is not None
    }
    if not any(isinstance(c.given[name], Slot) for name in given.values()):
        bounds = [c.operand(given[kind]) if kind in given else None for kind in ends]
        return c.emit("Clip", x, *(bounds if bounds[1] is not None else bounds[:1]))
    for kind, name in given.items():
        x = c.emit(kind, x, c.operand(name))
    return x
