"""One tensor per window: what has no sharing rule runs as it is, at its native size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fullconv.graph import Graph, Node, batch_times
from fullconv.layout import Atom, Kind, Layout, LayoutError, features, order, sizes
from fullconv.lift.blocks import Blocks
from fullconv.lift.emitter import Emitter
from fullconv.lift.field import Field, Joined, Lift, PerWindow
from fullconv.operations import Concat, Permute, Reduce, Regroup, Reshape


class Windows:
    """Gathering values into one tensor per window, and running operations on them.

    Attributes
    ----------
    values : dict of str to Lift
        What each value of the classifier has become; those that are gathered are changed.
    """

    def __init__(
        self, graph: Graph, out: Emitter, blocks: Blocks, values: dict[str, Lift]
    ) -> None:
        self.graph, self.out, self.blocks, self.values = graph, out, blocks, values

    def run(self, node: Node) -> None:
        """Write a node as it is, on one tensor per window."""
        # Gathered first: what depends on the number of windows needs a tensor that has it.
        gathered = {name: self.gather(name) for name in node.inputs if name in self.values}
        layout = next(iter(gathered.values())).layout
        inputs: list[str | None] = []
        for name in node.inputs:
            if name in gathered:
                inputs.append(gathered[name].value)
            elif name is None or batch_times(name):
                inputs.append(name)
            else:
                inputs.append(self.out.parameter_value(name))
        operation = node.operation
        results = [self._layout_after(node, index, layout) for index in range(len(node.outputs))]
        if isinstance(operation, Reshape):
            operation = _with_free_batch(operation, results[0])
        self.out.written.nodes.append(
            replace(node, operation=operation, inputs=tuple(inputs), per_window=True)
        )
        for output, result in zip(node.outputs, results, strict=True):
            self.values[output] = PerWindow(output, result)

    def gather(self, name: str) -> PerWindow:
        """Return a value as one tensor per window, in its native layout."""
        value = self.values[name]
        if isinstance(value, Field):
            value = self._gather_field(value)
        elif isinstance(value, Joined):
            parts = [self._gather_field(part) for part in value.fields]
            result = self.out.unique(name)
            joined = Node(
                Concat(value.axis), tuple(p.value for p in parts), (result,), "", per_window=True
            )
            self.out.written.nodes.append(joined)
            total = sum(part.layout.shape[value.axis] for part in parts)
            value = PerWindow(result, parts[0].layout.with_axis(value.axis, features(total)))
        self.values[name] = value
        return value

    def _gather_field(self, x: Field) -> PerWindow:
        (taken,) = self.blocks.gathered(x).parts.values()
        held = [atom for axis in x.layout.axes for atom in axis]
        batch = next(atom for atom in held if atom.kind is Kind.BATCH)
        spatial = sorted((a for a in held if a.spatial), key=lambda atom: atom.key)
        stored = (batch, *x.layout.stored, *spatial)
        shape, batch_axis = x.layout.shape, x.layout.batch_axis
        assert batch_axis is not None
        regroup = Regroup(
            (-1, *sizes(stored[1:])),
            order(stored, held),
            (*shape[:batch_axis], -1, *shape[batch_axis + 1 :]),
            batch_axis,
        )
        if x.layout.is_feature_map(len(x.axes)) and stored == tuple(held):
            return PerWindow(taken, _native(x.layout))
        return PerWindow(self.out.helper(taken, regroup), _native(x.layout))

    def _layout_after(self, node: Node, index: int, layout: Layout) -> Layout:
        shape = self.graph.shapes[node.outputs[index]]
        try:
            if isinstance(node.operation, Reshape):
                return layout.reshape(shape)
            if isinstance(node.operation, Permute):
                return layout.permute(node.operation.order)
            if isinstance(node.operation, Reduce):
                return _reduced(layout, node.operation)
        except LayoutError:
            pass
        if len(shape) == len(layout.axes):
            # Axes that keep their size keep what they are made of.
            held = zip(layout.axes, layout.shape, shape, strict=True)
            axes = tuple(axis if old == new else features(new) for axis, old, new in held)
            if any(atom.kind is Kind.BATCH for axis in axes for atom in axis):
                return Layout(
                    axes, tuple(a for axis in axes for a in axis if a.kind is not Kind.BATCH)
                )
        known = self.graph.batch_axes.get(node.outputs[index])
        likely = layout.batch_axis if known is None else known
        return _plain(shape, likely, self.graph.batch)


def _reduced(layout: Layout, operation: Reduce) -> Layout:
    """Leave out the axes that are reduced, or what is in them."""
    axes = list(layout.axes)
    for axis in sorted(operation.axes, reverse=True):
        if any(atom.kind is Kind.BATCH for atom in axes[axis]):
            raise LayoutError("reduces over the batch")
        axes[axis : axis + 1] = [()] if operation.keepdims else []
    return Layout(tuple(axes), tuple(a for x in axes for a in x if a.kind is Kind.FEATURES))


def _native(layout: Layout) -> Layout:
    """Axes of cells become ordinary axes."""
    axes = tuple(
        tuple(b for a in axis for b in (features(a.size) if a.spatial else (a,)))
        for axis in layout.axes
    )
    return Layout(axes, tuple(a for axis in axes for a in axis if a.kind is Kind.FEATURES))


def _plain(shape: Sequence[int], batch_axis: int | None, batch: int) -> Layout:
    """The layout of a tensor of which only the shape and the likely batch axis are known."""
    if batch_axis is None or batch_axis >= len(shape) or shape[batch_axis] % batch:
        batch_axis = 0
    axes: list[tuple[Atom, ...]] = [features(size) for size in shape]
    if shape:
        inner = features(shape[batch_axis] // batch) if shape[batch_axis] % batch == 0 else ()
        axes[batch_axis] = (Atom(Kind.BATCH, batch), *inner)
    return Layout(tuple(axes), tuple(a for x in axes for a in x if a.kind is Kind.FEATURES))


def _with_free_batch(operation: Reshape, layout: Layout) -> Reshape:
    axis = layout.batch_axis
    shape = operation.shape
    return operation if axis is None else Reshape((*shape[:axis], -1, *shape[axis + 1 :]))
