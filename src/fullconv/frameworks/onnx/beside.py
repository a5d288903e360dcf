"""Intermediate tensors of ONNX Runtime's operators, beside their inputs and outputs.

A result of one number may take terabytes on the way: attention over a long sequence, or a huge
kernel. The sizes follow from the operator's inputs and outputs (ONNX Runtime 1.31,
providers/cpu), and have the same bounds as tensors of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import onnx_ir as ir

Shape = tuple[int, ...]
Shapes = Sequence[Shape | None]
"""The shape of every input, then of every output; None if it is left out or unknown."""


def beside(node: ir.Node, shapes: Mapping[str, Shape]) -> Iterator[Shape]:
    """Yield the shapes of the intermediate tensors of a node."""
    find = KNOWN.get(node.op_type)
    if find is not None:
        values = [*node.inputs, *node.outputs]
        given = [None if v is None else shapes.get(v.name or "") for v in values]
        if given and given[0] is not None:
            yield from find(node, given)


def _padded(node: ir.Node, shapes: Shapes) -> Iterator[Shape]:
    """Yield the image of a pool or convolution with the padding around it."""
    image = shapes[0] or ()
    count = len(image) - 2
    kernel = list(node.attributes.get_ints("kernel_shape", ()) or ())
    if not kernel and len(shapes) > 1 and shapes[1] is not None:
        kernel = list(shapes[1][2:])
    pads = list(node.attributes.get_ints("pads", ()) or ()) or [0] * 2 * count
    spread = list(node.attributes.get_ints("dilations", ()) or ()) or [1] * count
    if not len(kernel) == len(spread) == len(pads) // 2 == count:
        return  # ONNX itself refuses it
    sizes = (
        max(image[2 + axis] + pads[axis] + pads[count + axis], (k - 1) * spread[axis] + 1)
        for axis, k in enumerate(kernel)
    )
    yield *image[:2], *sizes


def _convolution(node: ir.Node, shapes: Shapes) -> Iterator[Shape]:
    """Yield the padded image, and a column of numbers for every cell of the result."""
    yield from _padded(node, shapes)
    weights, result = shapes[1], shapes[-1]
    if weights is not None and result is not None:
        yield *weights[1:], *result[2:]


def _transposed(node: ir.Node, shapes: Shapes) -> Iterator[Shape]:
    """Yield a column of numbers for every cell of the image."""
    image, weights = shapes[0], shapes[1]
    if image is not None and weights is not None:
        yield *weights[1:], *image[2:]


def _channels(node: ir.Node, shapes: Shapes) -> Iterator[Shape]:
    """Yield the image of a response normalization, with padded channels."""
    image = shapes[0] or ()
    if len(image) > 1:
        yield image[1] + max(0, node.attributes.get_int("size", 1)), *image[2:]


def _pairs(node: ir.Node, shapes: Shapes) -> Iterator[Shape]:
    """Yield a number for each head and pair of a query and a key."""
    queries = keys = shapes[0] or ()
    packed = node.op_type == "Attention" and node.domain  # its second input holds weights
    if len(node.inputs) > 1 and shapes[1] is not None and not packed:
        keys = shapes[1]
    heads = (node.attributes.get_int(name, 1) for name in ("num_heads", "q_num_heads"))
    if len(queries) >= 2 and len(keys) >= 2:
        yield *queries[: len(queries) - 2], max(1, *heads), queries[-2], keys[-2]


def _boxes(node: ir.Node, shapes: Shapes) -> Iterator[Shape]:
    """Yield the pairs of boxes of a suppression, which take no memory, but time."""
    boxes = shapes[0] or ()
    if len(boxes) == 3:
        yield *boxes[:2], boxes[1]


def _sum(node: ir.Node, shapes: Shapes) -> Iterator[Shape]:
    """Yield each partial product of the tensors of an Einsum, without the summed letters."""
    terms, _, result = node.attributes.get_string("equation", "").replace(" ", "").partition("->")
    letters = terms.split(",")
    if "." in terms or len(letters) != len(node.inputs) or len(letters) < 3:
        return
    sizes: dict[str, int] = {}
    for term, shape in zip(letters, shapes, strict=False):
        sizes.update(zip(term, shape or (), strict=False))
    left = set(letters[0])
    for place, term in enumerate(letters[1:], start=1):
        needed = set("".join(letters[place + 1 :])) | set(result)
        left = (left | set(term)) & needed
        yield tuple(sizes.get(letter, 1) for letter in sorted(left))


KNOWN: Mapping[str, Callable[[ir.Node, Shapes], Iterator[Shape]]] = {
    **dict.fromkeys(("AveragePool", "Conv", "FusedConv", "LpPool", "MaxPool"), _padded),
    **dict.fromkeys(("ConvInteger", "DeformConv"), _convolution),
    **dict.fromkeys(("Attention", "GroupQueryAttention", "MultiHeadAttention"), _pairs),
    "ConvTranspose": _transposed,
    "LRN": _channels,
    "Einsum": _sum,
    "NonMaxSuppression": _boxes,
}
