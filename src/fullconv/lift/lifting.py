"""The walk over a network that gives, for each tensor, its field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fullconv.errors import ModelError
from fullconv.geometry import Grid, Sliding
from fullconv.graph import Graph, Node
from fullconv.layout import Atom, Kind, Layout, features, order, sizes
from fullconv.lift.field import SHARED, Field, Joined, PerWindow, Shared, Where, places
from fullconv.lift.memory import Footprint, footprint, size_of_part, size_per_window
from fullconv.lift.registry import EndsSharing, find
from fullconv.lift.sliding import sliding_statistics
from fullconv.lift.split import Moved, Part, Read, Split
from fullconv.lift.windows import Windows
from fullconv.operations import (
    Cells,
    FoldWindows,
    Keep,
    Operation,
    SplitChannels,
    TakeChannels,
)
from fullconv.report import Change, Reason

Write = Callable[[str, Read, Read, bool], str]
"""Writes an operation on a block: the block, what it holds along rows and along columns, and
whether the result takes the name of the node's own."""


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
    one_pass : bool
        Whether all windows share everything.
    products : int
        Multiply-accumulates per window, in an image of many windows.
    footprint : Footprint
        The memory that a run takes.
    """

    graph: Graph
    reasons: tuple[Reason, ...]
    changes: tuple[Change, ...]
    approximate: bool
    per_window: bool
    one_pass: bool
    products: int
    footprint: Footprint


def lift(graph: Graph, grid: Grid, *, exact: bool, alone: bool = False) -> Lifted:
    """Turn a window classifier into the network that answers for every window of an image.

    Parameters
    ----------
    graph : Graph
        The classifier at its native size, as a framework's reader gives it.
    grid : Grid
        The window (the native size) and the wanted step.
    exact : bool
        Compute every window as if it had been cropped. Otherwise pad at the image's border only.
    alone : bool
        Run the whole classifier on each window alone, one after the other.
    """
    return Lifting(graph, grid, exact).run(alone)


class Lifting(Windows):
    """The state of one walk; what rules read and emit through."""

    def __init__(self, graph: Graph, grid: Grid, exact: bool) -> None:
        super().__init__(graph)
        self.grid = grid
        self.exact = exact
        self.values = {}
        self.one_pass = True
        self.sliding = frozenset() if exact else sliding_statistics(graph)

    def run(self, alone: bool = False) -> Lifted:
        """Walk the graph once, in order; or leave it whole, and run it on each window alone."""
        image = self.graph.image
        height, width = self.graph.window
        self.values[image] = Field(
            Layout.of_image(self.graph.shapes[image]),
            Split.of_pixels(height),
            Split.of_pixels(width),
            {SHARED: image},
        )
        self._measure(image)
        if alone:
            self.run_alone(self.graph.nodes, self.graph.outputs)
        for node in () if alone else self.graph.nodes:
            self._visit(node)
            for name in node.outputs:
                self._measure(name)
        self.out.outputs = [self._scores(name) for name in self.graph.outputs]
        self.drop_unused()
        return Lifted(
            self.out,
            tuple(self.reasons),
            tuple(self.changes),
            self.differs,
            self.per_window,
            self.one_pass and not self.per_window,
            self.products,
            footprint(self.out, self.sizes),
        )

    def _measure(self, name: str) -> None:
        """Note how large the stored maps of a value are."""
        value = self.values.get(name)
        if isinstance(value, PerWindow):
            self.sizes[value.value] = size_per_window(value.shape, self.graph.batch)
        fields = value.fields if isinstance(value, Joined) else [value]
        for x in fields:
            if isinstance(x, Field):
                self.one_pass = self.one_pass and x.shared
                for where, part in x.parts.items():
                    axes = x.rows, x.columns
                    size = size_of_part(x.layout.channels, axes, where, self.grid.step)
                    self.sizes[part] = size

    def _visit(self, node: Node) -> None:
        inputs = [self.values[name] for name in node.inputs if name in self.values]
        if not inputs:
            self.waiting.update(dict.fromkeys(node.outputs, node))
            return
        if not any(_alone(value) for value in inputs):
            try:
                with self.attempt():
                    known = len(self.reasons)
                    self.values[node.outputs[0]] = find(node.operation)(self, node)
                    if len(self.reasons) == known:
                        self._note_gathering(node)
                    return
            except EndsSharing as why:
                self.note_end(node, str(why))
        self.run_per_window(node)

    def _note_gathering(self, node: Node) -> None:
        """Note where windows have too little in common for sharing to pay."""
        value = self.values[node.outputs[0]]
        if isinstance(value, Field) and value.private and value.extent != (1, 1):
            self.change(node, "one tensor per window from here on: windows have little in common")

    def note_end(
        self, node: Node, why: str, then: str = "it runs on one tensor per window"
    ) -> None:
        """Note that windows share less from this layer on, and why."""
        kind = node.kind or node.operation.title
        self.reasons.append(Reason(kind, node.name, f"{why}; from here on {then}"))

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

    # What rules do to fields.

    def slide(self, node: Node, x: Field, rows: Sliding, columns: Sliding) -> tuple[Moved, Moved]:
        """Move a kernel over a field; return the new axes and what each of their parts reads.

        The exact form moves it in every window's own padding. The approximate form puts the padding
        at the border of the image instead, and differs from the crops wherever a window does not
        touch that border on all sides.
        """
        padded = [s.read_padding(a.extent) for s, a in ((rows, x.rows), (columns, x.columns))]
        if any(map(any, padded)) and not self.exact:
            (top, bottom), (left, right) = padded
            amount = f"{top}+{bottom} rows and {left}+{right} columns"
            self.approximate(
                node, f"padding ({amount}) is put at the border of the image, not of each window"
            )
        step = self.grid.step
        if self.exact:
            return x.rows.slide(rows, step[0]), x.columns.slide(columns, step[1])
        dense = node.outputs[0] in self.sliding
        moved = []
        for axis, sliding, pixels in ((x.rows, rows, step[0]), (x.columns, columns, step[1])):
            middle, stored = axis.middle.slide(sliding, pixels, dense=dense)
            moved.append(Moved(Split(0, middle), {Part.MIDDLE: Read(None, stored)}))
        return moved[0], moved[1]

    def cut(self, x: Field, rows: range, columns: range) -> Field:
        """Keep some rows and columns of cells."""
        moved = [
            axis.cut(kept.start, kept.stop, kept.step, step, gather=self.exact)
            for axis, kept, step in zip(
                (x.rows, x.columns), (rows, columns), self.grid.step, strict=True
            )
        ]
        return self.moved(x, moved[0], moved[1])

    def write(self, x: Field, moved: tuple[Moved, Moved], channels: int, write: Write) -> Field:
        """Write an operation on every part of its result; return ``(N, channels, ...)``."""
        rows, columns = moved
        parts: dict[Where, str] = {}
        for where in places(rows.axis, columns.axis):
            y, x_ = rows.reads[where[0]], columns.reads[where[1]]
            parts[where] = write(self.block(x, y, x_), y, x_, not parts)
        return feature_map(x, channels, rows.axis, columns.axis, parts)

    def each(
        self, node: Node, operation: Operation, *operands: Field | str | None, named: bool = True
    ) -> Field:
        """Write an operation that treats every cell alike, on every part of some fields.

        The fields have the same parts; the result has the geometry and layout of the first.
        """
        main = next(x for x in operands if isinstance(x, Field))
        first = next(iter(main.parts))

        def write(where: Where, _: str) -> str:
            inputs = [x.parts[where] if isinstance(x, Field) else x for x in operands]
            return self.emit(node, operation, inputs, final=named and where == first)

        return main.each(write)

    def count_products(self, x: Field, products: int) -> None:
        """Count so many multiply-accumulates for every stored cell of a field."""
        self.products += products * sum(x.density(where, self.grid.step) for where in x.parts)

    def store(self, x: Field, wanted: Sequence[Atom]) -> Field:
        """Reorder the stored channels."""
        if tuple(wanted) == x.layout.stored:
            return x
        stored = x.layout.stored
        index = np.arange(x.layout.channels).reshape(sizes(stored))
        index = index.transpose(order(stored, tuple(wanted))).reshape(-1)
        take = TakeChannels(tuple(int(i) for i in index))
        return x.each(
            lambda _, value: self.helper(value, take), replace(x.layout, stored=tuple(wanted))
        )

    def align(self, fields: Sequence[Field]) -> list[Field]:
        """Bring fields to the same parts, cell for cell.

        Along each axis the margins become the largest of any; where that leaves no middle, or the
        middles lie at different places, every window is given its own cells.

        Raises
        ------
        EndsSharing
            If the cells of one window lie at different places (approximate form).
        """
        fields = self._same_margins(fields)
        unequal = [
            not axes[0].private and not all(axis.middle.as_long_as(axes[0].middle) for axis in axes)
            for axes in ([x.rows for x in fields], [x.columns for x in fields])
        ]
        return [self.keep(x, *unequal) if any(unequal) else x for x in fields]

    def _same_margins(self, fields: Sequence[Field]) -> list[Field]:
        moved: list[list[Moved]] = []
        for axes, step in (
            ([x.rows for x in fields], self.grid.step[0]),
            ([x.columns for x in fields], self.grid.step[1]),
        ):
            if all(axis.private for axis in axes):
                moved.append([axis.as_it_is() for axis in axes])
                continue
            if len({axis.extent for axis in axes}) > 1:
                raise EndsSharing("joins maps of different extent")
            low, high = max(a.low for a in axes), max(a.high for a in axes)
            alike = [axis.narrowed(low, high, step) for axis in axes]
            middles = [m.axis.middle for m in alike]
            places_ = {(a.step, a.pitch if a.extent > 1 else None) for a in middles if a.extent}
            if len({m.axis.low for m in alike}) > 1 or len(places_) > 1:
                if not self.exact:
                    raise EndsSharing("joins maps whose cells lie at different distances")
                alike = [axis.gathered() for axis in axes]
            moved.append(alike)
        return [
            self.moved(x, rows, columns) for x, rows, columns in zip(fields, *moved, strict=True)
        ]

    # The results.

    def _scores(self, name: str) -> str:
        if name not in self.values:
            raise ModelError(
                "convert: an output of the model does not depend on the image, so there is "
                "nothing to answer per window. Check the model's outputs."
            )
        value = self.values[name]
        if isinstance(value, Field) and not any(a.spatial for x in value.layout.axes for a in x):
            return self._window_map(name, self.on_grid(value))
        x = self.gather(name)
        if not x.leads:
            x = self.stand(x, None)
        return self.helper(x.value, FoldWindows(self._answer(name)), image=True)

    def _answer(self, name: str) -> tuple[int, ...]:
        """Return the shape of one window's scores, without trailing axes of one cell."""
        shape = list(self.graph.shapes[name])
        batch = self.graph.batch
        if batch > 1:
            inner = shape.pop(0) // batch
            shape[:0] = [inner] if inner > 1 else []
        elif 1 in shape:
            shape.remove(1)  # the axis of the images: the first where there is more than one
        while len(shape) == 3 and shape[-2:] == [1, 1]:
            shape = shape[:1]
        return tuple(shape)

    def _window_map(self, name: str, x: Field) -> str:
        x = self.store(x, x.layout.in_order())
        (value,) = x.parts.values()
        rows, columns = x.rows.middle, x.columns.middle
        strides = rows.stride(self.grid.step[0]), columns.stride(self.grid.step[1])
        if strides != (1, 1):
            value = self.helper(value, Cells((0, 0), (0, 0), strides))
        per_window = [
            axis.reach == window or (axis.kept == 1 and stride == 1)
            for axis, window, stride in zip((rows, columns), self.grid.window, strides, strict=True)
        ]
        if not all(per_window):
            value = self.helper(value, Keep((1, 1), (1, 1)), image=True)
        shape = self._answer(name)
        if shape != (x.layout.channels,):
            value = self.helper(value, SplitChannels(shape))
        return value


def feature_map(
    x: Field, channels: int, rows: Split, columns: Split, parts: Mapping[Where, str]
) -> Field:
    """Return a field ``(N, channels, rows, columns)``."""
    atoms = (atom for axis in x.layout.axes for atom in axis)
    batch = next((atom.size for atom in atoms if atom.kind is Kind.BATCH), 1)
    layout = Layout.feature_map(batch, features(channels), rows.extent, columns.extent)
    return Field(layout, rows, columns, parts)


def _alone(value: Shared | PerWindow) -> bool:
    """Whether neighbouring windows share nothing of a value, so that it is one per window."""
    if isinstance(value, Joined):
        return all(part.private for part in value.fields)
    return isinstance(value, PerWindow) or value.private
