"""Writers of padding and cropping of maps."""

from __future__ import annotations

from typing import Any

import keras

from fullconv.frameworks.keras import map_layers
from fullconv.frameworks.keras import sliding_layers as sliding
from fullconv.frameworks.keras.calls import Tensor
from fullconv.frameworks.keras.layers import settings_of
from fullconv.frameworks.keras.writing import Value, Writing, writes
from fullconv.geometry.grid import BeforeAfter
from fullconv.graph.graph import Node
from fullconv.operations import Cells, Pad, Padding, PaddingMode, Stretch


def _of_pairs(kind: str, pairs: Padding) -> tuple[type, Any]:
    """Return the layer that cuts or pads the axes of ``pairs``, and its amounts.

    A layer over one axis takes a single pair.
    """
    layer = getattr(keras.layers, kind.format(len(pairs)))
    return layer, pairs if len(pairs) > 1 else pairs[0]


def padded(
    writing: Writing,
    x: Tensor,
    pads: Padding,
    value: float = 0.0,
    mode: PaddingMode = "constant",
    channels: BeforeAfter = (0, 0),
    node: Node | None = None,
) -> Tensor:
    """Return a map with cells added around it."""
    plain = mode == "constant" and value == 0 and channels == (0, 0)
    if plain and min(n for pair in pads for n in pair) >= 0:
        kind, amounts = _of_pairs("ZeroPadding{}D", pads)
        name = writing.name(node, "zero_padding") if node else "zero_padding"
        key = "zero_padding", node.name if node else "", pads
        return writing.layer(key, kind, name, amounts, writing.format)(x)
    mode_ = map_layers.MODES[mode]
    settings = {"pads": pads, "channels": channels, "mode": mode_, "value": value}
    return writing.own(map_layers.PadCells, x, node=node, **settings)


def cropped(writing: Writing, x: Tensor, ends: Padding) -> Tensor:
    """Return a map without some cells at both ends of every axis."""
    if len(ends) == 1 and not writing.last:  # a layer over one axis has its channels last only
        before, after = zip(*ends, strict=True)
        return writing.own(map_layers.Cells, x, before=before, after=after, stride=(1,))
    kind, amounts = _of_pairs("Cropping{}D", ends)
    how = () if len(ends) == 1 else (writing.format,)
    return writing.layer(("crop", ends), kind, "crop", amounts, *how)(x)


@writes(Pad)
def write_pad(writing: Writing, node: Node, operation: Pad) -> Value:
    """Write padding as a layer of its own."""
    _, channels, *pads = operation.pads
    how = operation.value, operation.mode, channels, node
    return writing.on_map(padded(writing, writing.map(node.first), tuple(pads), *how))


@writes(Cells)
def write_cells(writing: Writing, node: Node, operation: Cells) -> Value:
    """Write a cut of cells."""
    x = writing.map(node.first)
    if set(operation.stride) == {1}:
        ends = tuple(zip(operation.before, operation.after, strict=True))
        return writing.on_map(cropped(writing, x, ends))
    return writing.on_map(
        writing.own(map_layers.Cells, x, **settings_of(map_layers.Cells, operation))
    )


@writes(Stretch)
def write_stretch(writing: Writing, node: Node, operation: Stretch) -> Value:
    """Write repeated border cells."""
    x = writing.map(node.first)
    if set(operation.dilation) == {1}:
        return writing.on_map(padded(writing, x, operation.padding, mode="replicate"))
    return writing.on_map(
        writing.own(sliding.Stretch, x, **settings_of(sliding.Stretch, operation))
    )
