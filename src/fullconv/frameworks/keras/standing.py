"""The axes of Keras' layers and operations along which windows may stand.

Keras' own layers treat each entry of the first axis by itself, unless they are given that axis.
Keras' operations are known by name. A third-party layer is traced, for one image and for two: see
`fullconv.frameworks.keras.tracing`. Anything unknown may mix the entries of any axis, and runs on
each window alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras

from fullconv.frameworks.keras.private import OPERATIONS, OWN_LAYERS
from fullconv.frameworks.keras.tracing import is_apart
from fullconv.graph.table import Table
from fullconv.lift.broadcasting import by_letter
from fullconv.operations import Standing

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

Axes = Sequence[int | None]
Family = Callable[[Any, Sequence[Any], Any], tuple[Axes, int] | None]
"""From an operation, its tensors and its (first) result: the axes of these tensors and of the
result; None where windows can stand nowhere."""

families = Table[str, Family]("a place for its windows")

FOREIGN = ("TorchModuleWrapper", "JaxLayer", "FlaxLayer", "TFSMLayer")
"""Layers of Keras that hold code of another library."""

MIXING = ("MelSpectrogram",)
"""Layers that mix the images of a batch: they cut off relative to the loudest image of all."""

JOINING = ("Concatenate", "Stack", "TakeAlongAxis")
"""Operations whose operands must be of one length along the first axis."""


def _arrays(args: Any, kwargs: Any) -> bool:
    """Whether there is an array among the arguments, the same for all windows."""
    flat = keras.tree.flatten((args, kwargs))
    return any(hasattr(x, "shape") and not isinstance(x, keras.KerasTensor) for x in flat)


def standing(
    reader: Reader, target: Any, args: Any, kwargs: Any, tensors: Sequence[Any], results: list[Any]
) -> Standing | None:
    """Return where windows may stand in a call; ``tensors`` are the vocabulary's inputs."""
    if isinstance(target, keras.Layer):
        if not _is_apart(reader, target, args, kwargs):
            return None
        return Standing((0,) * len(tensors), (0,) * len(results))
    own = type(target).__module__.startswith(OPERATIONS)
    family = families.find(type(target).__name__) if own else None
    answer = family and family(target, tensors, results[0])
    if not answer or (type(target).__name__ in JOINING and _arrays(args, kwargs)):
        return None
    if type(target).__name__ == "Matmul" and not isinstance(args[0], keras.KerasTensor):
        return None  # an array times the image, whose rows it may mix
    axes, result = answer
    return Standing(tuple(axes), (result,) * len(results))


def _is_apart(reader: Reader, layer: Any, args: Any, kwargs: Any) -> bool:
    kind = type(layer)
    if not kind.__module__.startswith(OWN_LAYERS) or kind is keras.layers.Lambda:
        return is_apart(reader, layer, args, kwargs)
    inner = getattr(layer, "layer", None)
    if inner is not None and not _is_apart(reader, inner, args, kwargs):
        return False
    axis = getattr(layer, "axis", None)
    named = [axis] if isinstance(axis, int) else list(axis or ())
    ranks = [len(x.shape) for x in keras.tree.flatten(args) if isinstance(x, keras.KerasTensor)]
    mixes = any(n % rank == 0 for n in named for rank in ranks if rank)
    known = kind.__name__ not in (*FOREIGN, *MIXING)
    return known and not mixes and not getattr(layer, "stateful", False)


def _axes(target: Any) -> list[int]:
    named = getattr(target, "axis", getattr(target, "axes", None))
    return [named] if isinstance(named, int) else [int(n) for n in named or ()]


@families(
    *"""
    All Any Amax Amin Argmax Argmin Argpartition Argsort ArraySplit Average CountNonzero Cumprod
    Cumsum Diff Flip Glu LayerNorm LogSoftmax Logsumexp Max Mean Median Min Moments Nanmax Nanmean
    Nanmedian Nanmin Nanprod Nanstd Nansum Nanvar Norm Normalize Percentile Prod Ptp Quantile Repeat
    RMSNorm Roll Softmax Sort Sparsemax Split Std Sum Take Trapezoid Unstack Var
    """.split()
)
def _along_axes(target: Any, tensors: Sequence[Any], result: Any) -> tuple[Axes, int] | None:
    """Accept operations that mix along named axes alone, none of which is the first."""
    axes, rank = _axes(target), len(tensors[0].shape)
    return ((0,), 0) if axes and len(tensors) == 1 and all(n % rank for n in axes) else None


@families("TakeAlongAxis", "Concatenate", "Stack")
def _each_along_axis(target: Any, tensors: Sequence[Any], result: Any) -> tuple[Axes, int] | None:
    (axis,) = _axes(target) or (0,)
    return ((0,) * len(tensors), 0) if axis % len(result.shape) else None


@families(
    *"""
    AdaptiveAveragePool AdaptiveMaxPool AveragePool BatchNorm Conv ConvTranspose DepthToSpace
    DepthwiseConv ExtractPatches Fold GaussianBlur MaxPool Resize RGBToGrayscale SeparableConv
    SobelEdges SpaceToDepth Unfold
    """.split()
)
def _on_maps(target: Any, tensors: Sequence[Any], result: Any) -> tuple[Axes, int] | None:
    """Accept operations that are defined on batches of maps."""
    return ((0,), 0) if len(tensors) == 1 and len(tensors[0].shape) > 2 else None


@families("OneHot", "TopK", "FFT", "RFFT", "Tril", "Triu", "FFT2")
def _last_axes(target: Any, tensors: Sequence[Any], result: Any) -> tuple[Axes, int] | None:
    """Accept operations that work on the last axis, or the last two."""
    axis = getattr(target, "axis", -1) % len(result.shape)
    least = 2 if type(target).__name__ in ("Tril", "Triu", "FFT2") else 1
    return ((0,) * len(tensors), 0) if axis and len(tensors[0].shape) > least else None


@families("Pad")
def _pad(target: Any, tensors: Sequence[Any], result: Any) -> tuple[Axes, int] | None:
    before, after = tensors[0].shape, result.shape
    return ((0,), 0) if len(tensors) == 1 and before[0] == after[0] else None


@families("Tile")
def _tile(target: Any, tensors: Sequence[Any], result: Any) -> tuple[Axes, int] | None:
    before, after = tensors[0].shape, result.shape
    return ((0,), 0) if len(before) == len(after) and before[0] == after[0] else None


@families("Matmul")
def _matmul(target: Any, tensors: Sequence[Any], result: Any) -> tuple[Axes, int] | None:
    """Accept products of batches of matrices, with one another or with an array."""
    rank = len(result.shape)
    alike = all(len(x.shape) == rank and x.shape[0] == result.shape[0] for x in tensors)
    rows = len(tensors) == 1 and rank == 2 and tensors[0].shape[0] == result.shape[0]
    return ((0,) * len(tensors), 0) if alike and (rank > 2 or rows) else None


@families("Einsum")
def _einsum(target: Any, tensors: Sequence[Any], result: Any) -> tuple[Axes, int] | None:
    """Return the axes of a letter that all operands and the result have."""
    return by_letter(target.subscripts, [True] * len(tensors))


@families("DotProductAttention")
def _attention(target: Any, tensors: Sequence[Any], result: Any) -> tuple[Axes, int] | None:
    alike = all(len(x.shape) == 4 and x.shape[0] == result.shape[0] for x in tensors)
    return ((0,) * len(tensors), 0) if alike else None
