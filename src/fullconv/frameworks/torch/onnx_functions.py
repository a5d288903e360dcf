"""What ATen's functions are called in ONNX that have no record of their own in the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch

from fullconv.frameworks.onnx.formulas import gelu
from fullconv.frameworks.torch.aten import base_name, bound
from fullconv.frameworks.torch.reader import Slot
from fullconv.graph import Node
from fullconv.table import Table

if TYPE_CHECKING:
    from fullconv.frameworks.torch.onnx_layers import TorchWriting


@dataclass(frozen=True)
class Calling:
    """One call that is being written.

    Attributes
    ----------
    given : dict of str to object
        Its arguments by name, with a `Slot` for every tensor.
    result : torch.dtype
        What numbers it gives.
    """

    writing: TorchWriting
    node: Node
    given: dict[str, Any]
    result: torch.dtype

    def emit(self, kind: str, *inputs: ir.Value | None, **settings: Any) -> ir.Value:
        """Write one operator."""
        return self.writing.emit(kind, inputs, settings, self.node.name)

    def type(self, name: str) -> torch.dtype | None:
        """Return what numbers an argument holds; None for a plain number."""
        argument = self.given[name]
        if not isinstance(argument, Slot):
            return None
        return self.writing.types[self.node.inputs[argument.index] or ""]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the size of a tensor among the arguments, in an example."""
        return self.writing.graph.shapes[self.node.inputs[self.given[name].index] or ""]

    def operand(self, name: str, kind: torch.dtype | None = None) -> ir.Value:
        """Return an argument as numbers of a type: by default that of the result."""
        argument, kind = self.given[name], kind or self.result
        if not isinstance(argument, Slot):
            return self.number(argument, kind)
        value = self.writing.value(self.node.inputs[argument.index])
        assert value is not None
        own = self.type(name)
        return value if own == kind else self.cast(value, kind)

    def operands(self, *names: str) -> list[ir.Value]:
        """Return arguments as numbers of the result's type."""
        return [self.operand(name) for name in names]

    def number(self, value: Any, kind: torch.dtype | None = None) -> ir.Value:
        """Return a plain number as a constant."""
        numbers = np.array(value).astype(self.writing.kind(kind or self.result).numpy())
        return self.writing.held("fullconv/number", numbers)

    def cast(self, value: ir.Value, kind: torch.dtype) -> ir.Value:
        """Return numbers of another type."""
        return self.writing.emit("Cast", [value], {"to": self.writing.kind(kind)})


Function = Callable[[Calling], ir.Value | None]
"""Writes a call; None where ONNX has none such."""

functions = Table[str, Function]("a form in ONNX")
"""By the names of ATen."""


def write_function(writing: TorchWriting, node: Node) -> ir.Value | None:
    """Write a call of a function; return None where ONNX has none such here."""
    call = node.source
    function = functions.find(base_name(call.target))
    if function is None or call.item is not None:
        return None
    given = bound(call.target, call.args, call.kwargs)
    return function(Calling(writing, node, given, writing.types[node.outputs[0]]))


def _alike(kind: str) -> Function:
    """Return the function of one tensor that ONNX has by itself."""
    return lambda c: c.emit(kind, c.operand("self"))


