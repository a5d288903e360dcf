"""The walk over a network that gives, for each tensor, its field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fullconv.errors import ModelError
from fullconv.geometry import Axis, Grid, Sliding
from fullconv.graph import BATCH_SIZE, Graph, Node, Recipe
from fullconv.layout import Atom, Kind, Layout, LayoutError, features, order, sizes
from fullconv.lift.field import Field, Joined, Lift, PerWindow, Shared
from fullconv.lift.registry import EndsSharing, find
from fullconv.lift.sliding import sliding_statistics
from fullconv.operations import (
    Cells,
    Concat,
    FoldWindows,
    Keep,
    Operation,
    Permute,
    Regroup,
    Reshape,
    Slice,
    SplitChannels,
    TakeChannels,
    TakeWindows,
)
from fullconv.report import Change, Reason


@dataclass(frozen=True)
class Lifted:
    """The network over all windows.

    Attributes
    ----------
    graph : Graph
        From an image ``(N, C, H, W)`` to scores ``(N, K, rows, columns)``.
    reasons : tuple of Reason
        Where sharing ends (exact form) or where the result is not the crops' (approximate form).
    changes : tuple of Change
        What happened to each layer that is no longer itself.
    approximate : bool
        Whether some scores are not those of the crops.
    per_window : bool
        Whether some operations run once per window.
    window_elements : int
        Elements per window of the largest tensors that are held at once, where per window.
    """

    graph: Graph
    reasons: tuple[Reason, ...]
    changes: tuple[Change, ...]
    approximate: bool
    per_window: bool
    window_elements: int


def lift(graph: Graph, grid: Grid, *, exact: bool) -> Lifted:
    """Turn a window classifier into the network that answers for every window of an image.

    Parameters
    ----------
    graph : Graph
        The classifier at its native size, as a framework's reader gives it.
    grid : Grid
        The window (the native size) and the wanted step.
    exact : bool
        Compute every window as if it had been cropped. Otherwise pad at the image's border only.
    """
    return Lifting(graph, grid, exact).run()


@dataclass
class Lifting:
    """The state of one walk; what rules read and emit through."""

    graph: Graph
    grid: Grid
    exact: bool
    values: dict[str, Lift] = field(default_factory=dict)
    waiting: dict[str, Node] = field(default_factory=dict)
    reasons: list[Reason] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    window_elements: int = 0
    differs: bool = False
    per_window: bool = False

    def __post_init__(self) -> None:
        self.out = Graph(self.graph.image, batch=self.graph.batch)
        self.sliding = frozenset() if self.exact else sliding_statistics(self.graph)
        self._names = {self.graph.image, *self.graph.constants, *self.graph.shapes}
        self._computed: dict[str, Recipe] = {}

    # The walk.

    def run(self) -> Lifted:
        """Walk the graph once, in order."""
        image = self.graph.image
        height, width = self.graph.window
        self.values[image] = Field.shared(
            Layout.of_image(self.graph.shapes[image]),
            Axis.of_pixels(height),
            Axis.of_pixels(width),
            image,
        )
        for node in self.graph.nodes:
            self._visit(node)
        self.out.outputs = [self._scores(name) for name in self.graph.outputs]
        return Lifted(
            self.out,
            tuple(self.reasons),
            tuple(self.changes),
            self.differs,
            self.per_window,
            self.window_elements,
        )

    def _visit(self, node: Node) -> None:
        inputs = [self.values[name] for name in node.inputs if name in self.values]
        if not inputs:
            # Depends on parameters alone: written only if something needs it.
            self.waiting.update(dict.fromkeys(node.outputs, node))
            return
        if not any(isinstance(value, PerWindow) for value in inputs):
            written: tuple[list[Any], ...] = (self.out.nodes, self.reasons, self.changes)
            marks = [len(log) for log in written]
            try:
                self.values[node.outputs[0]] = find(node.operation)(self, node)
                return
            except EndsSharing as why:
                for log, mark in zip(written, marks, strict=True):
                    del log[mark:]
                self._note_end(node, str(why))
        self._per_window(node)

    def _note_end(self, node: Node, why: str) -> None:
        self.reasons.append(
            Reason(
                node.kind or node.operation.title,
                node.name,
                f"{why}; from here on it runs on one tensor per window",
            )
        )

    def approximate(self, node: Node, why: str) -> None:
        """Note that this layer's result is not the crops' (approximate form only)."""
        self.differs = True
        self.reasons.append(Reason(node.kind or node.operation.title, node.name, why))

    def change(self, node: Node, after: str) -> None:
        """Note what became of a layer."""
        self.changes.append(Change(node.name, node.kind or node.operation.title, after))

    # What rules read.

    def shared(self, name: str | None) -> Shared:
        """Return an input that windows share."""
        value = self.values.get(name or "")
        if isinstance(value, Field | Joined):
            return value
        raise EndsSharing("takes a computed tensor where a parameter or an image is known")

    def field(self, name: str | None) -> Field:
        """Return an input as one field."""
        value = self.shared(name)
        if isinstance(value, Joined):
            raise EndsSharing("works on several flattened maps at once")
        return value

    def feature_map(self, name: str | None) -> Field:
        """Return an input as ``(N, C, rows, columns)`` with channels in native order."""
        value = self.field(name)
        if not value.layout.is_feature_map():
            raise EndsSharing("needs (N, C, rows, columns), and its axes are arranged otherwise")
        return self.store(value, value.layout.in_order())

    def is_parameter(self, name: str | None) -> bool:
        """Whether an input depends on parameters alone."""
        return name is not None and (name in self.graph.constants or name in self.waiting)

    def parameter(self, name: str | None) -> Recipe | None:
        """Return a parameter, or None where the input is left out."""
        if name is None:
            return None
        if name in self.graph.constants:
            return self.graph.constants[name]
        if name in self.waiting and BATCH_SIZE not in self.waiting[name].inputs:
            self._write_waiting(name)
            self._computed[name] = recipe = Recipe(name, self.graph.shapes[name])
            return recipe
        raise EndsSharing("takes its weights from a computed tensor")

    # What rules emit.

    def emit(
        self,
        node: Node,
        operation: Operation,
        inputs: Sequence[str | None],
        *,
        final: bool = True,
    ) -> str:
        """Write one operation on stored maps; return the name of its result.

        ``final`` names the result as the original node does. Where the operation is the node's
        own, unchanged, the framework clones its own node.
        """
        name = self.unique(node.outputs[0]) if not final else node.outputs[0]
        self.out.nodes.append(
            replace(node, operation=operation, inputs=tuple(inputs), outputs=(name,))
        )
        return name

    def unique(self, base: str) -> str:
        """Return a value name that is not taken."""
        number = 1
        while f"{base}_{number}" in self._names:
            number += 1
        name = f"{base}_{number}"
        self._names.add(name)
        return name

    def constant(self, recipe: Recipe | None) -> str | None:
        """Write a rearranged parameter; return its name."""
        if recipe is None:
            return None
        if recipe.source in self._computed:
            return self._rearranged(recipe)
        for name, held in self.out.constants.items():
            if held == recipe:
                return name
        name = (
            recipe.source if recipe.source not in self.out.constants else self.unique(recipe.source)
        )
        self.out.constants[name] = recipe
        return name

    def _rearranged(self, recipe: Recipe) -> str:
        """Rearrange a computed parameter by operations of the graph."""
        name = recipe.source
        for verb, numbers in recipe.steps:
            operation: Operation
            if verb == "reshape":
                operation = Reshape(numbers)
            elif verb == "permute":
                operation = Permute(numbers)
            else:
                operation = Slice(*numbers)
            result = self.unique(recipe.source)
            node = Node(operation, (name,), (result,), recipe.source)
            self.out.nodes.append(node)
            name = result
        return name

    def slide(self, node: Node, x: Field, rows: Sliding, columns: Sliding) -> Slid:
        """Move a kernel over a field; return the new axes and the move in stored cells.

        Ends sharing when the exact form would read padding: see Note [Padding is not shared].
        """
        moved: list[tuple[Axis, Sliding]] = []
        padded = [s.read_padding(a.extent) for s, a in ((rows, x.rows), (columns, x.columns))]
        if any(map(any, padded)):
            self._padding(node, padded)
        for axis, sliding, step in zip(
            (x.rows, x.columns), (rows, columns), self.grid.step, strict=True
        ):
            if self.exact:
                sliding = sliding._replace(before=0, after=0)
            moved.append(axis.slide(sliding, step, dense=node.outputs[0] in self.sliding))
        (new_rows, y), (new_columns, x_) = moved
        return Slid(new_rows, new_columns, y, x_)

    def _padding(self, node: Node, padded: Sequence[tuple[int, int]]) -> None:
        """Note [Padding is not shared].

        Padding puts zeros (or reflected cells) at the border of the crop, where the image has
        pixels. A cell that reads them belongs to one window only. The exact form therefore stops
        sharing there; the approximate form pads the image's border instead, and differs from the
        crops wherever a window does not touch that border on all sides.
        """
        (top, bottom), (left, right) = padded
        amount = f"{top}+{bottom} rows and {left}+{right} columns"
        if self.exact:
            raise EndsSharing(f"reads padding ({amount}) at the border of every window")
        self.approximate(
            node, f"padding ({amount}) is put at the border of the image, not of each window"
        )

    def store(self, x: Field, wanted: Sequence[Atom]) -> Field:
        """Reorder the stored channels."""
        if tuple(wanted) == x.layout.stored:
            return x
        stored = x.layout.stored
        index = np.arange(x.layout.channels).reshape(sizes(stored))
        index = index.transpose(order(stored, tuple(wanted))).reshape(-1)
        value = self.helper(x.value, TakeChannels(tuple(int(i) for i in index)))
        return x.holding(value, replace(x.layout, stored=tuple(wanted)))

    def helper(self, value: str, operation: Operation, image: bool = False) -> str:
        result = self.unique(value)
        inputs = (value, self.graph.image) if image else (value,)
        self.out.nodes.append(Node(operation, inputs, (result,), ""))
        return result

    def align(self, fields: Sequence[Field]) -> list[Field]:
        """Bring fields to stored maps of one size, cell for cell.

        Raises
        ------
        EndsSharing
            If the cells of one window lie at different places.
        """
        for name in ("rows", "columns"):
            axes: list[Axis] = [getattr(x, name) for x in fields]
            if len({(a.extent, a.step, a.pitch if a.extent > 1 else None) for a in axes}) > 1:
                raise EndsSharing("joins maps whose cells lie at different distances")
        if all(
            len({getattr(x, name).reach for x in fields}) == 1
            and getattr(fields[0], name).reach is not None
            for name in ("rows", "columns")
        ):
            return list(fields)
        return [self.keep(x) for x in fields]

    def keep(self, x: Field) -> Field:
        """Cut a field to the cells that whole windows own."""
        (y, height), (x_, width) = (
            x.rows.needed(self.grid.step[0]),
            x.columns.needed(self.grid.step[1]),
        )
        value = self.helper(x.value, Keep((y, x_), (height, width)), image=True)
        rows, columns = replace(x.rows, reach=None), replace(x.columns, reach=None)
        return replace(x.holding(value), rows=rows, columns=columns)

    # One tensor per window.

    def _per_window(self, node: Node) -> None:
        self.per_window = True
        # Gathered first: what depends on the number of windows needs a tensor that has it.
        gathered = {name: self.gather(name) for name in node.inputs if name in self.values}
        layout = next(iter(gathered.values())).layout
        inputs: list[str | None] = []
        for name in node.inputs:
            if name in gathered:
                inputs.append(gathered[name].value)
            elif name == BATCH_SIZE or name is None:
                inputs.append(name)
            else:
                inputs.append(self._parameter_value(name))
        operation = node.operation
        results = [self._layout_after(node, index, layout) for index in range(len(node.outputs))]
        if isinstance(operation, Reshape):
            operation = _with_free_batch(operation, results[0])
        self.out.nodes.append(
            replace(node, operation=operation, inputs=tuple(inputs), per_window=True)
        )
        for output, result in zip(node.outputs, results, strict=True):
            self._count(result)
            self.values[output] = PerWindow(output, result)

    def gather(self, name: str) -> PerWindow:
        """Return a value as one tensor per window, in its native layout."""
        value = self.values[name]
        if isinstance(value, Field):
            value = self._gather_field(value)
        elif isinstance(value, Joined):
            parts = [self._gather_field(part) for part in value.fields]
            result = self.unique(name)
            joined = Node(
                Concat(value.axis), tuple(p.value for p in parts), (result,), "", per_window=True
            )
            self.out.nodes.append(joined)
            total = sum(part.layout.shape[value.axis] for part in parts)
            value = PerWindow(result, parts[0].layout.with_axis(value.axis, features(total)))
        self.values[name] = value
        return value

    def _gather_field(self, x: Field) -> PerWindow:
        taken = self.helper(
            x.value,
            TakeWindows(
                x.layout.channels,
                x.extent,
                (x.rows.stride(self.grid.step[0]), x.columns.stride(self.grid.step[1])),
                (x.rows.dilation, x.columns.dilation),
            ),
            image=True,
        )
        self._count(x.layout)
        held = [atom for axis in x.layout.axes for atom in axis]
        batch = next(atom for atom in held if atom.kind is Kind.BATCH)
        spatial = [a for k in (Kind.ROWS, Kind.COLUMNS) for a in held if a.kind is k]
        stored = (batch, *x.layout.stored, *spatial)
        shape, batch_axis = x.layout.shape, x.layout.axis_of(Kind.BATCH)
        assert batch_axis is not None
        regroup = Regroup(
            (-1, *sizes(stored[1:])),
            order(stored, held),
            (*shape[:batch_axis], -1, *shape[batch_axis + 1 :]),
            batch_axis,
        )
        if x.layout.is_feature_map() and stored == tuple(held):
            return PerWindow(taken, _native(x.layout))
        return PerWindow(self.helper(taken, regroup), _native(x.layout))

    def _layout_after(self, node: Node, index: int, layout: Layout) -> Layout:
        shape = self.graph.shapes[node.outputs[index]]
        try:
            if isinstance(node.operation, Reshape):
                return layout.reshape(shape)
            if isinstance(node.operation, Permute):
                return layout.permute(node.operation.order)
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
        return _plain(shape, layout.axis_of(Kind.BATCH), self.graph.batch)

    def _parameter_value(self, name: str) -> str:
        if name in self.waiting:
            self._write_waiting(name)
            return name
        written = self.constant(self.graph.constants[name])
        assert written is not None
        return written

    def _write_waiting(self, name: str) -> None:
        if any(name in node.outputs for node in self.out.nodes):
            return
        node = self.waiting[name]
        inputs = [
            self._parameter_value(i) if i is not None and i != BATCH_SIZE else i
            for i in node.inputs
        ]
        self.out.nodes.append(replace(node, inputs=tuple(inputs), per_window=True))

    def _count(self, layout: Layout) -> None:
        elements = int(np.prod(layout.shape)) // max(1, self.graph.batch)
        self.window_elements = max(self.window_elements, 3 * elements)

    # The results.

    def _scores(self, name: str) -> str:
        if name not in self.values:
            raise ModelError(
                "convert: an output of the model does not depend on the image, so there is "
                "nothing to answer per window. Check the model's outputs."
            )
        value = self.values[name]
        if isinstance(value, Joined) or (
            isinstance(value, Field) and any(a.spatial for axis in value.layout.axes for a in axis)
        ):
            value = self.gather(name)
        if isinstance(value, PerWindow):
            return self.helper(value.value, FoldWindows(_answer(value.layout)), image=True)
        return self._window_map(value)

    def _window_map(self, x: Field) -> str:
        x = self.store(x, x.layout.in_order())
        strides = x.rows.stride(self.grid.step[0]), x.columns.stride(self.grid.step[1])
        value = x.value
        if strides != (1, 1):
            value = self.helper(value, Cells((0, 0), (0, 0), strides))
        if [x.rows.reach, x.columns.reach] != list(self.grid.window):
            value = self.helper(value, Keep((1, 1), (1, 1)), image=True)
        shape = _answer(x.layout)
        if shape != (x.layout.channels,):
            value = self.helper(value, SplitChannels(shape))
        return value


@dataclass(frozen=True)
class Slid:
    """A kernel's move over both axes: the new axes, and the move in stored cells."""

    rows: Axis
    columns: Axis
    y: Sliding
    x: Sliding

    @property
    def stride(self) -> tuple[int, int]:
        """Stored stride, (rows, columns)."""
        return self.y.stride, self.x.stride

    @property
    def dilation(self) -> tuple[int, int]:
        """Stored dilation, (rows, columns)."""
        return self.y.dilation, self.x.dilation

    @property
    def padding(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Stored padding, ((top, bottom), (left, right))."""
        return (self.y.before, self.y.after), (self.x.before, self.x.after)


def _native(layout: Layout) -> Layout:
    """Rows and columns become ordinary axes."""
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
    axis = layout.axis_of(Kind.BATCH)
    shape = operation.shape
    return operation if axis is None else Reshape((*shape[:axis], -1, *shape[axis + 1 :]))


def _answer(layout: Layout) -> tuple[int, ...]:
    """The scores' own shape for one window, without trailing axes of one cell."""
    batch, *rest = layout.axes
    inner = int(np.prod(sizes(a for a in batch if a.kind is Kind.FEATURES)))
    shape = [*([inner] if inner > 1 else []), *(int(np.prod(sizes(axis))) for axis in rest)]
    while len(shape) == 3 and shape[-2:] == [1, 1]:
        shape = shape[:1]
    return tuple(shape)
