"""Write a lifted network as an ONNX model under the original names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod
from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.doubling import around, doublings
from fullconv.errors import ModelError
from fullconv.frameworks.onnx.channels import TO_MAP
from fullconv.frameworks.onnx.read import Call, Source
from fullconv.geometry import Grid, Pair
from fullconv.graph import Graph, Node, Recipe
from fullconv.operations import (
    AlongAxis,
    Assemble,
    Cells,
    ChannelNormalization,
    Combine,
    Concat,
    Convolution,
    DivideCells,
    FoldWindows,
    Gathered,
    GroupNormalization,
    Identity,
    Keep,
    LayOut,
    Operation,
    Own,
    Pad,
    Permute,
    Pool,
    Power,
    Reduce,
    Regroup,
    Reshape,
    Running,
    Slice,
    SlidingNormalization,
    SlidingTotal,
    SplitChannels,
    Stretch,
    TakeChannels,
    TransposedConvolution,
    Upsample,
)

Segment = Own | Gathered | Running

GROUPS_OF_CHANNELS = 21
"""The operator set since which GroupNormalization has a scale and a bias per channel."""

MODES = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


def write(graph: Graph, source: Source, grid: Grid) -> ir.Model:
    """Return a model from images ``(N, C, H, W)`` to scores ``(N, K, rows, columns)``.

    Where the source takes its channels last, from ``(N, H, W, C)`` to ``(N, rows, columns, K)``.
    Height, width and batch are free. Nodes and initializers keep their names where they live on.
    """
    return Writer(graph, source, grid).write()


class Writer:
    """The state of one writing."""

    def __init__(self, graph: Graph, source: Source, grid: Grid) -> None:
        self.graph, self.source, self.grid = graph, source, grid
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self.values: dict[str, ir.Value] = {}
        self.settings: dict[str, ir.Value] = {}
        self.written: set[str] = set()
        self.node_names = {node.name for node in source.model.graph if node.name}
        self.reserved = {v.name for v in source.model.graph.outputs}
        written = {name for node in graph.nodes for name in node.outputs}
        self.names = {*source.graph.shapes, *source.graph.constants, *written, *graph.constants}
        self.opset = source.model.opset_imports.get("", 13)
        self._counts: tuple[ir.Value, ir.Value] | None = None
        self._taken: dict[tuple[Any, ...], ir.Value] = {}

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
        return model

    def _image(self, original: ir.Graph) -> ir.Value:
        """Return the model's input, and hold the map that it is or becomes."""
        (old,) = (v for v in original.inputs if v.name not in original.initializers)
        channels = self.source.graph.shapes[self.graph.image][1]
        last = self.source.channels_last
        image = ir.Value(
            name=old.name,
            type=ir.TensorType(old.dtype or ir.DataType.FLOAT),
            shape=ir.Shape(
                ["batch", "height", "width", channels]
                if last
                else ["batch", channels, "height", "width"]
            ),
        )
        self.values[self.graph.image] = image
        if last:
            # See Note [Channels last]. One tensor per window may ask for the image's name, too.
            self.reserved.add(old.name)
            turned = self._emit("Transpose", [image], {"perm": TO_MAP})
            turned.type = image.type
            self.values[self.graph.image] = turned
        return image

    def _output(self, name: str, original: ir.Value) -> ir.Value:
        rank = self._answer_rank(name)
        if self.source.channels_last:
            order = (0, rank - 2, rank - 1, *range(1, rank - 2))
            value = self._emit("Transpose", [self._value(name)], {"perm": order})
        else:
            value = self._emit("Identity", [self._value(name)])
        value.name = original.name
        value.type = original.type
        value.shape = ir.Shape([None] * rank)
        return value

    def _answer_rank(self, name: str) -> int:
        node = next(n for n in self.graph.nodes if name in n.outputs)
        if isinstance(node.operation, FoldWindows | SplitChannels):
            return 3 + len(node.operation.shape)
        return 4

    def _call_it(self, results: ir.Value | Sequence[ir.Value], node: Node) -> None:
        results = [results] if isinstance(results, ir.Value) else results
        for name, result in zip(node.outputs, results, strict=False):
            self.values[name] = result
            if result.name is None or result.name.startswith("fullconv/"):
                # The model's outputs keep their names; what led to them takes another.
                result.name = self._unique(name) if name in self.reserved else name

    @singledispatchmethod
    def operation(self, operation: Operation, node: Node) -> ir.Value | Sequence[ir.Value]:
        """Write one operation; what has no method of its own is cloned from its source."""
        return self._clone(node)

    # Values.

    def _value(self, name: str | None) -> ir.Value | None:
        if name is None:
            return None
        if name not in self.values:
            recipe = self.graph.constants[name]
            held = self.source.model.graph.initializers.get(recipe.source)
            if held is not None and recipe == Recipe(recipe.source, recipe.shape):
                # As it was: the tensor itself, which may still lie in its file.
                self.values[name] = self._register(name, held.const_value)
            else:
                array = recipe.apply(self._array(recipe.source))
                self.values[name] = self._initializer(name, array)
        return self.values[name]

    def _array(self, name: str) -> Any:
        if name in self.source.constants:
            return self.source.constants[name]
        value = self.source.model.graph.initializers[name].const_value
        assert value is not None
        return value.numpy()

    def _initializer(self, name: str, array: Any) -> ir.Value:
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        return self._register(name, ir.Tensor(array, name=name))

    def _register(self, name: str, tensor: Any) -> ir.Value:
        shape, kind = ir.Shape(tensor.shape), ir.TensorType(tensor.dtype)
        value = ir.Value(name=name, type=kind, shape=shape, const_value=tensor)
        self.initializers[name] = value
        return value

    def _numbers(self, *numbers: int) -> ir.Value:
        """Return a constant vector of integers."""
        if len(numbers) > 8:
            return self._initializer(self._unique("fullconv/numbers"), np.array(numbers))
        name = "fullconv/" + "_".join(map(str, numbers))
        held = self.initializers.get(name)
        return held or self._initializer(name, np.array(numbers, dtype=np.int64))

    def _unique(self, base: str) -> str:
        number = 1
        while f"{base}_{number}" in self.names:
            number += 1
        name = f"{base}_{number}"
        self.names.add(name)
        return name

    def _emit(
        self,
        kind: str,
        inputs: Sequence[ir.Value | None],
        attributes: dict[str, Any] | None = None,
        name: str | None = None,
    ) -> ir.Value:
        result = self._unique(f"fullconv/{kind}")
        # Without a name a node would be given one that an exporter may have used already.
        node = ir.node(kind, inputs, attributes or {}, name=self._node_name(name) or result)
        self.nodes.append(node)
        node.outputs[0].name = result
        return node.outputs[0]

    def _node_name(self, name: str | None) -> str | None:
        """Return a node's own name once, and numbered names for what else it became."""
        if not name:
            return None
        free, number = name, 1
        while free in self.written or (number > 1 and free in self.node_names):
            number += 1
            free = f"{name}_{number}"
        self.written.add(free)
        return free

    def _inputs(self, node: Node) -> list[ir.Value | None]:
        return [self._value(name) for name in node.inputs]

    def _first(self, node: Node) -> ir.Value | None:
        return self._value(node.inputs[0])

    def _clone(
        self, node: Node, attributes: dict[str, Any] | None = None
    ) -> ir.Value | Sequence[ir.Value]:
        """Repeat the original node on other values, with some attributes changed."""
        call = node.source
        if not isinstance(call, Call):
            raise ModelError(f"convert: no way to write {node.operation!r} as ONNX.")
        given = dict(zip(call.slots, node.inputs, strict=True))
        inputs = [
            self._value(given[slot]) if slot in given else self._own(value)
            for slot, value in enumerate(call.node.inputs)
        ]
        changed = ir.convenience.convert_attributes(attributes or {})
        kept = [a for a in call.node.attributes.values() if a.name not in (attributes or {})]
        clone = ir.Node(
            call.node.domain,
            call.node.op_type,
            inputs,
            [*kept, *changed],
            num_outputs=len(call.node.outputs),
            name=self._node_name(call.node.name) or self._unique("fullconv/node"),
        )
        self.nodes.append(clone)
        return clone.outputs

    def _own(self, value: ir.Value | None) -> ir.Value | None:
        """Return an input that is not the vocabulary's: a setting, or a folded size."""
        if value is None or value.name is None:
            return None
        if value.name in self.source.per_batch:
            return self._grown(value.name)
        return self._setting(value.name)

    def _setting(self, name: str) -> ir.Value:
        """Return a constant of the original as it was, whatever became of it elsewhere."""
        if name not in self.settings:
            taken = name in self.graph.constants
            free = self._unique(name) if taken else name
            self.settings[name] = self._initializer(free, self._array(name))
        return self.settings[name]

    def _grown(self, name: str) -> ir.Value:
        """Compute a size that grows with the number of windows."""
        per_image = self.source.per_batch[name]
        base = self.source.constants[name] - self.source.graph.batch * per_image
        images = self._emit("Shape", [self.values[self.graph.image]], {"start": 0, "end": 1})
        rows, columns = self._count()
        shape = self._emit("Mul", [images, self._emit("Mul", [rows, columns])])
        fixed = self._initializer(f"{name}/fixed", base)
        slope = self._initializer(f"{name}/per_window", per_image)
        if base.ndim == 0:
            shape = self._emit("Squeeze", [shape])
        return self._emit("Add", [self._emit("Mul", [shape, slope]), fixed])

    # Sizes of the image.

    def _count(self) -> tuple[ir.Value, ir.Value]:
        """Rows and columns of windows, as vectors of one number; computed once."""
        if self._counts is None:
            image = self.values[self.graph.image]
            counts = []
            for axis in (0, 1):
                size = self._emit("Shape", [image], {"start": 2 + axis, "end": 3 + axis})
                room = self._emit("Sub", [size, self._numbers(self.grid.window[axis])])
                steps = self._emit("Div", [room, self._numbers(self.grid.step[axis])])
                counts.append(self._emit("Add", [steps, self._numbers(1)]))
            self._counts = counts[0], counts[1]
        return self._counts

    def _needed(self, axis: int, stride: int, span: int) -> ir.Value:
        last = self._emit("Sub", [self._count()[axis], self._numbers(1)])
        scaled = self._emit("Mul", [last, self._numbers(stride)])
        return self._emit("Add", [scaled, self._numbers(span)])

    # One method per operation that is not a clone of its source.

    @operation.register
    def _(self, operation: Identity, node: Node) -> ir.Value:
        return self._emit("Identity", [self._first(node)], name=node.name)

    @operation.register
    def _(self, operation: Convolution, node: Node) -> ir.Value:
        (top, bottom), (left, right) = operation.padding
        attributes = {
            "kernel_shape": operation.kernel,
            "strides": operation.stride,
            "dilations": operation.dilation,
            "pads": (top, left, bottom, right),
            "group": operation.groups,
        }
        return self._emit("Conv", _trim(self._inputs(node)), attributes, node.name)

    @operation.register
    def _(self, operation: TransposedConvolution, node: Node) -> ir.Value:
        (top, bottom), (left, right) = operation.padding
        attributes = {
            "kernel_shape": operation.kernel,
            "strides": operation.stride,
            "dilations": operation.dilation,
            "pads": (top, left, bottom, right),
            "group": operation.groups,
            "output_padding": operation.output_padding,
        }
        return self._emit("ConvTranspose", _trim(self._inputs(node)), attributes, node.name)

    @operation.register
    def _(self, operation: Upsample, node: Node) -> ir.Value:
        name = self._unique("fullconv/factor")
        scales = self._initializer(name, np.array([1, 1, *operation.factor], np.float32))
        attributes = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
        return self._emit("Resize", [self._first(node), None, scales], attributes, node.name)

    @operation.register
    def _(self, operation: Pool, node: Node) -> ir.Value:
        x = self._first(node)
        if operation.kind == "sum" or (
            operation.kind == "average" and operation.dilation != (1, 1)
        ):
            return self._sum(operation, x, node.name)
        (top, bottom), (left, right) = operation.padding
        attributes: dict[str, Any] = {
            "kernel_shape": operation.kernel,
            "strides": operation.stride,
            "pads": (top, left, bottom, right),
            "ceil_mode": int(any(operation.overhang)),
        }
        if operation.kind == "max":
            attributes["dilations"] = operation.dilation
            if _pads_with_numbers(x):
                # ONNX Runtime moves a Pad of zeros into the MaxPool behind it, which then pads
                # with minus infinity (seen in 1.31); something between the two keeps them apart.
                x = self._emit("Max", [x, x])
            return self._emit("MaxPool", [x], attributes, node.name)
        attributes["count_include_pad"] = int(operation.count_include_pad)
        return self._emit("AveragePool", [x], attributes, node.name)

    def _sum(self, operation: Pool, x: ir.Value | None, name: str) -> ir.Value:
        dtype = self._dtype()
        ones = np.ones((operation.channels, 1, *operation.kernel), dtype=dtype)
        weight = self._initializer(self._unique("fullconv/ones"), ones)
        attributes = {
            "kernel_shape": operation.kernel,
            "strides": operation.stride,
            "dilations": operation.dilation,
            "group": operation.channels,
        }
        total = self._emit("Conv", [x, weight], attributes, name)
        if operation.kind == "sum":
            return total
        cells = operation.divisor or operation.kernel[0] * operation.kernel[1]
        divisor = self._initializer(self._unique("fullconv/cells"), np.array(cells, dtype=dtype))
        return self._emit("Div", [total, divisor])

    def _dtype(self) -> Any:
        kind = self.values[self.graph.image].dtype
        # Images of whole numbers are made float by the model's own Cast.
        if kind is None or not kind.is_floating_point():
            kind = ir.DataType.FLOAT
        return kind.numpy()

    @operation.register
    def _(self, operation: AlongAxis, node: Node) -> ir.Value | Sequence[ir.Value]:
        if operation.name == "LRN":
            return self._clone(node)
        return self._clone(node, {"axis": operation.axis})

    @operation.register
    def _(self, operation: GroupNormalization, node: Node) -> ir.Value | Sequence[ir.Value]:
        kind = node.source.node.op_type if isinstance(node.source, Call) else ""
        if kind != "GroupNormalization" or self.opset >= GROUPS_OF_CHANNELS:
            return self._clone(node)
        # ONNX refuses the older one as deprecated; its groups are channels of another map.
        x, scale, bias = self._inputs(node)
        wide = self._emit("Reshape", [x, self._numbers(0, operation.groups, -1)])
        settings = {"epsilon": operation.epsilon}
        normal = self._emit("InstanceNormalization", [wide, scale, bias], settings, node.name)
        return self._emit("Reshape", [normal, self._emit("Shape", [x])])

    @operation.register
    def _(self, operation: ChannelNormalization, node: Node) -> ir.Value:
        x, scale, bias = self._inputs(node)
        last = self._emit("Transpose", [x], {"perm": (0, 2, 3, 1)})
        attributes = {"axis": -1, "epsilon": operation.epsilon}
        normal = self._emit("LayerNormalization", _trim([last, scale, bias]), attributes, node.name)
        return self._emit("Transpose", [normal], {"perm": (0, 3, 1, 2)})

    @operation.register
    def _(self, operation: Reduce, node: Node) -> ir.Value:
        kind = {"l2": "ReduceL2"}.get(operation.kind, f"Reduce{operation.kind.capitalize()}")
        keepdims = {"keepdims": int(operation.keepdims)}
        if self.opset >= 18 or kind == "ReduceSum":
            inputs = [self._first(node), self._numbers(*operation.axes)]
            return self._emit(kind, inputs, keepdims, node.name)
        return self._emit(
            kind, [self._first(node)], {"axes": operation.axes, **keepdims}, node.name
        )

    @operation.register
    def _(self, operation: Concat, node: Node) -> ir.Value:
        return self._emit("Concat", self._inputs(node), {"axis": operation.axis}, node.name or None)

    @operation.register
    def _(self, operation: Slice, node: Node) -> ir.Value:
        numbers = (operation.start, operation.stop, operation.axis, operation.step)
        return self._emit("Slice", [self._first(node), *(self._numbers(n) for n in numbers)])

    @operation.register
    def _(self, operation: Pad, node: Node) -> ir.Value:
        pads = (*(a for a, _ in operation.pads), *(b for _, b in operation.pads))
        value = np.array(operation.value, dtype=self._dtype())
        inputs = [self._first(node), self._numbers(*pads)]
        if operation.mode == "constant":
            inputs.append(self._initializer(self._unique("fullconv/padding"), value))
        return self._emit("Pad", inputs, {"mode": MODES[operation.mode]}, node.name or None)

    @operation.register
    def _(self, operation: Reshape, node: Node) -> ir.Value:
        shape = self._numbers(*operation.shape)
        return self._emit("Reshape", [self._first(node), shape], name=node.name)

    @operation.register
    def _(self, operation: Permute, node: Node) -> ir.Value:
        return self._emit("Transpose", [self._first(node)], {"perm": operation.order}, node.name)

    # What lifting adds.

    @operation.register
    def _(self, operation: Combine, node: Node) -> ir.Value:
        return self._emit("Add" if operation.kind == "sum" else "Max", self._inputs(node))

    @operation.register
    def _(self, operation: DivideCells, node: Node) -> ir.Value:
        numbers = np.outer(operation.rows, operation.columns).astype(self._dtype())
        divisor = self._initializer(self._unique("fullconv/cells"), numbers)
        return self._emit("Div", [self._first(node), divisor])

    @operation.register
    def _(self, operation: TakeChannels, node: Node) -> ir.Value:
        index = self._numbers(*operation.indices)
        return self._emit("Gather", [self._first(node), index], {"axis": 1})

    @operation.register
    def _(self, operation: Cells, node: Node) -> ir.Value:
        end = self._numbers(*(-n or np.iinfo(np.int64).max for n in operation.after))
        inputs = [
            self._first(node),
            self._numbers(*operation.before),
            end,
            self._numbers(2, 3),
            self._numbers(*operation.stride),
        ]
        return self._emit("Slice", inputs)

    @operation.register
    def _(self, operation: Keep, node: Node) -> ir.Value:
        kept = [(i, k) for i, k in enumerate((operation.rows, operation.columns)) if k is not None]
        ends = [self._needed(i, *k) for i, k in kept]
        end = self._emit("Concat", ends, {"axis": 0}) if len(ends) > 1 else ends[0]
        starts, axes = self._numbers(*(0 for _ in kept)), self._numbers(*(2 + i for i, _ in kept))
        return self._emit("Slice", [self._first(node), starts, end, axes])

    @operation.register
    def _(self, operation: Assemble, node: Node) -> ir.Value:
        parts, bands = iter(node.inputs), []
        for row in operation.rows:
            line = []
            for column in operation.columns:
                x = self._value(next(parts))
                assert x is not None
                line.append(self._part(x, row, column, operation.channels))
            bands.append(self._emit("Concat", line, {"axis": 3}) if len(line) > 1 else line[0])
        return self._emit("Concat", bands, {"axis": 2}) if len(bands) > 1 else bands[0]

    def _part(self, x: ir.Value, row: Segment, column: Segment, channels: int) -> ir.Value:
        """Take what a block takes of one part; what is gathered comes first, and is small."""
        if isinstance(column, Gathered) and not isinstance(row, Gathered):
            x = self._take(x, 1, column, channels)
            return self._take(x, 0, row, channels)
        x = self._take(x, 0, row, channels, other=isinstance(column, Own))
        return self._take(x, 1, column, channels)

    def _take(
        self,
        x: ir.Value,
        axis: int,
        segment: Segment,
        channels: int,
        *,
        other: bool = False,
    ) -> ir.Value:
        """Take cells along one axis; ``other``: the windows of the columns are entries already.

        The same cells of the same map are taken once: blocks for neighbouring parts share them.
        """
        key = x, axis, segment, other
        if key not in self._taken:
            if isinstance(segment, Gathered):
                self._taken[key] = self._gather(x, axis, segment, channels, other)
            else:
                self._taken[key] = self._slice(x, axis, segment)
        return self._taken[key]

    def _slice(self, x: ir.Value, axis: int, segment: Own | Running) -> ir.Value:
        place = self._numbers(2 + axis)
        if isinstance(segment, Running):
            before, after = segment.skip
            if not before and not after:
                return x
            end = self._numbers(-after or np.iinfo(np.int64).max)
            return self._emit("Slice", [x, self._numbers(before), end, place])
        first, last = segment.cells[0], segment.cells[-1]
        if segment.cells != tuple(range(first, last + 1)):
            return self._emit("Gather", [x, self._numbers(*segment.cells)], {"axis": 2 + axis})
        if len(segment.cells) == segment.of:
            return x
        return self._emit("Slice", [x, self._numbers(first), self._numbers(last + 1), place])

    def _gather(
        self, x: ir.Value, axis: int, segment: Gathered, channels: int, other: bool
    ) -> ir.Value:
        """Gather cells for every window, and make the windows entries of the batch."""
        index = self._window_index(axis, segment)
        cells = len(segment.cells)
        if axis == 1:
            # (B, C, Y, X) -> (B, C, Y, columns, ax) -> (B, columns, C, Y, ax)
            x_ = self._emit("Gather", [x, index], {"axis": 3})
            x_ = self._emit("Transpose", [x_], {"perm": (0, 3, 1, 2, 4)})
            rows = self._emit("Shape", [x], {"start": 2, "end": 3})
            sizes = [self._numbers(-1, channels), rows, self._numbers(cells)]
        elif not other:
            # (N, C, Y, X) -> (N, C, rows, ay, X) -> (N, rows, C, ay, X)
            x_ = self._emit("Gather", [x, index], {"axis": 2})
            x_ = self._emit("Transpose", [x_], {"perm": (0, 2, 1, 3, 4)})
            columns = self._emit("Shape", [x], {"start": 3, "end": 4})
            sizes = [self._numbers(-1, channels, cells), columns]
        else:
            # (N * columns, C, Y, X) -> (N, columns, C, rows, ay, X) -> (N, rows, columns, C, ay, X)
            x_ = self._emit("Reshape", [x, self._unfolded(x, (False, True))])
            x_ = self._emit("Gather", [x_, index], {"axis": 4})
            x_ = self._emit("Squeeze", [x_, self._numbers(1)])
            x_ = self._emit("Transpose", [x_], {"perm": (0, 3, 1, 2, 4, 5)})
            columns = self._emit("Shape", [x], {"start": 3, "end": 4})
            sizes = [self._numbers(-1, channels, cells), columns]
        return self._emit("Reshape", [x_, self._emit("Concat", sizes, {"axis": 0})])

    def _unfolded(self, x: ir.Value, private: tuple[bool, bool]) -> ir.Value:
        """Return the shape ``(N, rows or 1, columns or 1, C, Y, X)`` of a stored map."""
        images = self._emit("Shape", [self.values[self.graph.image]], {"start": 0, "end": 1})
        counts = [
            count if one else self._numbers(1)
            for count, one in zip(self._count(), private, strict=True)
        ]
        rest = self._emit("Shape", [x], {"start": 1, "end": 4})
        return self._emit("Concat", [images, *counts, rest], {"axis": 0})

    def _window_index(self, axis: int, segment: Gathered) -> ir.Value:
        """Return ``(windows, cells)``: the stored cells of each window along one axis."""
        key = axis, segment
        if key not in self._taken:
            scalars = [self._integer(n) for n in (0, 1)]
            count = self._emit("Squeeze", [self._count()[axis], self._numbers(0)])
            starts = self._emit("Range", [scalars[0], count, scalars[1]])
            starts = self._emit("Mul", [starts, self._numbers(segment.stride)])
            column = self._emit("Unsqueeze", [starts, self._numbers(1)])
            self._taken[key] = self._emit("Add", [column, self._numbers(*segment.cells)])
        return self._taken[key]

    @operation.register
    def _(self, operation: LayOut, node: Node) -> ir.Value:
        x = self._first(node)
        assert x is not None
        wide = self._emit("Reshape", [x, self._unfolded(x, operation.private)])
        order = list(range(6))
        for axis in (1, 2):
            if operation.axes[axis - 1]:
                order[axis], order[3 + axis] = order[3 + axis], order[axis]
        turned = self._emit("Transpose", [wide], {"perm": order})
        rest = self._emit("Shape", [turned], {"start": 3, "end": 6})
        shape = self._emit("Concat", [self._numbers(-1), rest], {"axis": 0})
        return self._emit("Reshape", [turned, shape])

    @operation.register
    def _(self, operation: Regroup, node: Node) -> ir.Value:
        x = self._emit("Reshape", [self._first(node), self._numbers(*operation.split)])
        x = self._emit("Transpose", [x], {"perm": operation.order})
        return self._emit("Reshape", [x, self._numbers(*operation.shape)])

    @operation.register
    def _(self, operation: FoldWindows, node: Node) -> ir.Value:
        images = self._emit("Shape", [self.values[self.graph.image]], {"start": 0, "end": 1})
        sizes = [images, *self._count()]
        if operation.shape:
            sizes.append(self._numbers(*operation.shape))
        shape = self._emit("Concat", sizes, {"axis": 0})
        x = self._emit("Reshape", [self._first(node), shape])
        order = (0, *range(3, 3 + len(operation.shape)), 1, 2)
        return self._emit("Transpose", [x], {"perm": order})

    @operation.register
    def _(self, operation: SplitChannels, node: Node) -> ir.Value:
        x = self._first(node)
        if not operation.shape:
            return self._emit("Squeeze", [x, self._numbers(1)])
        images = self._emit("Shape", [x], {"start": 0, "end": 1})
        cells = self._emit("Shape", [x], {"start": 2, "end": 4})
        sizes = [images, self._numbers(*operation.shape), cells]
        return self._emit("Reshape", [x, self._emit("Concat", sizes, {"axis": 0})])

    @operation.register
    def _(self, operation: Power, node: Node) -> ir.Value:
        x = self._first(node)
        return self._emit("Mul", [x, x]) if operation.kind == "square" else self._emit("Sqrt", [x])

    @operation.register
    def _(self, operation: SlidingTotal, node: Node) -> ir.Value:
        merge = "Add" if operation.kind == "sum" else "Max"
        x = self._first(node)
        assert x is not None
        for axis, (cells, distance) in enumerate(
            zip(operation.kernel, operation.dilation, strict=True)
        ):
            total = x
            for held, more in doublings(cells):
                other = total if more == held else x
                pair = self._neighbours(total, other, axis, distance * held, distance * more)
                total = self._emit(merge, pair)
            x = total
        return x

    def _neighbours(
        self, first: ir.Value, second: ir.Value, axis: int, held: int, more: int
    ) -> tuple[ir.Value, ir.Value]:
        """Pair totals over ``held`` cells with those over ``more`` that begin ``held`` on."""
        place, end = self._numbers(2 + axis), self._numbers(np.iinfo(np.int64).max)
        return (
            self._emit("Slice", [first, self._numbers(0), self._numbers(-more), place]),
            self._emit("Slice", [second, self._numbers(held), end, place]),
        )

    @operation.register
    def _(self, operation: SlidingNormalization, node: Node) -> ir.Value:
        x, scale, bias = (*self._inputs(node), None, None)[:3]
        assert x is not None
        # (N, groups, channels of each, Y, X)
        shape = self._emit("Shape", [x])
        ends = [self._emit("Slice", [shape, *map(self._numbers, cut)]) for cut in ((0, 1), (2, 4))]
        sizes = [ends[0], self._numbers(operation.groups, -1), ends[1]]
        wide = self._emit("Reshape", [x, self._emit("Concat", sizes, {"axis": 0})])
        mean, variance = self._moments(wide, operation.kernel, operation.dilation)
        epsilon = self._scalar(operation.epsilon)
        spread = self._emit("Sqrt", [self._emit("Add", [variance, epsilon])])
        wide = self._emit("Div", [self._emit("Sub", [wide, mean]), spread])
        for kind, parameter in (("Mul", scale), ("Add", bias)):
            if parameter is not None:
                each = self._numbers(operation.groups, -1, 1, 1)
                wide = self._emit(kind, [wide, self._emit("Reshape", [parameter, each])])
        return self._emit("Reshape", [wide, shape], name=node.name)

    def _moments(self, wide: ir.Value, kernel: Pair, dilation: Pair) -> list[ir.Value]:
        """Return mean and variance around every cell, ``(N, groups, 1, Y, X)`` each."""
        mean = self._mean(wide, 2)
        apart = self._emit("Sub", [wide, mean])
        variance = self._mean(self._emit("Mul", [apart, apart]), 2)
        for axis, (cells, distance) in enumerate(zip(kernel, dilation, strict=True)):
            single = total = (mean, variance)
            for held, more in doublings(cells):
                other = total if more == held else single
                means, variances = (
                    self._neighbours(a, b, 1 + axis, distance * held, distance * more)
                    for a, b in zip(total, other, strict=True)
                )
                total = self._merged(means, variances, more / (held + more))
            mean, variance = total
        border = [around(*axis) for axis in zip(kernel, dilation, strict=True)]
        return [self._stretched(x, 3, border, dilation) for x in (mean, variance)]

    def _merged(
        self, means: Sequence[ir.Value], variances: Sequence[ir.Value], share: float
    ) -> tuple[ir.Value, ir.Value]:
        """Merge the means and variances of two sets, of which the second holds this share."""

        def between(a: ir.Value, difference: ir.Value) -> ir.Value:
            return self._emit("Add", [a, self._emit("Mul", [difference, self._scalar(share)])])

        apart = self._emit("Sub", [means[1], means[0]])
        variance = between(variances[0], self._emit("Sub", [variances[1], variances[0]]))
        square = self._emit("Mul", [apart, apart])
        scaled = self._emit("Mul", [square, self._scalar(share * (1 - share))])
        return between(means[0], apart), self._emit("Add", [variance, scaled])

    def _mean(self, x: ir.Value, axis: int) -> ir.Value:
        if self.opset >= 18:
            return self._emit("ReduceMean", [x, self._numbers(axis)])
        return self._emit("ReduceMean", [x], {"axes": [axis]})

    def _scalar(self, number: float) -> ir.Value:
        array = np.array(number, dtype=self._dtype())
        return self._initializer(self._unique("fullconv/number"), array)

    @operation.register
    def _(self, operation: Stretch, node: Node) -> ir.Value:
        x = self._first(node)
        assert x is not None
        return self._stretched(x, 2, operation.padding, operation.dilation)

    def _stretched(
        self, x: ir.Value, first: int, padding: Sequence[Pair], dilation: Pair
    ) -> ir.Value:
        """Repeat the border cells of the two axes from ``first`` on; see `Stretch`."""
        if dilation == (1, 1):
            (top, bottom), (left, right) = padding
            none = [0] * first
            pads = self._numbers(*none, top, left, *none, bottom, right)
            return self._emit("Pad", [x, pads], {"mode": "edge"})
        zero, one = self._integer(0), self._integer(1)
        for axis, ((before, after), distance) in enumerate(zip(padding, dilation, strict=True)):
            place = {"start": first + axis, "end": first + axis + 1}
            length = self._emit("Squeeze", [self._emit("Shape", [x], place), self._numbers(0)])
            end = self._emit("Add", [length, self._integer(after)])
            at = self._emit("Range", [self._integer(-before), end, one])
            last, each = self._emit("Sub", [length, one]), self._integer(distance)
            low = self._emit("Mod", [at, each])
            at = self._emit("Where", [self._emit("Less", [at, zero]), low, at])
            beyond = self._emit("Mod", [self._emit("Sub", [last, at]), each])
            high = self._emit("Sub", [last, beyond])
            at = self._emit("Where", [self._emit("Greater", [at, last]), high, at])
            at = self._emit("Min", [self._emit("Max", [at, zero]), last])
            x = self._emit("Gather", [x, at], {"axis": first + axis})
        return x

    def _integer(self, number: int) -> ir.Value:
        return self._initializer(self._unique("fullconv/number"), np.array(number, dtype=np.int64))


def _pads_with_numbers(x: ir.Value | None) -> bool:
    """Whether a value comes from a Pad of anything but minus infinity."""
    node = x.producer() if x is not None else None
    if node is None or node.op_type != "Pad":
        return False
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None or value.const_value is None:
        return True
    return not np.isneginf(value.const_value.numpy()).all()


def _trim(inputs: list[ir.Value | None]) -> list[ir.Value | None]:
    """Leave out missing inputs at the end."""
    while inputs and inputs[-1] is None:
        inputs.pop()
    return inputs
