"""Operator sets: models older than the readers are brought to a later one."""

from __future__ import annotations

import onnx

from fullconv.errors import ModelError, first_line

OLDEST_OPSET = 15
CURRENT_OPSET = 17


def current(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in an operator set that the readers know.

    Raises
    ------
    ModelError
        If ONNX cannot bring it there.
    """
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    if version >= OLDEST_OPSET:
        return model
    old, model = model, onnx.ModelProto()
    model.CopyFrom(old)
    for node in model.graph.node:
        # Left on a reflecting Pad, this attribute survives the conversion and is then invalid.
        modes = [a.s for a in node.attribute if a.name == "mode"]
        if node.op_type == "Pad" and modes and modes[0] != b"constant":
            kept = [a for a in node.attribute if a.name != "value"]
            del node.attribute[:]
            node.attribute.extend(kept)
    try:
        brought: onnx.ModelProto = onnx.version_converter.convert_version(model, CURRENT_OPSET)
    except Exception as error:
        raise ModelError(
            f"convert: the model is written for version {version} of the ONNX operators, and ONNX "
            f"cannot bring it to {CURRENT_OPSET} ({first_line(error)}). Export it again with "
            f"opset_version={CURRENT_OPSET}."
        ) from None
    del brought.metadata_props[:]
    brought.metadata_props.extend(model.metadata_props)
    return brought
