"""ONNX classifiers from the text of their graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Draw = Callable[[tuple[int, ...]], NDArray[Any]]


def onnx_of_text(text: str, shapes: Mapping[str, tuple[int, ...]], draw: Draw) -> onnx.ModelProto:
    """Return the model of a graph, whose weights are drawn in single precision."""
    graph = onnx.parser.parse_graph(text)
    for name, shape in shapes.items():
        array = draw(shape).astype(np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    opset = onnx.helper.make_opsetid("", 18)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)


def channels_last(window: int) -> str:
    """Return the graph of a padded classifier of square windows whose channels come last."""
    return f"""
    net (float[n, {window}, {window}, 3] x) => (float[n, 2] scores) {{
      turned = Transpose<perm=[0, 3, 1, 2]>(x)
      map = Conv<pads=[1, 1, 1, 1]>(turned, w)
      low = Relu(map)
      flat = Flatten(low)
      scores = MatMul(flat, head)
    }}
    """
