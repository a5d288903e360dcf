"""Write a converted PyTorch model as ONNX, by our own writer.

The module is read back as the graph that it was written from, with its present weights. PyTorch's
own exporter writes only the operations that have no form here. For a whole network it takes
minutes, as it simplifies the sizes of all maps, which are expressions in the size of the image.
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
from fullconv.frameworks.onnx.read import ModelGraph
from fullconv.frameworks.onnx.session import session
from fullconv.frameworks.onnx.write import written as as_model
from fullconv.frameworks.onnx.writing import Results
from fullconv.frameworks.torch.alike import scores_of
from fullconv.frameworks.torch.exporting import blank, evaluating, quiet
from fullconv.frameworks.torch.onnx_layers import TorchWriting, kind_of
from fullconv.frameworks.torch.read_written import IMAGE, Written, read_written
from fullconv.geometry.images import ImageShape
from fullconv.graph.graph import Node
from fullconv.verification.judging import Scores, nearly_same

OPSET = 20
FEW_DIGITS = 1e-4
"""Largest epsilon of a type at which half of its digits are enough to show a wrong score."""


def to_onnx(
    model: torch.fx.GraphModule, shape: ImageShape, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Return a checked model with free sizes, and the given metadata.

    Raises
    ------
    ExportError
        If it draws random numbers, if an operation has no form in ONNX, or if the scores of ONNX
        Runtime differ.
    MissingExtraError
        If a package is missing that PyTorch's exporter needs.
    """
    dtype = blank((), model).dtype
    with quiet(), evaluating(model):
        module = read_written(model, shape, dtype)
        proto = _written(module, shape, dtype)
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


def _written(module: Written, shape: ImageShape, dtype: torch.dtype) -> onnx.ModelProto:
    graph = module.graph
    constants = {name: _array(tensor) for name, tensor in module.tensors.items()}
    given = graph.shapes[IMAGE]
    if shape.takes == "cells":
        given = (given[0], *given[2:])
    empty = frame(IMAGE, len(given), kind_of(dtype), module.names, OPSET)
    for value, name in zip(empty.graph.outputs, graph.outputs, strict=True):
        value.type = ir.TensorType(kind_of(module.types[name]))
    types = {name: kind_of(kind) for name, kind in module.types.items()}
    classifier = replace(graph, shapes={**graph.shapes, IMAGE: given})
    source = ModelGraph(classifier, empty, constants, types)
    missing: list[Node] = []

    def noted(writing: TorchWriting, node: Node) -> Results:
        missing.append(node)
        return writing.emit("Identity", writing.inputs(node)[:1])

    model = as_model(TorchWriting(graph, source, shape.grid, module.types, noted))
    if missing:
        from fullconv.frameworks.torch.onnx_pieces import Pieces

        pieces = Pieces(missing, module, OPSET)
        model = as_model(TorchWriting(graph, source, shape.grid, module.types, pieces.write))
    proto = ir.serde.serialize_model(model)
    try:
        onnx.checker.check_model(set_aside(proto).model)
    except Exception as error:
        raise ExportError(
            f"save: the model cannot be written as ONNX ({first_line(error)}); save it as .pt2."
        ) from None
    return proto


def _array(tensor: torch.Tensor) -> Any:
    """Return a tensor as an array that shares its memory, where that is possible."""
    plain = tensor.detach().cpu().contiguous()
    if plain.dtype != torch.bfloat16:
        return plain.numpy()
    return plain.view(torch.int16).numpy().view(ir.DataType.BFLOAT16.numpy())


def check_same(proto: onnx.ModelProto, model: torch.nn.Module, image: torch.Tensor) -> bool:
    """Check that an ONNX model and the module give random pixels the same scores, up to rounding.

    Returns
    -------
    bool
        Whether they were compared. ONNX Runtime has some operators in single precision alone.

    Raises
    ------
    ExportError
        If the scores differ, or the ONNX model cannot run in single precision.
    """
    draw = torch.Generator().manual_seed(0)
    pixels = torch.rand(image.shape, generator=draw).to(image)
    with torch.no_grad():
        expected = scores_of(model(pixels))
    try:
        scores = session(proto)(_array(pixels))
    except Exception as error:
        if image.dtype is not torch.float32:
            return False
        raise _wrong(first_line(error)) from None
    outputs = list(scores) if isinstance(scores, tuple) else [scores]
    epsilon = torch.finfo(image.dtype).eps
    if epsilon < FEW_DIGITS and nearly_same(outputs, expected, epsilon):
        return True
    if not nearly_same(outputs, expected, epsilon, _own_rounding(model, pixels, expected)):
        raise _wrong("its scores are others")
    return True


def _wrong(why: str) -> ExportError:
    return ExportError(
        f"save: the ONNX of this model is not right ({why}). Save it as .pt2, or run it in PyTorch."
    )


def _own_rounding(model: torch.nn.Module, pixels: torch.Tensor, scores: Scores) -> float:
    """Return the largest difference of a module's scores from those in double precision.

    0 for a module that does not run in double precision.
    """
    try:
        with torch.no_grad():
            exact = scores_of(copy.deepcopy(model).double()(pixels.double()))
    except Exception:  # the module fixes a type of its own
        return 0.0
    gaps = [np.abs(a.astype(np.float64) - b) for a, b in zip(scores, exact, strict=True)]
    return max(float(gap[np.isfinite(gap)].max(initial=0.0)) for gap in gaps)
