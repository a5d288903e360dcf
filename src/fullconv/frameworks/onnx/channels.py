"""The axis of channels in an ONNX model's images, and models without the Transposes for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import onnx
import onnx_ir as ir

from fullconv.errors import ModelError
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.geometry.grid import Sizes

# Note [Channels last]. A model exported from TensorFlow or Keras takes images (N, H, W, C), and
# turns them to (N, C, H, W) ahead of its convolutions. Its converted form takes and returns the
# same order: `write` adds a Transpose at its beginning and at its end. Everywhere else images are
# (N, C, H, W), and a scan of many tiles leaves the two Transposes out (`channels_first`). The same
# holds over one axis and over three.

AXES_KEY = "fullconv.axes"
"""Metadata of a converted model: ``last`` where its channels come last."""

FEW = (1, 3, 4)
"""Numbers of channels that most images have."""

KEEPING = frozenset(
    """
    Abs Add And Cast Ceil Clip Concat DequantizeLinear Div Dropout Equal Exp Floor Gather Greater
    Identity LeakyRelu Less Log Max Mean Min Mod Mul Neg Not Or Pad Pow QuantizeLinear Reciprocal
    Relu Round Sigmoid Sign Slice Sqrt Sub Sum Tanh Where
    """.split()
)
"""Operators that leave the axes where they are."""

OF_MAPS = frozenset(
    """
    AveragePool BatchNormalization Conv ConvTranspose DepthToSpace GlobalAveragePool GlobalMaxPool
    GroupNormalization InstanceNormalization LRN MaxPool SpaceToDepth
    """.split()
)
"""Operators that take ``(N, C, H, W)`` and nothing else."""


def channels_last(image: ir.Value, window: Sizes | None) -> bool:
    """Return whether a classifier takes its images ``(N, H, W, C)``.

    Its operators decide: operators on maps read the image as ``(N, C, H, W)``, or a Transpose turns
    it. Without these, the sizes of the image and the window decide; where both orders fit, the
    channels come first. Return False for an image without an axis of channels.
    """
    rank = len(image.shape or ())
    if rank < 3 or (window is not None and rank != 2 + len(window)):
        return False
    for node in readers(image):
        if node.op_type in OF_MAPS:
            return False
        if turning(node) in (to_map_order(rank), to_last_order(rank)):
            if rank > 3:
                return turning(node) == to_map_order(rank)
            # Over one axis both permutations are the same; the next operators decide.
            return any(after.op_type in OF_MAPS for after in readers(node.outputs[0]))
    return _fits_last(sizes(image), window)


def sizes(image: ir.Value) -> list[int | None]:
    """Return the sizes of a value, None where they are free."""
    return [int(n) if isinstance(n, int) else None for n in image.shape or ()]


def _fits_last(shape: Sequence[int | None], window: Sizes | None) -> bool:
    _, first, *_, last = shape
    if window is not None:
        fits = [
            all(
                stated in (None, size)
                for stated, size in zip(shape[at : at + len(window)], window, strict=True)
            )
            for at in (1, 2)
        ]
        if fits[0] != fits[1]:
            return fits[0]
    if first is None or last is None:
        return first is None and last is not None
    return last in FEW and first not in FEW


def readers(value: ir.Value) -> Iterator[ir.Node]:
    """Yield the first readers of a value, behind operators that leave the axes where they are."""
    waiting, seen = [value], {value}
    while waiting:
        for node, _ in waiting.pop(0).uses():
            if node.op_type not in KEEPING:
                yield node
                continue
            waiting.extend(v for v in node.outputs if v not in seen)
            seen.update(node.outputs)


def turning(node: ir.Node) -> tuple[int, ...]:
    """Return the permutation of a Transpose; an empty one for other nodes."""
    return tuple(node.attributes.get_ints("perm", ()) or ()) if node.op_type == "Transpose" else ()


def image_of(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """Return the input that is no weight; weights may be listed among the inputs, and ahead of it.

    Raises
    ------
    ModelError
        If there is none.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    images: list[onnx.ValueInfoProto] = [v for v in model.graph.input if v.name not in weights]
    if images:
        return images[0]
    raise ModelError(
        "the model takes no image: all its inputs are weights; export the classifier with the "
        "image as its only input."
    )


def is_last(model: onnx.ModelProto) -> bool:
    """Return whether a converted model takes its channels last."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if AXES_KEY in metadata:
        return bool(metadata[AXES_KEY] == "last")
    # Older files lack the entry: their channels are the one size that is not free.
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return [dim.HasField("dim_value") for dim in dims[1:]] == [False, False, True]


def channels_first(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a converted model in the form that takes and returns its channels first.

    The Transposes at its ends become Identities; see Note [Channels last].
    """
    if not is_last(model):
        return model
    turned = onnx.ModelProto()
    turned.CopyFrom(model)
    for entry in turned.metadata_props:
        if entry.key == AXES_KEY:
            entry.value = "first"
    (image,) = turned.graph.input
    ends = {image.name, *(output.name for output in turned.graph.output)}
    for node in turned.graph.node:
        if node.op_type == "Transpose" and ends.intersection((node.input[0], node.output[0])):
            node.op_type = "Identity"
            del node.attribute[:]
    dims = list(image.type.tensor_type.shape.dim)
    image.type.tensor_type.ClearField("shape")
    image.type.tensor_type.shape.dim.extend(dims[axis] for axis in to_map_order(len(dims)))
    return turned


def of_each(turn: Callable[[Any], Any], outputs: Any) -> Any:
    """Return one output, or each of several, with its axes turned."""
    return tuple(map(turn, outputs)) if isinstance(outputs, tuple) else turn(outputs)
