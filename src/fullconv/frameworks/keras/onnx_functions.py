"""The ONNX operators of Keras' pointwise layers, activations and operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import onnx_ir as ir

from fullconv.frameworks.keras.calls import Call, Slot, numbers
from fullconv.frameworks.onnx.formulas import clipped, gelu
from fullconv.graph.graph import Node

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.foreign import Foreign

OPERATORS = {
    **{"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softplus": "Softplus"},
    **{"softsign": "Softsign", "selu": "Selu", "exponential": "Exp", "elu": "Elu"},
    **{"celu": "Celu", "hard_silu": "HardSwish", "mish": "Mish"},
    **{"Relu": "Relu", "Sigmoid": "Sigmoid", "Tanh": "Tanh", "Softplus": "Softplus"},
    **{"Softsign": "Softsign", "Exp": "Exp", "Log": "Log", "Sqrt": "Sqrt", "HardSilu": "HardSwish"},
    **{"Abs": "Abs", "Absolute": "Abs", "Negative": "Neg", "Ceil": "Ceil", "Floor": "Floor"},
    **{"Sign": "Sign", "Sin": "Sin", "Cos": "Cos", "Reciprocal": "Reciprocal", "Copy": "Identity"},
}
"""Functions of one tensor that ONNX has by itself, with its default settings."""

BINARY = {
    **{"Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div", "TrueDivide": "Div"},
    **{"Maximum": "Max", "Minimum": "Min", "Power": "Pow"},
}


def write_function(writing: Foreign, node: Node) -> ir.Value | None:
    """Write a pointwise function; return None where it has no form in ONNX here."""
    name = str(getattr(node.operation, "name", ""))
    operands = _operands(writing, node)
    if name in BINARY and len(operands) >= 2:
        return _folded(writing, BINARY[name], operands)
    if name == "Average":
        total = _folded(writing, "Add", operands)
        return writing.emit("Div", [total, writing.number(len(operands))])
    (x, *rest), target = operands, node.source.target
    if rest:
        return None
    if name in OPERATORS:
        return writing.emit(OPERATORS[name], [x], name=node.name)
    settings = _settings(name, target)
    if name == "ReLU":
        return _relu(writing, x, target)
    if name in ("LeakyReLU", "LeakyRelu", "leaky_relu"):
        return writing.emit("LeakyRelu", [x], {"alpha": settings["negative_slope"]}, node.name)
    if name in ("ELU", "Elu"):
        return writing.emit("Elu", [x], {"alpha": settings["alpha"]}, node.name)
    if name in ("relu6", "Relu6"):
        return clipped(writing, x, 0.0, 6.0)
    if name == "hard_tanh":
        return clipped(writing, x, -1.0, 1.0)
    if name == "Clip":
        return clipped(writing, x, float(target.x_min), float(target.x_max))
    if name in ("hard_sigmoid", "HardSigmoid"):
        return writing.emit("HardSigmoid", [x], {"alpha": 1 / 6, "beta": 0.5}, node.name)
    if name in ("silu", "Silu"):
        return writing.emit("Mul", [x, writing.emit("Sigmoid", [x])], name=node.name)
    if name == "log_sigmoid":
        return writing.emit("Neg", [writing.emit("Softplus", [writing.emit("Neg", [x])])])
    if name == "Square":
        return writing.emit("Mul", [x, x], name=node.name)
    if name in ("gelu", "Gelu"):
        return gelu(writing, x, bool(settings["approximate"]))
    if name == "Rescaling":
        scaled = writing.emit("Mul", [x, writing.number(_number(target.scale))], name=node.name)
        return writing.emit("Add", [scaled, writing.number(_number(target.offset))])
    if name == "Normalization":
        spread = max(_number(target.variance) ** 0.5, keras.config.epsilon())
        mean, deviation = writing.number(_number(target.mean)), writing.number(spread)
        if target.invert:
            return writing.emit("Add", [mean, writing.emit("Mul", [x, deviation])])
        return writing.emit("Div", [writing.emit("Sub", [x, mean]), deviation], name=node.name)
    return None


def _operands(writing: Foreign, node: Node) -> list[ir.Value | None]:
    """Return the operands of a call in order, plain numbers among them."""
    tensors = writing.inputs(node)
    call = node.source
    if not isinstance(call, Call) or call.part == "activation" or call.kwargs:
        return tensors
    operands = []
    for value in keras.tree.flatten(call.args):
        if isinstance(value, Slot):
            operands.append(tensors[value.index])
        elif isinstance(value, (int, float)) or hasattr(value, "shape"):
            operands.append(writing.number(_number(value)))
    return operands


def _number(value: Any) -> float:
    return float(numbers(value).reshape(-1)[0])


def _settings(name: str, target: Any) -> dict[str, Any]:
    """Return the settings of a layer or operation, or those that an activation has by default."""
    defaults = {"negative_slope": 0.2, "alpha": 1.0, "approximate": False}
    own = name[:1].isupper()
    return {key: getattr(target, key, value) if own else value for key, value in defaults.items()}


def _folded(writing: Foreign, kind: str, operands: list[Any]) -> ir.Value:
    total: ir.Value = operands[0]
    for operand in operands[1:]:
        total = writing.emit(kind, [total, operand])
    return total


def _relu(writing: Foreign, x: Any, layer: Any) -> ir.Value | None:
    slope, limit = float(layer.negative_slope or 0), layer.max_value
    if layer.threshold:
        return None
    if slope:
        leaky = writing.emit("LeakyRelu", [x], {"alpha": slope})
        return leaky if limit is None else clipped(writing, leaky, None, float(limit))
    return writing.emit("Relu", [x]) if limit is None else clipped(writing, x, 0.0, float(limit))
