"""The walk over a network that gives, for each tensor, its field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from fullconv.errors import ModelError
from fullconv.geometry import Axis, Grid, Sliding
from fullconv.graph import Graph, Node
from fullconv.layout import Atom, Kind, Layout, order, sizes
from fullconv.lift.field import Field, Joined, PerWindow, Shared
from fullconv.lift.registry import EndsSharing, find
from fullconv.lift.sliding import sliding_statistics
from fullconv.lift.windows import Windows
from fullconv.operations import (
    Cells,
    FoldWindows,
    Keep,
    SplitChannels,
    TakeChannels,
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


class Lifting(Windows):
    """The state of one walk; what rules read and emit through."""

    def __init__(self, graph: Graph, grid: Grid, exact: bool) -> None:
        super().__init__(graph)
        self.grid = grid
        self.exact = exact
        self.values = {}
        self.sliding = frozenset() if exact else sliding_statistics(graph)

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
            self.waiting.update(dict.fromkeys(node.outputs, node))
            return
        if not any(isinstance(value, PerWindow) for value in inputs):
            try:
                with self.attempt():
                    self.values[node.outputs[0]] = find(node.operation)(self, node)
                    return
            except EndsSharing as why:
                self._note_end(node, str(why))
        self.run_per_window(node)

    def _note_end(self, node: Node, why: str) -> None:
        self.reasons.append(
            Reason(
                node.kind or node.operation.title,
                node.name,
                f"{why}; from here on it runs on one tensor per window",
            )
        )

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


def _answer(layout: Layout) -> tuple[int, ...]:
    """The scores' own shape for one window, without trailing axes of one cell."""
    batch, *rest = layout.axes
    inner = prod(sizes(a for a in batch if a.kind is Kind.FEATURES))
    shape = [*([inner] if inner > 1 else []), *(prod(sizes(axis)) for axis in rest)]
    while len(shape) == 3 and shape[-2:] == [1, 1]:
        shape = shape[:1]
    return tuple(shape)
