"""Functions that ONNX writes as several operators, for more than one framework."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.frameworks.onnx.writing import Writing


def clipped(writing: Writing, x: Any, low: float | None, high: float | None) -> ir.Value:
    """Clip numbers at both ends; None for an end that is open."""
    bounds = [None if n is None else writing.number(n) for n in (low, high)]
    return writing.emit("Clip", [x, *bounds] if bounds[1] is not None else [x, bounds[0]])


def gelu(writing: Writing, x: Any, approximate: bool) -> ir.Value:
    """x / 2 (1 + erf(x / sqrt(2))), or its approximation by tanh (Hendrycks and Gimpel 2016)."""
    if approximate:
        cube = writing.emit("Mul", [writing.emit("Mul", [x, x]), x])
        inner = writing.emit("Add", [x, writing.emit("Mul", [cube, writing.number(0.044715)])])
        scaled = writing.emit("Mul", [inner, writing.number((2 / np.pi) ** 0.5)])
        bell = writing.emit("Tanh", [scaled])
    else:
        bell = writing.emit("Erf", [writing.emit("Mul", [x, writing.number(0.5**0.5)])])
    half = writing.emit("Mul", [x, writing.number(0.5)])
    return writing.emit("Mul", [half, writing.emit("Add", [bell, writing.number(1.0)])])
