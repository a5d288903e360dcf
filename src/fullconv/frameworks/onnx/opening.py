"""Open ``.onnx`` files; check the sizes that they claim, and the places of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.onnx.external import LARGEST, has_external, load_external
from fullconv.frameworks.onnx.preparing import mended
from fullconv.frameworks.onnx.tensors import MEMORY, check_tensors


def open_model(path: Path) -> onnx.ModelProto:
    """Return the model of a file, with all its weights.

    Raises
    ------
    UnsafeModelError
        If its weights lead out of its folder.
    ModelError
        If it is no ONNX model, is damaged, or its external data cannot be read.
    """
    label = str(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST} bytes, the most that protobuf reads")
        model: onnx.ModelProto = onnx.load_model_from_string(path.read_bytes())
        if not model.graph.node:
            raise ValueError("it holds no graph")
    except Exception as error:
        raise ModelError(
            f"{path} is not an ONNX model, or it is cut short ({first_line(error)}); "
            f"export or copy it again."
        ) from None
    check_tensors(model, label)
    load_external(model, path.parent, label, path.resolve().parent)
    return model


def proto_of(model: Any) -> onnx.ModelProto:
    """Return a model in memory in a form that ONNX Runtime takes, with all its weights.

    Raises
    ------
    ModelError
        If its weights are not loaded, or it cannot be written as ONNX.
    """
    if isinstance(model, onnx.ModelProto):
        proto = model
    else:
        try:
            proto = ir.serde.serialize_model(model)
        except Exception as error:
            raise ModelError(
                f"convert: the onnx_ir.Model cannot be written as ONNX ({first_line(error)}); "
                f"check it with onnx_ir.save."
            ) from None
        _load_beside(proto, model)
    missing = has_external(proto)
    if missing is not None:
        raise ModelError(
            f"{MEMORY}: its weight {missing!r} lies in another file, and a model in memory does "
            f"not say in which folder; give the path of the .onnx file, or load it with "
            f"onnx.load(path)."
        )
    return mended(proto)


def _load_beside(proto: onnx.ModelProto, model: ir.Model) -> None:
    """Load the weights that still lie beside the file of a model that onnx-ir has opened."""
    folders = {
        str(value.const_value.base_dir)
        for graph in model.graphs()
        for value in graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    if len(folders) == 1 and (folder := folders.pop()):
        load_external(proto, Path(folder), MEMORY)
