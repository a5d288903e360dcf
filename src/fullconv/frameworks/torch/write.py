"""Write a lifted network as a ``torch.fx.GraphModule`` under the original names."""

from __future__ import annotations

import operator

import torch
from torch.utils import _pytree as pytree

from fullconv.frameworks.torch import (  # noqa: F401 - the families of operations register
    write_alone,
    write_layers,
    write_maps,
    write_numbers,
    write_shapes,
)
from fullconv.frameworks.torch.read import ModelGraph
from fullconv.frameworks.torch.writing import Writing
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph


def write(graph: Graph, source: ModelGraph, grid: Grid) -> torch.fx.GraphModule:
    """Return a module from images ``(N, C, H, W)`` to scores ``(N, K, rows, columns)``.

    Parameters share their storage with the original's, and keep their names where the layer is
    kept. They are `torch.nn.Parameter` objects of their own, so that moving the converted model to
    another device or type does not move the original. The outputs have the structure of the
    classifier's.
    """
    writing = Writing(graph, source, grid)
    image = writing.fx.placeholder("images")
    if source.graph.layout.shape[1:] == graph.window:
        image = writing.function(torch.unsqueeze, image, 1)  # one channel
    writing.values[graph.image] = image
    for node in graph.nodes:
        result = writing.write(node)
        if len(node.outputs) == 1:
            writing.values[node.outputs[0]] = result
        for index, name in enumerate(node.outputs if len(node.outputs) > 1 else ()):
            writing.values[name] = writing.fx.call_function(operator.getitem, (result, index))
    flat = [writing.values[name] for name in graph.outputs]
    writing.fx.output(pytree.tree_unflatten(flat, source.structure))
    module = torch.fx.GraphModule(writing.root, writing.fx, "FullyConvolutional")
    module.graph.eliminate_dead_code()
    module.recompile()
    module.delete_all_unused_submodules()
    return module.eval()