for _aten, _onnx in {
    **{"abs": "Abs", "acos": "Acos", "acosh": "Acosh", "asin": "Asin", "asinh": "Asinh"},
    **{"atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh"},
    **{"erf": "Erf", "exp": "Exp", "floor": "Floor", "hardswish": "HardSwish", "log": "Log"},
    **{"mish": "Mish", "neg": "Neg", "reciprocal": "Reciprocal", "relu": "Relu"},
    **{"selu": "Selu", "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "sinh": "Sinh"},
    **{"sqrt": "Sqrt", "tan": "Tan", "tanh": "Tanh"},
}.items():
    functions(_aten)(_alike(_onnx))

BINARY = {
    **{"mul": "Mul", "maximum": "Max", "minimum": "Min", "max": "Max", "min": "Min"},
    **{"pow": "Pow", "div": "Div"},
}
COMPARISONS = {"eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater"} | {
    "ge": "GreaterOrEqual"
}


@functions(*BINARY)
def _binary(c: Calling) -> ir.Value | None:
    other = "exponent" if "exponent" in c.given else "other"
    if other not in c.given:  # of all numbers of a tensor
        return None
    if c.given.get("rounding_mode") is not None or c.result == torch.bool:
        return None
    return c.emit(BINARY[base_name(c.node.source.target)], *c.operands("self", other))


@functions("add", "sub", "rsub")
def _sum(c: Calling) -> ir.Value | None:
    name = base_name(c.node.source.target)
    first, second = c.operands("self", "other")
    if c.result == torch.bool:
        return None
    if c.given["alpha"] != 1:
        scaled = "self" if name == "rsub" else "other"
        times = c.number(c.given["alpha"])
        if scaled == "self":
            first = c.writing.emit("Mul", [first, times])
        else:
            second = c.writing.emit("Mul", [second, times])
    pair = (second, first) if name == "rsub" else (first, second)
    return c.emit("Add" if name == "add" else "Sub", *pair)


def _compared(c: Calling, kind: str) -> ir.Value:
    """Compare numbers of the type that holds both."""
    one, other = c.type("self"), c.type("other")
    assert one is not None
    if other is not None:
        one = torch.promote_types(one, other)
    elif isinstance(c.given["other"], float) and not one.is_floating_point:
        one = torch.float32
    return c.emit(kind, c.operand("self", one), c.operand("other", one))


@functions(*COMPARISONS)
def _comparison(c: Calling) -> ir.Value:
    return _compared(c, COMPARISONS[base_name(c.node.source.target)])


@functions("ne")
def _differs(c: Calling) -> ir.Value:
    return c.writing.emit("Not", [_compared(c, "Equal")])


@functions("logical_not")
def _not(c: Calling) -> ir.Value:
    return c.emit("Not", c.operand("self", torch.bool))


@functions("logical_and", "logical_or", "logical_xor")
def _logical(c: Calling) -> ir.Value:
    kind = base_name(c.node.source.target).removeprefix("logical_").capitalize()
    return c.emit(kind, c.operand("self", torch.bool), c.operand("other", torch.bool))


@functions("where")
def _where(c: Calling) -> ir.Value | None:
    if "self" not in c.given:
        return None
    return c.emit("Where", c.operand("condition", torch.bool), *c.operands("self", "other"))


@functions("masked_fill")
def _masked_fill(c: Calling) -> ir.Value:
    return c.emit("Where", c.operand("mask", torch.bool), *c.operands("value", "self"))


@functions("to", "_to_copy", "type_as")
def _cast(c: Calling) -> ir.Value:
    first = c.operand("self", c.type("self"))
    return c.emit("Cast", first, to=c.writing.kind(c.result))


@functions("round")
def _round(c: Calling) -> ir.Value | None:
    return None if c.given.get("decimals") else c.emit("Round", c.operand("self"))


@functions("square")
def _square(c: Calling) -> ir.Value:
    x = c.operand("self")
    return c.emit("Mul", x, x)


@functions("rsqrt")
def _rsqrt(c: Calling) -> ir.Value:
    return c.emit("Reciprocal", c.writing.emit("Sqrt", [c.operand("self")]))


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
    # Beyond its threshold PyTorch's is the identity, which the sum of x and exp(-x) rounds to.
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
    """Cut numbers at both ends: PyTorch cuts at the lower one first."""
    x = c.operand("self")
    ends = {"Max": ("min", "min_val"), "Min": ("max", "max_val")}
    if base_name(c.node.source.target) == "relu6":
        return c.emit("Clip", x, c.number(0), c.number(6))
    found = {
        kind: name
        for kind, names in ends.items()
        for name in names
        if c.given.get(name) is not None
    }
    if not any(isinstance(c.given[name], Slot) for name in found.values()):
        bounds = [c.operand(found[kind]) if kind in found else None for kind in ends]
        return c.emit("Clip", x, *(bounds if bounds[1] is not None else bounds[:1]))
    for kind, name in found.items():
        x = c.emit(kind, x, c.operand(name))
    return x


@functions("addcmul", "addcdiv")
def _scaled_sum(c: Calling) -> ir.Value:
    kind = "Mul" if base_name(c.node.source.target) == "addcmul" else "Div"
    x, *pair = c.operands("self", "tensor1", "tensor2")
    term = c.writing.emit(kind, pair)
    if c.given["value"] != 1:
        term = c.writing.emit("Mul", [term, c.number(c.given["value"])])
    return c.emit("Add", x, term)


# What runs on one tensor per window.


@functions("matmul", "bmm", "mm")
def _product(c: Calling) -> ir.Value:
    other = "other" if "other" in c.given else "mat2"
    return c.emit("MatMul", *c.operands("self", other))


@functions("amin")
def _minimum(c: Calling) -> ir.Value:
    x, axes = c.operand("self"), c.given["dim"]
    given = [x, c.writing.numbers(*axes)] if axes else [x]
    return c.emit("ReduceMin", *given, keepdims=int(c.given["keepdim"]))


@functions("scaled_dot_product_attention")
def _attention(c: Calling) -> ir.Value | None:
    """Write ``softmax(q k^T scale) v``, without a mask; each of q and k takes a root of the scale.

    See ``torch.nn.functional.scaled_dot_product_attention``.
    """
    if c.given["attn_mask"] is not None or c.given["is_causal"] or c.given["enable_gqa"]:
        return None
    query, key, value = c.operands("query", "key", "value")
    *_, features = c.shape("key")
    root = c.number((c.given["scale"] or features**-0.5) ** 0.5)
    rank = len(c.shape("key"))
    turned = {"perm": (*range(rank - 2), rank - 1, rank - 2)}
    key = c.writing.emit("Mul", [c.writing.emit("Transpose", [key], turned), root])
    weights = c.writing.emit("MatMul", [c.writing.emit("Mul", [query, root]), key])
    return c.emit("MatMul", c.writing.emit("Softmax", [weights], {"axis": -1}), value)
