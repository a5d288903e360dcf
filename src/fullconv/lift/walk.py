"""The walk over a network that derives the field of each tensor."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import prod

from fullconv.conversion.report import GATHERED, Change, Reason
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Alone, Graph, Node
from fullconv.lift import pace as paces
from fullconv.lift.answers import scores
from fullconv.lift.arranging import fold_axes
from fullconv.lift.classical import Classical
from fullconv.lift.cost import products
from fullconv.lift.field import Field, Joined, PerWindow, Shared
from fullconv.lift.lifting import Lifting
from fullconv.lift.memory import Footprint, Size, footprint, size_of_part
from fullconv.lift.pace import Pace
from fullconv.lift.registry import EndsSharing, find
from fullconv.lift.split import Part, Split
from fullconv.lift.windows import GatheredWindows


@dataclass(frozen=True)
class Lifted:
    """The network over all windows.

    Attributes
    ----------
    graph : Graph
        From an image ``(N, C, *size)`` to scores ``(N, K, *windows)``.
    reasons : tuple of Reason
        Where sharing ends (exact form) or where the result is not the crops' (approximate form).
    changes : tuple of Change
        The layers that are no longer themselves, and how they changed.
    approximate : bool
        Whether some scores are not those of the crops.
    per_window : bool
        Whether some operations run once per window.
    one_pass : bool
        Whether all windows share everything.
    products : Size
        Multiply-accumulates, for any number of windows.
    footprint : Footprint
        The memory that a run takes.
    time : Size
        The time of a run, by the model of `fullconv.lift.pace`.
    """

    graph: Graph
    reasons: tuple[Reason, ...]
    changes: tuple[Change, ...]
    approximate: bool
    per_window: bool
    one_pass: bool
    products: Size
    footprint: Footprint
    time: Size

    @property
    def gathered(self) -> bool:
        """Whether every window is given its own pixels, to be faster."""
        return any(change.after == GATHERED for change in self.changes)


def lift(
    graph: Graph,
    grid: Grid,
    *,
    exact: bool,
    fixed: Collection[int] = (),
    alone: bool = False,
    pace: Pace | None = None,
    windows: Sequence[int] = (),
) -> Lifted:
    """Turn a window classifier into the network that answers for every window of an image.

    Parameters
    ----------
    graph : Graph
        The classifier at its native size, as a framework's reader gives it.
    grid : Grid
        The window (the native size) and the wanted step.
    exact : bool
        Compute every window as if it had been cropped. Otherwise pad at the image's border only.
    fixed : collection of int
        Axes along which the image is as long as the window.
    alone : bool
        Run the whole classifier on each window alone, one after the other.
    pace : Pace, optional
        The time that a framework takes beside multiplying. Where exact windows would take longer
        in parts than one by one, each is given its own pixels from the beginning.
    windows : sequence of int
        Windows of the image along every axis, by default many.
    """
    form = Lifting if exact else Classical
    walk = Walk(graph, form(graph, grid, fixed), pace or Pace())
    lifted = walk.run(alone)
    if pace is None or not exact or alone or lifted.one_pass or graph.batch > 1:
        return lifted
    time = paces.per_window(lifted.time, windows)
    if time <= paces.PARTS_PAY * paces.per_window(pace.of_windows(graph), windows):
        return lifted
    gathered = Walk(graph, form(graph, grid, fixed), pace).run(gathered=True)
    if any(isinstance(node.operation, Alone) for node in gathered.graph.nodes):
        return lifted
    return replace(gathered, reasons=lifted.reasons)


class Walk:
    """Visits every node once, in order, and lifts it."""

    def __init__(self, graph: Graph, lifting: Lifting, pace: Pace) -> None:
        self.graph, self.lifting, self.pace = graph, lifting, pace
        self.own: set[str] = set()  # values that are a block of every single window
        self.values, self.out = lifting.values, lifting.out
        self.windows = GatheredWindows(graph, lifting.out, lifting.blocks, lifting.values)
        self.per_window = False
        self.one_pass = True

    def run(self, alone: bool = False, *, gathered: bool = False) -> Lifted:
        """Walk the graph once, in order; or leave it whole, and run it on each window alone.

        Where ``gathered``, every window is given its own pixels from the beginning.
        """
        image = self.graph.image
        axes = tuple(
            Split.of_pixels(size, fixed=axis in self.lifting.fixed)
            for axis, size in enumerate(self.graph.window)
        )
        where = tuple(Part.LOW if axis.fixed else Part.MIDDLE for axis in axes)
        self.values[image] = Field(self.graph.layout, axes, {where: image})
        self._measure(image)
        if gathered:
            self._gather(image)
        if alone:
            self.per_window = True
            self.windows.run_alone(self.graph.nodes, self.graph.outputs)
        for node in () if alone else self.graph.nodes:
            self._visit(node)
            for name in node.outputs:
                self._measure(name)
        written = self.out.written
        written.outputs = [scores(self.lifting, self.windows, name) for name in self.graph.outputs]
        self.out.drop_unused()
        self._count_parameters()
        return Lifted(
            written,
            tuple(self.out.reasons),
            tuple(self.out.changes),
            self.out.differs,
            self.per_window,
            self.one_pass and not self.per_window,
            self.lifting.products,
            footprint(written, self.lifting.blocks.sizes),
            self.pace.of_parts(written, self.lifting.blocks.sizes, self.own, self.lifting.products),
        )

    def _gather(self, image: str) -> None:
        """Give every window its own pixels, because sharing takes longer than it saves."""
        field = self.values[image]
        assert isinstance(field, Field)
        self.values[image] = self.lifting.blocks.gathered(field)
        self.one_pass = False
        self.out.changes.append(Change(image, "image", GATHERED))

    def _measure(self, name: str) -> None:
        """Note how large the stored maps of a value are."""
        value, blocks = self.values.get(name), self.lifting.blocks
        if isinstance(value, PerWindow):
            elements = prod(value.shape) // max(1, self.graph.batch)
            blocks.sizes[value.value] = Size.per_window(elements, blocks.grid.dimensions)
        fields = value.fields if isinstance(value, Joined) else [value]
        for x in fields:
            if isinstance(x, Field):
                self.one_pass = self.one_pass and x.shared
                for where, part in x.parts.items():
                    blocks.sizes[part] = size_of_part(x, where, blocks.grid.step)
                    if not x.private and Part.MIDDLE not in where:
                        self.own.add(part)

    def _visit(self, node: Node) -> None:
        inputs = [self.values[name] for name in node.inputs if name in self.values]
        if not inputs:
            self.out.waiting.update(dict.fromkeys(node.outputs, node))
            return
        if not any(_alone(value) for value in inputs):
            try:
                self._share(node)
            except EndsSharing as why:
                self.out.ends_sharing(node, str(why))
            else:
                return
        self.per_window = True
        dimensions = self.lifting.grid.dimensions
        alone = Size.per_window(products(node, self.graph), dimensions)
        self.lifting.products = self.lifting.products.plus(alone)
        self.windows.run(node)

    def _share(self, node: Node) -> None:
        """Apply the rule; where it fails, turn cells that were features back and try once more.

        Raises
        ------
        EndsSharing
            If neighbouring windows cannot share the result.
        """
        counted = self.lifting.products
        try:
            self._apply(node)
        except EndsSharing:
            self.lifting.products = counted
            if not self._fold_inputs(node):
                raise
            try:
                self._apply(node)
            except EndsSharing:
                self.lifting.products = counted
                raise

    def _apply(self, node: Node) -> None:
        with self.out.attempt() as begun:
            known = len(self.out.reasons)
            rule = find(node.operation)
            result = rule(self.lifting, node, node.operation)
            self.values[node.outputs[0]] = self.out.named(node, result, begun)
            if len(self.out.reasons) == known:
                self._note_gathering(node)

    def _fold_inputs(self, node: Node) -> bool:
        """Turn axes that the image lacks into features; return whether an input had any."""
        folded = False
        for name in node.inputs:
            value = self.values.get(name or "")
            if isinstance(value, Field) and len(value.axes) > self.lifting.grid.dimensions:
                self.values[name or ""] = fold_axes(self.lifting, value)
                folded = True
        return folded

    def _note_gathering(self, node: Node) -> None:
        """Note where windows have too little in common for sharing to pay."""
        value = self.values[node.outputs[0]]
        if not isinstance(value, Field) or value.shared or not value.private:
            return
        if any(extent != 1 for extent in value.extent):
            self.out.change(
                node, "one tensor per window from here on: windows have little in common"
            )

    def _count_parameters(self) -> None:
        """Count the operations on parameters alone once, however many windows there are."""
        once = [n for n in self.out.written.nodes if n.outputs[0] in self.out.waiting]
        count = sum(products(self.out.waiting[node.outputs[0]], self.graph) for node in once)
        cells = ((0, 1),) * self.lifting.grid.dimensions
        self.lifting.products = self.lifting.products.plus(Size.of_cells(count, cells))


def _alone(value: Shared | PerWindow) -> bool:
    """Whether neighbouring windows share nothing of a value, so that it is one per window."""
    if isinstance(value, Joined):
        return all(part.private for part in value.fields)
    return isinstance(value, PerWindow) or value.private
