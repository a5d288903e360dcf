"""Write a lifted network as a `keras.Model` under the original names."""

from __future__ import annotations

import keras

from fullconv.frameworks.keras import (  # noqa: F401 - the families of operations register
    write_layers,
    write_numbers,
    write_shapes,
)
from fullconv.frameworks.keras.models import functional
from fullconv.frameworks.keras.read import Source
from fullconv.frameworks.keras.writing import Writing
from fullconv.geometry import Grid
from fullconv.graph import Graph


def write(graph: Graph, source: Source, grid: Grid) -> keras.Model:
    """Return a model from images to the scores of every window, of any size.

    ``(N, *size, C)`` to ``(N, *windows, K)``, or ``(N, C, *size)`` to ``(N, K, *windows)`` where
    the classifier takes its channels first; ``(N, *size)`` where it takes its images without an
    axis of channels. Its layers are layers of their own, with copies of the original's weights.
    """
    whole = functional(source.model)
    writing = Writing(graph, source, grid)
    image = writing.begin(whole)
    for node in graph.nodes:
        writing.write(node)
    # An output that is a value twice, or the image itself, needs a tensor of its own.
    flat = [writing.values[name].tensor for name in graph.outputs]
    outputs = keras.tree.pack_sequence_as(whole.output, flat)
    return keras.Model(image, outputs, name=source.model.name)
