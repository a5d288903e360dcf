"""Write a lifted network as a `keras.Model` under the original names."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from fullconv.frameworks.keras.calls import Call, filled
from fullconv.frameworks.keras.models import functional
from fullconv.frameworks.keras.one_by_one import OneByOne
from fullconv.frameworks.keras.read import Source
from fullconv.frameworks.keras.values import Held, fill, writes
from fullconv.frameworks.keras.write_layers import Layers
from fullconv.frameworks.keras.write_maps import Maps
from fullconv.frameworks.keras.write_numbers import Numbers
from fullconv.frameworks.keras.write_shapes import Shapes
from fullconv.frameworks.keras.write_statistics import Statistics
from fullconv.geometry import Grid
from fullconv.graph import Alone, Graph, Node
from fullconv.operations import Operation


def write(graph: Graph, source: Source, grid: Grid) -> Any:
    """Return a model from images to the scores of every window, of any size.

    ``(N, H, W, C)`` to ``(N, rows, columns, K)``, or ``(N, C, H, W)`` to ``(N, K, rows, columns)``
    where the classifier takes its channels first. Its layers are layers of their own, with copies
    of the original's weights.
    """
    return Writer(graph, source, grid).write()


class Writer(Layers, Numbers, Statistics, Shapes, Maps):
    """The walk over a lifted graph."""

    def write(self) -> Any:
        """Write every node, then the outputs in the structure the model returns them in."""
        whole = functional(self.source.model)
        channels = self.source.graph.shapes[self.graph.image][1]
        shape = (None, None, channels) if self.last else (channels, None, None)
        given = whole.inputs[0]
        name = self.unique(given._keras_history.operation.name)
        image = keras.Input(shape, dtype=given.dtype, name=name)
        self.values[self.graph.image] = Held(image, self.last)
        for node in self.graph.nodes:
            self.policy = self._policy(node)
            before = self.fused.get(node.outputs[0])
            result = self.values[before] if before else self.operation(node.operation, node)
            self._bind(node, result)
        flat = [self.values[name].tensor for name in self.graph.outputs]
        # An output that is a value twice, or the image itself, needs a tensor of its own.
        outputs = keras.tree.pack_sequence_as(whole._outputs_struct, flat)
        return keras.Model(image, outputs, name=self.source.model.name)

    @writes(Alone)
    def write_alone(self, operation: Alone, node: Node) -> list[Held]:
        """Write a call that is made on each window alone; or, of several, the whole model's."""
        named = zip(operation.inputs, node.inputs, strict=True)
        tensors = {name: self.plain(value) for name, value in named if value in self.values}
        (first, *others), shapes = operation.nodes, self.source.graph.shapes
        if others:
            image = tensors[self.source.graph.image]
            given = {0: ops.transpose(image, (0, 1, 3, 4, 2)) if self.last else image}
            call, target = Call(self.source.model), self.source.model
        else:
            given = {place: tensors[name or ""] for place, name in enumerate(first.inputs)}
            call, target = first.source, self.clone(first.source.target)
        natives = {
            place: keras.KerasTensor(tuple(x.shape[1:]), dtype=x.dtype)
            for place, x in given.items()
        }
        args, kwargs = filled(call, natives)
        fresh = not getattr(target, "built", True)
        results = keras.tree.flatten(target(*args, **kwargs))
        if fresh:
            fill(target, call.target)
        name = self.unique(f"{self.name(node)}_alone")
        layer = OneByOne(
            target,
            (call.args, call.kwargs),
            [shapes[output] for output in operation.outputs],
            [result.dtype for result in results],
            name=name,
            dtype=self.policy,
        )
        found = layer([given[place] for place in sorted(given)])
        return [Held(tensor, False) for tensor in keras.tree.flatten(found)]

    def _policy(self, node: Node) -> Any:
        """Return the type of numbers that a node's layers compute in: its layer's, or its input's.

        Left alone, a layer would cast what it is given to the type that Keras is set to.
        """
        call = node.source
        if isinstance(call, Call) and isinstance(call.target, keras.Layer):
            return call.target.dtype_policy
        return self.values[node.inputs[0] or ""].tensor.dtype

    def _bind(self, node: Node, result: Any) -> None:
        results = result if isinstance(result, list) else [result]
        for name, held in zip(node.outputs, results, strict=False):
            self.values[name] = held

    def operation(self, operation: Operation, node: Node) -> Any:
        """Write one operation; what has no method of its own is repeated as its source."""
        method = writes.find(type(operation))
        return self._repeat(node) if method is None else method(self, operation, node)
