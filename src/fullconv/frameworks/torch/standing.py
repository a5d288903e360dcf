"""The axes of ATen operators in which windows may stand.

There is one function per family of operators, for calls on batches of native tensors. An operator
that is not in the table may mix the entries of any axis, and runs on each window alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from fullconv.frameworks.torch.aten import FxNode, arguments, base_name
from fullconv.graph.table import Table
from fullconv.lift.broadcasting import by_letter, in_first_axis
from fullconv.operations import Standing

if TYPE_CHECKING:
    from fullconv.frameworks.torch.reader import Reader

Axes = Mapping[str, Any]
"""By the name of an argument, the axis in which windows may stand; for lists of tensors, a list."""
Family = Callable[[FxNode, "Reader", dict[str, Any]], tuple[Axes, int] | None]
"""Returns the axes of the arguments and of the result; None where windows can stand nowhere."""

families = Table[str, Family]("a place for its windows")


def standing(
    node: FxNode, reader: Reader, result: FxNode | None = None, item: int | None = None
) -> Standing | None:
    """Return the axes in which windows may stand in a call, for its tensors in order.

    ``result`` and ``item`` are the node and the index of the result, of a call with several.
    """
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return None
    family = families.find(base_name(target))
    given = arguments(node)
    placed = family and family(node, reader, given)
    if not placed:
        return None
    axes, axis_of_result = placed
    if item and "hx" in axes:
        axis_of_result = 1  # the last states, layer by layer
    if axis_of_result >= len(reader.shapes[(result or node).name]):
        return None
    inputs: list[int | None] = []
    for name, value in given.items():
        axis = axes.get(name)
        tensors = value if isinstance(value, list | tuple) else [value]
        several = axis if isinstance(axis, list) else [axis] * len(tensors)
        inputs += [a for x, a in zip(tensors, several, strict=True) if isinstance(x, FxNode)]
    return Standing(tuple(inputs), (axis_of_result,))


def _rank(reader: Reader, x: Any) -> int:
    return len(reader.shapes[reader.names[x]])


def _on_maps(rank: int) -> Family:
    """Return the family of operators on maps of this rank: batch, channels, and moving axes."""

    def family(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
        first = next(iter(a))
        return ({first: 0}, 0) if _rank(reader, a[first]) == rank else None

    return family


for _axes, _names in {
    3: "avg_pool1d max_pool1d adaptive_avg_pool1d adaptive_max_pool1d "
    "upsample_nearest1d _upsample_nearest_exact1d upsample_linear1d col2im",
    4: "upsample_nearest2d _upsample_nearest_exact2d upsample_bilinear2d upsample_bicubic2d "
    "_upsample_bilinear2d_aa _upsample_bicubic2d_aa im2col pixel_shuffle max_pool2d avg_pool2d "
    "adaptive_avg_pool2d adaptive_max_pool2d pixel_unshuffle max_pool2d_with_indices",
    5: "avg_pool3d max_pool3d adaptive_avg_pool3d adaptive_max_pool3d "
    "upsample_nearest3d _upsample_nearest_exact3d upsample_trilinear3d",
}.items():
    families(*_names.split())(_on_maps(_axes))


@families(
    *"""
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution _convolution
    """.split()
)
def _convolution(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    return ({"input": 0}, 0) if _rank(reader, a["input"]) == _rank(reader, a["weight"]) else None


@families(
    *"""
    cumsum cumprod cummax cummin logcumsumexp sort argsort topk kthvalue median nanmedian mode flip
    roll logsumexp prod std var std_mean var_mean amax amin aminmax min max argmax argmin any all
    norm linalg_vector_norm nansum nanmean mean sum count_nonzero quantile nanquantile diff glu
    unfold repeat_interleave index_select index_fill
    """.split()
)
def _along_dims(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    """Place windows in the first axis, if the call mixes along other, named axes alone."""
    named = next((a[name] for name in ("dim", "dims", "dimension", "axis") if name in a), None)
    dims = [named] if isinstance(named, int) else named
    rank = _rank(reader, a["self"])
    if not dims or any(not isinstance(d, int) or d % max(1, rank) == 0 for d in dims):
        return None
    if any(isinstance(a.get(name), FxNode) for name in ("repeats", "q", "prepend", "append")):
        return None
    return {"self": 0}, 0


@families("renorm")
def _renorm(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    """Place windows in the first axis, if each of its entries has a norm of its own."""
    return ({"self": 0}, 0) if a["dim"] % max(1, _rank(reader, a["self"])) == 0 else None


@families("gather", "scatter", "scatter_add", "scatter_reduce", "take_along_dim")
def _along_index(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    """Place windows in the first axis, if the indices are along another one."""
    dim = a["dim"]
    if dim is None or dim % _rank(reader, a["self"]) == 0:
        return None
    return {name: 0 for name in ("self", "index", "indices", "src") if name in a}, 0


@families("bmm", "cdist", "grid_sampler", "baddbmm")
def _batches(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    """Place windows in the batch of pairs, if all tensors have the same number of axes."""
    tensors = [name for name, value in a.items() if isinstance(value, FxNode)]
    ranks = {_rank(reader, a[name]) for name in tensors}
    if len(ranks) > 1 or min(ranks) < 3:
        return None
    return dict.fromkeys(tensors, 0), 0


@families("matmul", "linear", "mm")
def _matmul(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    """Place windows among the rows, for a product with a parameter; else among the matrices."""
    left, right = (name for name in a if name != "bias")
    rank, shape = len(reader.shapes[node.name]), reader.shapes[reader.names[a[right]]]
    alike = len(shape) < max(3, rank) or shape[0] == 1
    if alike and not reader.is_of_image(a[right]):
        return ({left: 0}, 0) if _rank(reader, a[left]) == rank > 1 else None
    return _broadcasting(node, reader, a, (left, right)) if rank > 2 else None


@families("scaled_dot_product_attention")
def _attention(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    names = ("query", "key", "value", *(["attn_mask"] if a["attn_mask"] is not None else []))
    return _broadcasting(node, reader, a, names) if len(reader.shapes[node.name]) > 2 else None


def _broadcasting(
    node: FxNode, reader: Reader, a: dict[str, Any], names: Sequence[str]
) -> tuple[Axes, int] | None:
    """Place windows in the first axis, if the call broadcasts over the axes before the last two."""
    axes = in_first_axis(
        [reader.shapes[reader.names[a[name]]] for name in names],
        [reader.is_of_image(a[name]) for name in names],
        reader.shapes[node.name],
    )
    return None if axes is None else (dict(zip(names, axes, strict=True)), 0)


@families("einsum")
def _einsum(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    """Place windows in a letter that the result has, and all tensors from the image."""
    placed = by_letter(a["equation"], [reader.is_of_image(x) for x in a["tensors"]])
    return placed and ({"tensors": placed[0]}, placed[1])


@families("index")
def _index(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    """Place windows in the first axis, or in the indices if the image selects from a table."""
    indices = a["indices"]
    places = [place for place, index in enumerate(indices) if index is not None]
    of_image = any(reader.is_of_image(index) for index in indices if index is not None)
    if of_image:
        return ({"indices": 0}, 0) if places == [0] and not reader.is_of_image(a["self"]) else None
    adjacent = places == list(range(places[0], places[-1] + 1))
    return ({"self": 0}, 0) if places[0] > 0 and adjacent else None


@families("embedding")
def _embedding(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    return ({"indices": 0}, 0) if _rank(reader, a["indices"]) else None


@families("one_hot", "bucketize", "view_as_real", "view_as_complex", "tril", "triu", "diagonal")
def _entries(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    """Place windows in the first axis, if the call treats the last axes, or numbers, alone."""
    rank = _rank(reader, a["self"])
    least = 3 if base_name(node.target) in ("tril", "triu", "diagonal") else 2
    planes = (a.get("dim1", 1) % max(1, rank), a.get("dim2", 1) % max(1, rank))
    return ({"self": 0}, 0) if rank >= least and 0 not in planes else None


@families("instance_norm")
def _instance_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    return ({"input": 0}, 0) if _rank(reader, a["input"]) > 2 else None


@families("rms_norm")
def _rms_norm(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    return ({"input": 0}, 0) if _rank(reader, a["input"]) > len(a["normalized_shape"]) else None


@families("pad", "constant_pad_nd")
def _pad(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    return ({"self": 0}, 0) if len(a["pad"]) // 2 < _rank(reader, a["self"]) else None


@families("repeat", "tile")
def _repeat(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    times = a.get("repeats") or a.get("dims") or []
    rank = _rank(reader, a["self"])
    whole = len(times) == rank and times[0] == 1
    return ({"self": 0}, 0) if rank and (whole or len(times) < rank) else None


@families("expand")
def _expand(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    """Place windows in the first axis, if the call expands other axes alone."""
    before, after = reader.shapes[reader.names[a["self"]]], reader.shapes[node.name]
    return ({"self": 0}, 0) if len(before) == len(after) and before[0] == after[0] else None


@families("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    if "batch_first" not in a or _rank(reader, a["input"]) != 3:
        return None
    axis = 0 if a["batch_first"] else 1
    return {"input": axis, "hx": 1}, axis


@families("cosine_similarity")
def _similarity(node: FxNode, reader: Reader, a: dict[str, Any]) -> tuple[Axes, int] | None:
    rank = len(reader.shapes[node.name]) + 1
    if rank < 2 or a["dim"] % rank == 0:
        return None
    if any(_rank(reader, a[name]) != rank for name in ("x1", "x2")):
        return None
    return {"x1": 0, "x2": 0}, 0
