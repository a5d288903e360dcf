"""Operator sets: models older than the readers are converted to a later one.

ONNX' own converter does this. Operators that it leaves unchanged although their meaning has changed
are rewritten here.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.onnx.sorting import inner_graphs

OLDEST_OPSET = 15
CURRENT_OPSET = 17

FLATTENED = 13
"""Before this version, Hardmax and Softmax are over all axes from ``axis`` on."""

ASYMMETRIC = 11
"""Before this version Upsample and Resize count cells from the corner of the first one."""


def current(model: ModelProto) -> ModelProto:
    """Return a model in an operator set that the readers know.

    Raises
    ------
    ModelError
        If ONNX cannot convert it.
    """
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if version >= OLDEST_OPSET:
        return model
    old, model = model, ModelProto()
    model.CopyFrom(old)
    _without_idle_numbers(model.graph)
    if version < FLATTENED:
        _flatten_hardmax(model.graph)
    copied = _copied(model.graph) if version < ASYMMETRIC else []
    try:
        brought: ModelProto = onnx.version_converter.convert_version(model, CURRENT_OPSET)
    except Exception as error:
        raise ModelError(
            f"convert: the model is written for version {version} of the ONNX operators, and ONNX "
            f"cannot bring it to {CURRENT_OPSET} ({first_line(error)}). Export it again with "
            f"opset_version={CURRENT_OPSET}."
        ) from None
    _count_from_corners(brought.graph, copied)
    del brought.metadata_props[:]
    brought.metadata_props.extend(model.metadata_props)
    return brought


def _without_idle_numbers(graph: GraphProto) -> None:
    """Drop the number of a Pad that reflects: it survives the conversion and is then invalid."""
    for node in graph.node:
        modes = [a.s for a in node.attribute if a.name == "mode"]
        if node.op_type == "Pad" and modes and modes[0] != b"constant":
            kept = [a for a in node.attribute if a.name != "value"]
            del node.attribute[:]
            node.attribute.extend(kept)


def _flatten_hardmax(graph: GraphProto) -> None:
    """Write each Hardmax as one over the last of two axes, between reshapes."""
    written: list[NodeProto] = []
    for node in graph.node:
        for inner in inner_graphs(node):
            _flatten_hardmax(inner)
        if node.op_type != "Hardmax" or node.domain:
            written.append(node)
            continue
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        (x,), (result,) = node.input, node.output
        size, flat, chosen = (f"{result}/{part}" for part in ("size", "flat", "chosen"))
        written += [
            helper.make_node("Shape", [x], [size]),
            helper.make_node("Flatten", [x], [flat], axis=axis),
            helper.make_node("Hardmax", [flat], [chosen], name=node.name, axis=1),
            helper.make_node("Reshape", [chosen, size], [result]),
        ]
    del graph.node[:]
    graph.node.extend(written)


def _copied(graph: GraphProto) -> list[str]:
    """Return how each Upsample and Resize rounds to the cell that it copies, in order.

    ONNX Runtime rounds down (``floor``), and up (``ceil``) where it makes a map smaller.

    Raises
    ------
    ModelError
        If that differs between two axes, which later versions cannot express.
    """
    numbers = {w.name: onnx.numpy_helper.to_array(w) for w in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            numbers[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    roundings = []
    for node in graph.node:
        if node.op_type not in ("Upsample", "Resize") or node.domain:
            continue
        scales = numbers.get(node.input[1]) if len(node.input) > 1 else None
        factors = np.ones(0) if scales is None else scales
        nearest = all(a.s == b"nearest" for a in node.attribute if a.name == "mode")
        if nearest and (factors < 1).any() and (factors > 1).any():
            raise ModelError(
                f"convert: {node.op_type} {node.name or node.output[0]!r} makes a map larger "
                f"along one axis and smaller along another, which means another thing since "
                f"version 11 of the ONNX operators; export the model again with opset_version="
                f"{CURRENT_OPSET}."
            )
        roundings.append("ceil" if (factors < 1).any() else "floor")
    return roundings


def _count_from_corners(graph: GraphProto, copied: list[str]) -> None:
    """Let each Resize count cells from the corner, like the operator that it was made from."""
    resizing = [node for node in graph.node if node.op_type == "Resize" and not node.domain]
    for node, cell in zip(resizing, copied, strict=False):  # ``copied`` is empty for later versions
        own = {a.name for a in node.attribute}
        given = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": cell}
        node.attribute.extend(
            helper.make_attribute(name, value) for name, value in given.items() if name not in own
        )
