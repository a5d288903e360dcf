"""The table of readers that turn each ONNX operator into a record.

The readers are written for the standard operators of versions 15 to 24 (older models are converted
first). An operator with an attribute that its reader cannot honour becomes `Opaque`, and runs
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import onnx_ir as ir

from fullconv.errors import ModelError
from fullconv.graph.table import Table
from fullconv.operations import Pointwise, Random

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.reader import Reader

Handler = Callable[[ir.Node, "Reader"], None]

POINTWISE = frozenset(
    """
    Abs Acos Acosh Add And Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil
    Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish
    IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or Pow PRelu
    Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan
    Tanh ThresholdedRelu Where Xor
    """.split()
)
"""Operators that treat every number by itself, and need no handler."""
SETTINGS = frozenset(["Clip"])
"""Those whose inputs after the first are settings, not operands."""

handles = Table[str, Handler]("a reader", POINTWISE)
"""Filled by `read_maps`, `read_shapes` and `read_numbers`."""


DRAWING = frozenset(
    "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split()
)
"""Operators that draw random numbers."""


def draws(node: ir.Node, reader: Reader) -> bool:
    """Whether a node draws random numbers: a Dropout does in training mode."""
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type != "Dropout":
        return node.op_type in DRAWING
    ratio, training = (node.inputs[i] if len(node.inputs) > i else None for i in (1, 2))
    known, mode = reader.constant(ratio), reader.constant(training)
    if training is None or (mode is not None and not mode.any()):
        return False
    return known is None or bool(known.any())


def read(node: ir.Node, reader: Reader) -> None:
    """Read one node; one without a handler becomes `Opaque`."""
    if any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in _attributes(node)):
        raise ModelError(
            f"convert: {node.op_type} {node.name!r} contains a graph of its own (a loop or a "
            f"branch), which cannot be converted; export the model with fixed control flow."
        )
    standard = node.domain in ("", "ai.onnx")
    if draws(node, reader):
        reader.add(node, Random(node.op_type))
    elif standard and (handler := handles.find(node.op_type)) is not None:
        handler(node, reader)
    elif standard and node.op_type in SETTINGS:
        known = all(v is None or reader.constant(v) is not None for v in node.inputs[1:])
        if known:
            reader.add(node, Pointwise(node.op_type), (node.inputs[0],))
        else:
            reader.opaque(node)  # it takes a single number, but each window has its own
    elif standard and node.op_type in POINTWISE:
        reader.add(node, Pointwise(node.op_type))
    else:
        reader.opaque(node)


def _attributes(node: ir.Node) -> list[ir.Attr]:
    return list(node.attributes.values())
