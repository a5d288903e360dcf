"""Read an ONNX model into the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import onnx_ir as ir

from fullconv.conversion.requested import window_missing
from fullconv.errors import ModelError, WindowError
from fullconv.frameworks.onnx import operators, read_maps, read_numbers, read_shapes  # noqa: F401 - the families of operators register
from fullconv.frameworks.onnx.channels import channels_last, readers, sizes, turning
from fullconv.frameworks.onnx.infer import Inference
from fullconv.frameworks.onnx.reader import Reader
from fullconv.frameworks.orders import to_map_order
from fullconv.geometry.grid import NUMBERS, Sizes
from fullconv.graph.graph import Graph
from fullconv.wording import measured, names

KINDS = frozenset(
    getattr(ir.DataType, name)
    for name in "FLOAT DOUBLE FLOAT16 UINT8 INT8 UINT16 INT16 UINT32 INT32 UINT64 INT64".split()
)
"""Types of images that NumPy and ONNX Runtime both have."""


@dataclass(frozen=True)
class ModelGraph:
    """A model in the vocabulary, with everything else that its writer needs.

    Attributes
    ----------
    graph : Graph
        The vocabulary graph.
    model : onnx_ir.Model
        The model as read, at an operator set of 15 or later.
    constants : dict of str to array
        Constant nodes and folded sizes.
    types : dict of str to onnx_ir.DataType
        The type of the numbers of each value.
    channels_last : bool
        Whether the model takes images ``(N, H, W, C)``; see Note [Channels last].
    """

    graph: Graph
    model: ir.Model
    constants: dict[str, Any]
    types: dict[str, ir.DataType]
    channels_last: bool = False


def read(model: ir.Model, window: Sizes | None) -> ModelGraph:
    """Return the vocabulary graph of a model with one image input.

    Raises
    ------
    ModelError
        If the model has no single image input, or an operator that cannot be read.
    WindowError
        If the window is missing, or contradicts the model.
    """
    value = _image_of(model)
    window = _window(value, window)
    last = channels_last(value, window)
    fixed, native = _native(value, window, last)
    batch = fixed or 1
    image = value.name or ""
    inference = Inference(model, {image: (batch, *native)}, window)
    reader = Reader(model, inference)
    reader.of_image.add(image)
    if last:
        image = reader.turned_image(image)
    for node in model.graph:
        if node.outputs[0].name not in inference.constants:
            operators.read(node, reader)
    outputs = [value.name or "" for value in model.graph.outputs]
    if last:
        outputs = [reader.vector(name, 2 + len(window)) for name in outputs]
    graph = Graph(
        image=image,
        nodes=reader.nodes,
        outputs=outputs,
        constants=reader.recipes,
        shapes=inference.shapes,
        batch=batch,
        window=window,
    )
    return ModelGraph(graph, model, inference.constants, inference.types, last)


def _image_of(model: ir.Model) -> ir.Value:
    inputs = [v for v in model.graph.inputs if v.name not in model.graph.initializers]
    images = [v for v in inputs if v.shape is not None and 2 <= len(v.shape) <= 5]
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


def _window(image: ir.Value, window: Sizes | None) -> Sizes:
    """Return the native size of an image, which the model may fix."""
    stated = sizes(image)
    rank = len(stated)
    if window is None:
        if rank == 2:
            return (1, 1)  # a vector of features
        fixed = stated[1:-1] if channels_last(image, None) else stated[2:]
        if None in fixed:
            raise window_missing("the model", len(fixed))
        return tuple(size or 0 for size in fixed)
    vector = rank == 2 and prod(window) == 1
    if rank - len(window) not in (1, 2) and not vector:
        raise WindowError(
            f"convert(window={window}): expected {NUMBERS[max(1, rank - 2)]}, "
            f"{names(max(1, rank - 2))}, for the model takes {_described(image)}; or "
            f"{rank - 1} where none of its axes is one of channels."
        )
    return window


def _native(image: ir.Value, window: Sizes, last: bool) -> tuple[int | None, Sizes]:
    """Return the number of images, None where it is free, and the native shape of one."""
    stated = sizes(image)
    rank = len(stated)
    if rank == 2 and prod(window) == 1:
        return stated[0], (stated[1] if stated[1] is not None else _features(image),)
    if rank == 1 + len(window):
        channels: Sizes = ()
        fixed = stated[1:]
    else:
        place = rank - 1 if last else 1
        number = stated[place] or _channels(image, last)
        channels, fixed = (number,), stated[1:-1] if last else stated[2:]
    if any(h is not None and h != w for h, w in zip(fixed, window, strict=True)):
        own = tuple(w if h is None else h for h, w in zip(fixed, window, strict=True))
        raise WindowError(
            f"convert(window={window}): the model takes {measured(own)} and no other; leave the "
            f"window out, or give {own}."
        )
    return stated[0], (*window, *channels) if last else (*channels, *window)


def _described(value: ir.Value) -> str:
    if value.shape is None:
        return f"{value.name} of unknown shape"
    named = [str(n if isinstance(n, int) else n.value or "?") for n in value.shape]
    return f"{value.name} ({', '.join(named)})"


def _channels(image: ir.Value, last: bool) -> int:
    """Return the number of channels that the first convolution reads."""
    first = list(readers(image))
    for node in first:
        if node.op_type == "Conv" and node.inputs[1] is not None:
            weight = node.inputs[1].shape
            if weight is not None and isinstance(weight[1], int):
                return weight[1] * node.attributes.get_int("group", 1)
        if turning(node) == to_map_order(len(image.shape or ())):
            first.extend(readers(node.outputs[0]))
    raise ModelError(
        f"convert: the model does not say how many channels its image has; fix the "
        f"{'last' if last else 'second'} dimension of its input when exporting it."
    )


def _features(image: ir.Value) -> int:
    """Return the number of features that the first fully connected layer reads."""
    for node in readers(image):
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        shape = None if weight is None else weight.shape
        if node.op_type in ("Gemm", "MatMul") and shape is not None and len(shape) == 2:
            size = shape[1 if node.attributes.get_int("transB", 0) else 0]
            if isinstance(size, int):
                return size
    raise ModelError(
        "convert: the model does not say how many features its vectors have; fix the second "
        "dimension of its input when exporting it."
    )
