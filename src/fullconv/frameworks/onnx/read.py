"""Read an ONNX model into the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from fullconv.errors import ModelError, WindowError
from fullconv.frameworks.onnx import operators, read_maps, read_numbers, read_shapes  # noqa: F401 - the families of operators register
from fullconv.frameworks.onnx.channels import TO_MAP, channels_last, readers, sizes, turning
from fullconv.frameworks.onnx.infer import Inference
from fullconv.frameworks.onnx.reader import Reader
from fullconv.graph import Graph

KINDS = frozenset(
    getattr(ir.DataType, name)
    for name in "FLOAT DOUBLE FLOAT16 UINT8 INT8 UINT16 INT16 UINT32 INT32 UINT64 INT64".split()
)
"""Types of images that NumPy and ONNX Runtime both have."""


@dataclass(frozen=True)
class Source:
    """A model in the vocabulary, with what its writer needs beside it.

    Attributes
    ----------
    graph : Graph
        The vocabulary graph.
    model : onnx_ir.Model
        The model as read, at an operator set of 15 or later.
    constants : dict of str to array
        Constant nodes and folded sizes.
    types : dict of str to onnx_ir.DataType
        What numbers each value holds.
    channels_last : bool
        Whether the model takes images ``(N, H, W, C)``; see Note [Channels last].
    """

    graph: Graph
    model: ir.Model
    constants: dict[str, Any]
    types: dict[str, ir.DataType]
    channels_last: bool = False


def read(model: ir.Model, window: tuple[int, int] | None) -> Source:
    """Return the vocabulary graph of a model with one image input.

    Raises
    ------
    ModelError
        If the model has no single image input or uses what cannot be read.
    WindowError
        If the window is missing, or contradicts the model.
    """
    value = _image_of(model)
    last = channels_last(value, window)
    shape = _shape(value, window, last)
    fixed, channels, *size = shape
    batch = fixed or 1
    native = (*size, channels) if last else (channels, *size)
    image = value.name or ""
    inference = Inference(model, {image: (batch, *native)}, (size[0], size[1]))
    reader = Reader(model, inference)
    reader.of_image.add(image)
    if last:
        image = reader.turned_image(image)
    for node in model.graph:
        if node.outputs[0].name not in inference.constants:
            operators.read(node, reader)
    outputs = [value.name or "" for value in model.graph.outputs]
    if last:
        outputs = [reader.vector(name) for name in outputs]
    graph = Graph(image, reader.nodes, outputs, reader.recipes, inference.shapes, batch)
    return Source(graph, model, inference.constants, inference.types, last)


def _image_of(model: ir.Model) -> ir.Value:
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    images = [v for v in inputs if v.shape is not None and len(v.shape) == 4]
    if len(inputs) != 1 or len(images) != 1:
        raise ModelError(
            f"convert: expected a model with one image input (N, C, H, W); the model's inputs "
            f"are {', '.join(map(_described, inputs)) or 'none'}. Export the classifier with the "
            f"image as its only input."
        )
    if images[0].dtype not in KINDS:
        raise ModelError(
            f"convert: the model takes an image of {images[0].dtype}; fullconv gives it floating "
            f"or whole numbers of 8 to 64 bits. Begin the classifier with a Cast."
        )
    return images[0]


def _shape(
    image: ir.Value, window: tuple[int, int] | None, last: bool
) -> tuple[int | None, int, int, int]:
    """Return the native shape of an image as ``(N, C, H, W)``, N being None where it is free."""
    held = sizes(image)
    batch, channels, height, width = (held[axis] for axis in TO_MAP) if last else held
    if channels is None:
        channels = _channels(image, last)
    if window is None and (height is None or width is None):
        raise WindowError(
            "convert: the model leaves height and width free, so the window it was trained on "
            "must be given: window=(height, width), or --window WIDTHxHEIGHT."
        )
    window = window or (int(height or 0), int(width or 0))
    if any(h is not None and h != w for h, w in zip((height, width), window, strict=True)):
        raise WindowError(
            f"convert(window={window}): the model takes images of {width}x{height} pixels "
            f"(width x height) and no other; leave the window out, or give ({height}, {width})."
        )
    return batch, channels, window[0], window[1]


def _described(value: ir.Value) -> str:
    if value.shape is None:
        return f"{value.name} of unknown shape"
    named = [str(n if isinstance(n, int) else n.value or "?") for n in value.shape]
    return f"{value.name} ({', '.join(named)})"


def _channels(image: ir.Value, last: bool) -> int:
    """Return how many channels the first convolution reads."""
    first = list(readers(image))
    for node in first:
        if node.op_type == "Conv" and node.inputs[1] is not None:
            weight = node.inputs[1].shape
            if weight is not None and isinstance(weight[1], int):
                return weight[1] * node.attributes.get_int("group", 1)
        if turning(node) == TO_MAP:
            first.extend(readers(node.outputs[0]))
    raise ModelError(
        f"convert: the model does not say how many channels its image has; fix the "
        f"{'last' if last else 'second'} dimension of its input when exporting it."
    )
