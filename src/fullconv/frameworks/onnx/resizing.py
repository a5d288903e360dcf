"""Recognition of a Resize that repeats every cell a whole number of times."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir

from fullconv.geometry.grid import Sizes

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.reader import Reader


def whole_factor(node: ir.Node, reader: Reader) -> Sizes | None:
    """Return how many times a Resize repeats every cell; None where it does something else.

    The nearest cell depends on five attributes and on rounding, so ONNX Runtime itself resizes an
    image whose pixels are the numbers of the cells.
    """
    before, after = reader.shape(node.inputs[0]), reader.shape(node.outputs[0])
    nearest = node.attributes.get_string("mode", "nearest") == "nearest"
    settings = {
        value.name: reader.constant(value)
        for value in node.inputs[1:]
        if value is not None and value.name
    }
    if not nearest or not 3 <= len(before) <= 5 or before[:2] != after[:2]:
        return None
    if any(array is None for array in settings.values()):
        return None
    sizes = node.inputs[3].name if len(node.inputs) > 3 and node.inputs[3] is not None else None
    if sizes and len(settings[sizes]) == len(before):
        settings[sizes] = np.array([1, 1, *after[2:]], np.int64)  # of one channel of one image
    factor = tuple(n // m for n, m in zip(after[2:], before[2:], strict=True))
    cells = np.arange(prod(before[2:]), dtype=np.float32).reshape(1, 1, *before[2:])
    repeated = cells
    for axis, times in enumerate(factor, start=2):
        repeated = repeated.repeat(times, axis)
    return factor if np.array_equal(_resized(node, reader, cells, settings), repeated) else None


def _resized(
    node: ir.Node, reader: Reader, cells: np.ndarray, settings: dict[str, np.ndarray]
) -> np.ndarray:
    """Run the node alone."""
    from fullconv.frameworks.onnx.session import session

    proto = ir.serde.serialize_node(node)
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [proto],
        "resize",
        [onnx.helper.make_tensor_value_info(proto.input[0], kind, cells.shape)],
        [onnx.helper.make_tensor_value_info(proto.output[0], kind, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in settings.items()],
    )
    opset = onnx.helper.make_opsetid("", reader.opset)
    result: np.ndarray = session(
        onnx.helper.make_model(graph, opset_imports=[opset], ir_version=reader.model.ir_version)
    )(cells)
    return result
