"""Write a lifted network as an ONNX model under the original names."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from fullconv.frameworks.onnx.channels import AXES_KEY, to_map_order
from fullconv.frameworks.onnx.read import Source
from fullconv.frameworks.onnx.values import Results, writes
from fullconv.frameworks.onnx.write_blocks import Blocks
from fullconv.frameworks.onnx.write_layers import Layers
from fullconv.frameworks.onnx.write_maps import Maps
from fullconv.frameworks.onnx.write_sliding import Statistics
from fullconv.geometry import Grid
from fullconv.graph import Graph, Node
from fullconv.operations import FoldWindows, Operation, SplitChannels
from fullconv.wording import size_names


def write(graph: Graph, source: Source, grid: Grid) -> ir.Model:
    """Return a model from images ``(N, C, H, W)`` to scores ``(N, K, rows, columns)``.

    Where the source takes its channels last, from ``(N, H, W, C)`` to ``(N, rows, columns, K)``.
    Height, width and batch are free. Nodes and initializers keep their names where they live on.
    """
    return Writer(graph, source, grid).write()


class Writer(Layers, Blocks, Maps, Statistics):
    """The walk over a lifted graph."""

    def write(self) -> ir.Model:
        """Write every node, then the outputs under their original names."""
        original = self.source.model.graph
        image = self._image(original)
        for node in self.graph.nodes:
            result = self.operation(node.operation, node)
            self._call_it(result, node)
        outputs = [
            self._output(name, value)
            for name, value in zip(self.graph.outputs, original.outputs, strict=True)
        ]
        graph = ir.Graph(
            [image],
            outputs,
            nodes=self.nodes,
            initializers=list(self.initializers.values()),
            opset_imports=dict(self.source.model.opset_imports),
            name=original.name or "fullconv",
        )
        model = ir.Model(
            graph,
            ir_version=max(8, min(10, self.source.model.ir_version or 8)),
            producer_name="fullconv",
            doc_string=self.source.model.doc_string,
        )
        model.metadata_props.update(self.source.model.metadata_props)
        model.metadata_props[AXES_KEY] = "last" if self.source.channels_last else "first"
        return model

    def _image(self, original: ir.Graph) -> ir.Value:
        """Return the model's input, and hold the map that it is or becomes."""
        (old,) = (v for v in original.inputs if v.name not in original.initializers)
        source, dimensions = self.source.graph, len(self.graph.window)
        channels, last = source.channels, self.source.channels_last
        plain = len(source.layout.axes) == 1 + dimensions  # without an axis of channels
        sizes: list[int | str] = list(size_names(dimensions))
        for axis in self.graph.fixed:
            sizes[axis] = self.graph.window[axis]
        shape = [*sizes, channels] if last else [*([] if plain else [channels]), *sizes]
        image = ir.Value(
            name=old.name,
            type=ir.TensorType(old.dtype or ir.DataType.FLOAT),
            shape=ir.Shape(["batch", *shape]),
        )
        self.values[self.graph.image] = image
        if last or plain:
            # See Note [Channels last]. One tensor per window may ask for the image's name, too.
            self.reserved.add(old.name)
            if last:
                order = {"perm": to_map_order(2 + dimensions)}
                turned = self._emit("Transpose", [image], order)
            else:
                turned = self._emit("Unsqueeze", [image, self._numbers(1)])
            turned.type = image.type
            self.values[self.graph.image] = turned
        return image

    def _output(self, name: str, original: ir.Value) -> ir.Value:
        rank = self._answer_rank(name)
        if self.source.channels_last:
            first = rank - len(self.graph.window)
            order = (0, *range(first, rank), *range(1, first))
            value = self._emit("Transpose", [self._value(name)], {"perm": order})
        else:
            value = self._emit("Identity", [self._value(name)])
        value.name = original.name
        value.type = original.type
        value.shape = ir.Shape([None] * rank)
        return value

    def _answer_rank(self, name: str) -> int:
        node = next(n for n in self.graph.nodes if name in n.outputs)
        dimensions = len(self.graph.window)
        if isinstance(node.operation, FoldWindows | SplitChannels):
            return 1 + dimensions + len(node.operation.shape)
        return 2 + dimensions

    def _call_it(self, results: ir.Value | Sequence[ir.Value], node: Node) -> None:
        results = [results] if isinstance(results, ir.Value) else results
        for name, result in zip(node.outputs, results, strict=False):
            self.values[name] = result
            if result.name is None or result.name.startswith("fullconv/"):
                # The model's outputs keep their names; what led to them takes another.
                result.name = self._unique(name) if name in self.reserved else name

    def operation(self, operation: Operation, node: Node) -> Results:
        """Write one operation; what has no method of its own is cloned from its source."""
        method = writes.find(type(operation))
        return self._clone(node) if method is None else method(self, operation, node)
