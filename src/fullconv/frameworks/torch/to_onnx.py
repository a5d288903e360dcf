"""A converted PyTorch model as ONNX, by our own writer.

The module is read back as the graph that it was written from, with its weights as they are now.
PyTorch's own exporter is asked for operations alone that have no form here: of a whole network it
simplifies the sizes of every map, which are terms in the size of the image, and takes minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import onnx
import onnx_ir as ir
import torch

from fullconv.errors import ExportError, first_line
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
from fullconv.judging import nearly_same

OPSET = 20
RUN = (torch.float32, torch.float64)
"""Types of numbers that ONNX Runtime computes in wherever it runs."""


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
        check_same(proto, model, image)
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


def check_same(proto: onnx.ModelProto, model: torch.nn.Module, image: torch.Tensor) -> None:
    """Check that an ONNX model scores random pixels as the module does, but for roundings.

    Types of numbers that ONNX
    Runtime may not compute in are left alone.

    Raises
    ------
    ExportError
        If it does not, or cannot run.
    """
    if image.dtype not in RUN:
        return
    draw = torch.Generator().manual_seed(0)
    pixels = torch.rand(image.shape, generator=draw).to(image)
    with torch.no_grad():
        wanted = scores_of(model(pixels))
    try:
        found = session(proto)(pixels.cpu().numpy())
    except Exception as error:
        if image.dtype is torch.float64:
            return  # ONNX Runtime has not every operator in double precision
        found, why = None, first_line(error)
    else:
        why = "its scores are others"
        found = found if isinstance(found, tuple) else (found,)
    if found is None or not nearly_same(list(found), wanted, torch.finfo(image.dtype).eps):
        raise ExportError(
            f"save: the ONNX of this model is not right ({why}). Save it as .pt2, or run it in "
            f"PyTorch."
        )
