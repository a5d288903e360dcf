"""Write a lifted network as a ``torch.fx.GraphModule`` under the original names."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch.utils import _pytree as pytree

from fullconv.frameworks.torch.one_by_one import OneByOne
from fullconv.frameworks.torch.read import Source
from fullconv.frameworks.torch.reader import Call
from fullconv.frameworks.torch.values import FxNode, writes
from fullconv.frameworks.torch.write_layers import Layers
from fullconv.frameworks.torch.write_maps import Maps
from fullconv.frameworks.torch.write_numbers import Numbers
from fullconv.frameworks.torch.write_shapes import Shapes
from fullconv.geometry import Grid
from fullconv.graph import Alone, Graph, Node
from fullconv.operations import AlongAxis, Linear, Operation, PerChannel, Reshape, Upsample


def write(graph: Graph, source: Source, grid: Grid) -> torch.fx.GraphModule:
    """Return a module from images ``(N, C, H, W)`` to scores ``(N, K, rows, columns)``.

    Parameters share the storage of the original's, under their original names where the layer
    lives on; they are `torch.nn.Parameter` objects of their own, so that moving the converted
    model to another device or type leaves the original where it is.
    """
    return Writer(graph, source, grid).write()


class Writer(Layers, Numbers, Shapes, Maps):
    """The walk over a lifted graph."""

    def write(self) -> torch.fx.GraphModule:
        """Write every node, then the outputs in the structure the model returns them in."""
        image = self.fx.placeholder("images")
        if self.source.graph.layout.shape[1:] == self.graph.window:
            image = self._function(torch.unsqueeze, image, 1)  # one channel
        self.values[self.graph.image] = image
        for node in self.graph.nodes:
            result = self._write(node)
            if len(node.outputs) == 1:
                self.values[node.outputs[0]] = result
            for index, name in enumerate(node.outputs if len(node.outputs) > 1 else ()):
                self.values[name] = self.fx.call_function(operator.getitem, (result, index))
        flat = [self.values[name] for name in self.graph.outputs]
        self.fx.output(pytree.tree_unflatten(flat, self.source.structure))
        module = torch.fx.GraphModule(self.root, self.fx, "FullyConvolutional")
        module.graph.eliminate_dead_code()
        module.recompile()
        module.delete_all_unused_submodules()
        return module.eval()

    def piece(self, inputs: Sequence[str]) -> torch.fx.GraphModule:
        """Write the nodes on native tensors, from these values to a tuple of the outputs."""
        for index, name in enumerate(inputs):
            self.values[name] = self.fx.placeholder(f"input_{index}")
        for node in self.graph.nodes:
            self.values[node.outputs[0]] = self._write(node)
        self.fx.output(tuple(self.values[name] for name in self.graph.outputs))
        return torch.fx.GraphModule(self.root, self.fx, "Piece")

    @writes(Alone)
    def write_alone(self, operation: Alone, node: Node) -> FxNode:
        """Write a piece of the classifier as a module of its own, run window by window."""
        shapes = self.source.graph.shapes
        graph = Graph("", list(operation.nodes), list(operation.outputs), {}, shapes)
        writer = Writer(graph, self.source, self.grid)
        writer.tensors = self.tensors
        module = OneByOne(writer.piece(operation.inputs), operation.each)
        path = self._place(f"{node.name.replace('.', '_') or 'windows'}_alone", module)
        return self.fx.call_module(path, tuple(self._inputs(node)))

    def _write(self, node: Node) -> FxNode:
        call = node.source
        if isinstance(call, Call) and call.owner and call.operation == node.operation:
            module = self.source.modules.get(call.owner)
            # A pool's ceil_mode would add outputs that only a larger map has.
            anywhere = _any_rank(node.operation) and not getattr(module, "ceil_mode", False)
            if module is not None and (node.per_window or anywhere):
                return self._call_module(node, call.owner, self._twin(module))
        return self.operation(node.operation, node)

    def operation(self, operation: Operation, node: Node) -> FxNode:
        """Write one operation; what has no method of its own is cloned from its source."""
        method = writes.find(type(operation))
        return self._clone(node, {}) if method is None else method(self, operation, node)


def _any_rank(operation: Operation) -> bool:
    """Whether a module of this operation does the same on a stored map as at its native rank."""
    return not isinstance(operation, PerChannel | AlongAxis | Linear | Reshape | Upsample) or (
        isinstance(operation, PerChannel) and operation.name == "prelu"
    )
