"""Write a lifted network as an ONNX model under the original names."""

from __future__ import annotations

import onnx_ir as ir

from fullconv.frameworks.onnx.channels import AXES_KEY
from fullconv.frameworks.onnx.read import Source
from fullconv.frameworks.onnx.values import Results, writes
from fullconv.frameworks.onnx.write_blocks import Blocks
from fullconv.frameworks.onnx.write_layers import Layers
from fullconv.frameworks.onnx.write_maps import Maps
from fullconv.frameworks.onnx.write_sliding import Statistics
from fullconv.frameworks.orders import to_map_order
from fullconv.geometry import Grid
from fullconv.graph import Alone, Graph, Node
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
            self._bind(self.operation(node.operation, node), node)
        outputs: dict[str | None, ir.Value] = {}
        for name, value in zip(self.graph.outputs, original.outputs, strict=True):
            if value.name not in outputs:
                outputs[value.name] = self._output(name, value)
        graph = ir.Graph(
            [image],
            [outputs[value.name] for value in original.outputs],
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

    @writes(Alone)
    def write_alone(self, operation: Alone, node: Node) -> Results:
        """Write a piece of the classifier as a Scan over the windows."""
        outer, held = self.nodes, dict(self.values)
        inputs = self._inputs(node)
        self.nodes = []
        windows = []
        for name, one, value in zip(operation.inputs, operation.each, inputs, strict=True):
            if one:
                windows.append(self._native(name))
            self.values[name] = windows[-1] if one else value  # type: ignore[assignment]
        for part in operation.nodes:
            self._bind(self.operation(part.operation, part), part, inside=True)
        results = []
        for name in operation.outputs:
            results.append(self._emit("Identity", [self.values[name]]))
            results[-1].type, results[-1].shape = self._kind(name)
        body = ir.Graph(windows, results, nodes=self.nodes, name=self._unique("fullconv/window"))
        self.nodes, self.values = outer, held
        apart = [v for v, one in zip(inputs, operation.each, strict=True) if one]
        scan = ir.node(
            "Scan",
            apart,
            {"body": body, "num_scan_inputs": len(apart)},
            num_outputs=len(results),
            name=self._unique("fullconv/each_window"),
        )
        self.nodes.append(scan)
        for result in scan.outputs:
            result.name = self._unique("fullconv/Scan")
        return scan.outputs

    def _native(self, name: str) -> ir.Value:
        """Return the input of a piece: a value of one window."""
        kind, shape = self._kind(name)
        return ir.Value(name=self._unique("fullconv/one"), type=kind, shape=shape)

    def _kind(self, name: str) -> tuple[ir.TensorType | None, ir.Shape]:
        """Return the type and shape of a native value."""
        dtype = self.source.types.get(name)
        shape = ir.Shape(self.source.graph.shapes[name])
        return None if dtype is None else ir.TensorType(dtype), shape

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

    def _bind(self, results: Results, node: Node, *, inside: bool = False) -> None:
        """Hold what a node gives; ``inside`` a piece, names of the original are others' already."""
        results = [results] if isinstance(results, ir.Value) else results
        for name, result in zip(node.outputs, results, strict=True):
            self.values[name] = result
            if result.name is None or result.name.startswith("fullconv/"):
                # The model's outputs keep their names; what led to them takes another.
                taken = inside or name in self.reserved
                result.name = self._unique(name) if taken else name

    def operation(self, operation: Operation, node: Node) -> Results:
        """Write one operation; what has no method of its own is cloned from its source."""
        method = writes.find(type(operation))
        return self._clone(node) if method is None else method(self, operation, node)
