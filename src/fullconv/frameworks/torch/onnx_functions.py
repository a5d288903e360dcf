"""Write as ONNX the ATen functions that have no record of their own in the vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
import torch

from fullconv.frameworks.torch import onnx_activations  # noqa: F401 - registers them
from fullconv.frameworks.torch.aten import base_name, bound
from fullconv.frameworks.torch.onnx_calling import Calling, Function, functions
from fullconv.graph.graph import Node

if TYPE_CHECKING:
    from fullconv.frameworks.torch.onnx_layers import TorchWriting


def write_function(writing: TorchWriting, node: Node) -> ir.Value | None:
    """Write a call of a function; return None where it has no form in ONNX here."""
    call = node.source
    function = functions.find(base_name(call.target))
    if function is None or call.item is not None:
        return None
    given = bound(call.target, call.args, call.kwargs)
    return function(Calling(writing, node, given, writing.types[node.outputs[0]]))


def _alike(kind: str) -> Function:
    """Return the writer of a function of one tensor that ONNX has as an operator."""
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
    if other not in c.given:  # a reduction of one tensor
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
    """Compare two operands in their common type."""
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


@functions("addcmul", "addcdiv")
def _scaled_sum(c: Calling) -> ir.Value:
    kind = "Mul" if base_name(c.node.source.target) == "addcmul" else "Div"
    x, *pair = c.operands("self", "tensor1", "tensor2")
    term = c.writing.emit(kind, pair)
    if c.given["value"] != 1:
        term = c.writing.emit("Mul", [term, c.number(c.given["value"])])
    return c.emit("Add", x, term)


# Functions that run on one tensor per window.


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
    """Write ``softmax(q k^T scale) v``, without a mask; q and k each get the root of the scale.

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
