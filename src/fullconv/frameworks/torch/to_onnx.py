"""A converted PyTorch model as ONNX, by our own writer.

The module is read back as the graph that it was written from, with its weights as they are now.
PyTorch's own exporter is asked for operations alone that have no form here: of a whole network it
simplifies the sizes of every map, which are terms in the size of the image, and takes minutes.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch

from fullconv.errors import ExportError, ModelWarning, first_line
from fullconv.frameworks.onnx.foreign import frame
from fullconv.frameworks.onnx.light import set_aside
from fullconv.frameworks.onnx.read import Source
from fullconv.frameworks.onnx.session import session
from fullconv.frameworks.onnx.write import written as as_model
from fullconv.frameworks.onnx.writing import Results
from fullconv.frameworks.torch.alike import scores_of
from fullconv.frameworks.torch.exporting import blank, evaluating, quiet
from fullconv.frameworks.torch.onnx_layers import TorchWriting, kind_of
from fullconv.frameworks.torch.read_written import IMAGE, Written, read_written
from fullconv.graph import Node
from fullconv.images import ImageShape
from fullconv.judging import Scores, nearly_same

OPSET = 20
FEW_DIGITS = 1e-4
"""Half the digits of a type whose numbers lie further apart than that at 1 could hide a slip."""


def to_onnx(
    model: torch.fx.GraphModule, shape: ImageShape, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Return a checked model with free sizes, and the given metadata.

    Raises
    ------
    ExportError
        If it draws random numbers, if an operation has no form in ONNX, or if ONNX Runtime gives
        other scores.
    MissingExtraError
        If a package is missing that PyTorch's exporter needs.
    """
    dtype = blank((), model).dtype
    with quiet(), evaluating(model):
        found = read_written(model, shape, dtype)
        proto = _written(found, shape, dtype)
        image = shape.from_map(blank((1, shape.channels, *shape.two_windows), model))
        compared = check_same(proto, model, image)
    if not compared:
        warnings.warn(
            f"save: this ONNX computes in {str(dtype)[6:]}, in which ONNX Runtime does not run it "
            f"here, so it was not compared with the module; save the model in float32 if it is to "
            f"run there.",
            ModelWarning,
            stacklevel=2,
        )
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    return proto


def _written(found: Written, shape: ImageShape, dtype: torch.dtype) -> onnx.ModelProto:
    graph = found.graph
    constants = {name: _array(tensor) for name, tensor in found.tensors.items()}
    given = graph.shapes[IMAGE]
    if shape.takes == "cells":
        given = (given[0], *given[2:])
    empty = frame(IMAGE, len(given), kind_of(dtype), found.names, OPSET)
    for value, name in zip(empty.graph.outputs, graph.outputs, strict=True):
        value.type = ir.TensorType(kind_of(found.types[name]))
    types = {name: kind_of(kind) for name, kind in found.types.items()}
    classifier = replace(graph, shapes={**graph.shapes, IMAGE: given})
    source = Source(classifier, empty, constants, types)
    missing: list[Node] = []

    def noted(writing: TorchWriting, node: Node) -> Results:
        missing.append(node)
        return writing.emit("Identity", writing.inputs(node)[:1])

    model = as_model(TorchWriting(graph, source, shape.grid, found.types, noted))
    if missing:
        from fullconv.frameworks.torch.onnx_pieces import Pieces

        pieces = Pieces(missing, found, OPSET)
        model = as_model(TorchWriting(graph, source, shape.grid, found.types, pieces.write))
    proto = ir.serde.serialize_model(model)
    try:
        onnx.checker.check_model(set_aside(proto).model)
    except Exception as error:
        raise ExportError(
            f"save: the model cannot be written as ONNX ({first_line(error)}); save it as .pt2."
        ) from None
    return proto


def _array(tensor: torch.Tensor) -> Any:
    """Return a tensor as an array that shares its memory, where it can."""
    held = tensor.detach().cpu().contiguous()
    if held.dtype != torch.bfloat16:
        return held.numpy()
    return held.view(torch.int16).numpy().view(ir.DataType.BFLOAT16.numpy())


def check_same(proto: onnx.ModelProto, model: torch.nn.Module, image: torch.Tensor) -> bool:
    """Check that an ONNX model scores random pixels as the module does, but for roundings.

    Returns
    -------
    bool
        Whether it was compared. ONNX Runtime has not every operator in every type of numbers, but
        in single precision.

    Raises
    ------
    ExportError
        If it has other scores, or cannot run in single precision.
    """
    draw = torch.Generator().manual_seed(0)
    pixels = torch.rand(image.shape, generator=draw).to(image)
    with torch.no_grad():
        wanted = scores_of(model(pixels))
    try:
        found = session(proto)(_array(pixels))
    except Exception as error:
        if image.dtype is not torch.float32:
            return False
        raise _wrong(first_line(error)) from None
    outputs = list(found) if isinstance(found, tuple) else [found]
    epsilon = torch.finfo(image.dtype).eps
    if epsilon < FEW_DIGITS and nearly_same(outputs, wanted, epsilon):
        return True
    if not nearly_same(outputs, wanted, epsilon, _own_rounding(model, pixels, wanted)):
        raise _wrong("its scores are others")
    return True


def _wrong(why: str) -> ExportError:
    return ExportError(
        f"save: the ONNX of this model is not right ({why}). Save it as .pt2, or run it in PyTorch."
    )


def _own_rounding(model: torch.nn.Module, pixels: torch.Tensor, wanted: Scores) -> float:
    """Return how far a module's scores are from those of double precision; 0 without any."""
    try:
        with torch.no_grad():
            exact = scores_of(copy.deepcopy(model).double()(pixels.double()))
    except Exception:  # of a type that the module names itself
        return 0.0
    gaps = [np.abs(a.astype(np.float64) - b) for a, b in zip(wanted, exact, strict=True)]
    return max(float(gap[np.isfinite(gap)].max(initial=0.0)) for gap in gaps)
