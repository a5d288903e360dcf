"""One tensor per window: operations that windows cannot share run as they are, at the native size.

Note [A batch of one]
The score of a window is the classifier's answer for that crop alone. So a classifier is read as a
function of one image, and its operations are trivial along an axis with a single entry: a mean over
the batch is the identity, and a mean over all numbers is one over the numbers of one image. By its
meaning, a network never mixes windows; only running them together can. To run an operation on many
windows, they stand one behind the other in an axis whose entries the operation treats alone
(`fullconv.lift.standing`). Where it has no such axis, or none is known, the operation runs on each
window alone, one after the other (`Alone`). That is slow, and right for any operation.

See docs/theory.md, "Where sharing ends".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from fullconv.conversion.report import Reason
from fullconv.errors import ModelError
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Alone, Graph, Node
from fullconv.graph.layout import Atom, AtomKind, Layout, order, sizes
from fullconv.lift.blocks import Blocks
from fullconv.lift.emitter import Emitter
from fullconv.lift.field import Field, Joined, Lift, PerWindow, free
from fullconv.lift.standing import MustBeAlone, place
from fullconv.operations import Concat, ForEachWindow, Permute, Regroup, Reshape


class GatheredWindows:
    """Gathering values into one tensor per window, and running operations on them.

    Attributes
    ----------
    values : dict of str to Lift
        The lifted form of each value of the classifier; gathering a value replaces it.
    """

    def __init__(self, graph: Graph, out: Emitter, blocks: Blocks, values: dict[str, Lift]) -> None:
        self.graph, self.out, self.blocks, self.values = graph, out, blocks, values

    def run(self, node: Node) -> None:
        """Write a node as it is, on all windows at once where they can stand in one of its axes."""
        try:
            placed = place(self, node, self._given(node))
        except MustBeAlone as why:
            if self.graph.batch > 1:
                raise self.mixing(node) from None
            self._note_alone(node, str(why))
            self.run_alone([node], node.outputs)
            return
        written = replace(node, operation=placed.operation, inputs=placed.inputs, per_window=True)
        self.out.written.nodes.append(written)
        for output, (axis, before) in zip(node.outputs, placed.at, strict=True):
            shape = self.graph.shapes[output]
            self.values[output] = PerWindow(output, shape, axis, before)

    def _given(self, node: Node) -> dict[str | None, PerWindow]:
        """Return the inputs of a node that differ from window to window."""
        return {name: self.gather(name) for name in node.inputs if name and name in self.values}

    def run_alone(self, nodes: Sequence[Node], outputs: Sequence[str]) -> None:
        """Write a piece of the classifier that runs on each window alone."""
        made = {name for node in nodes for name in node.outputs}
        names = dict.fromkeys(
            name for node in nodes for name in node.inputs if name is not None and name not in made
        )
        each = tuple(name in self.values for name in names)
        inputs = [
            self.stand(self.gather(name), None).value if one else self.out.parameter_value(name)
            for name, one in zip(names, each, strict=True)
        ]
        piece = tuple(replace(node, per_window=True) for node in nodes)
        operation = Alone(piece, tuple(names), tuple(outputs), each)
        last = nodes[-1]
        self.out.written.nodes.append(
            Node(operation, tuple(inputs), tuple(outputs), last.name, last.kind, per_window=True)
        )
        for output in outputs:
            self.values[output] = PerWindow(output, self.graph.shapes[output], None)

    def _note_alone(self, node: Node, why: str) -> None:
        kind, reasons = node.kind or node.operation.title, self.out.reasons
        if reasons and (reasons[-1].operation, reasons[-1].layer) == (kind, node.name):
            reasons.pop()  # it ends sharing, too: one reason says both
        reasons.append(
            Reason(kind, node.name, f"{why}; it runs on each window alone, one after the other")
        )

    def mixing(self, node: Node) -> ModelError:
        """Return the error for a network that takes several images, and may mix them here."""
        return ModelError(
            f"convert: the model was exported for exactly {self.graph.batch} images, and that "
            f"number is built into its operations, or they mix the images: "
            f"{node.kind or node.operation.title} {node.name!r}. Export it again with a free "
            f"batch: dynamic_shapes=({{0: torch.export.Dim.DYNAMIC}},) in PyTorch, a named first "
            f"dimension in ONNX; or for one image."
        )

    # From fields.

    def gather(self, name: str) -> PerWindow:
        """Return a value as one tensor per window, in its native axes."""
        value = self.values[name]
        if isinstance(value, Field):
            value = self._gather_field(value)
        elif isinstance(value, Joined):
            parts = [self._gather_field(part) for part in value.fields]
            axis = value.axis
            if axis == parts[0].axis:
                parts, axis = [self.stand(part, None) for part in parts], axis + 1
            result = self.out.unique(name)
            given = tuple(part.value for part in parts)
            self.out.written.nodes.append(Node(Concat(axis), given, (result,), "", per_window=True))
            value = replace(parts[0], value=result, shape=self.graph.shapes[name])
        self.values[name] = value
        return value

    def _gather_field(self, x: Field) -> PerWindow:
        (taken,) = self.blocks.gathered(x).parts.values()
        layout = _with_batch(x.layout)
        atoms = [atom for axis in layout.axes for atom in axis]
        batch = next(atom for atom in atoms if atom.kind is AtomKind.BATCH)
        spatial = sorted((atom for atom in atoms if atom.spatial), key=lambda atom: atom.key)
        stored = (batch, *layout.stored, *spatial)
        axis = layout.batch_axis
        assert axis is not None
        before = prod(sizes(layout.axes[axis][: layout.axes[axis].index(batch)]))
        value = taken
        if not layout.is_feature_map(len(x.axes)) or stored != tuple(atoms):
            wanted = free(layout.shape, axis)
            regroup = Regroup((-1, *sizes(stored[1:])), order(stored, atoms), wanted, axis)
            value = self.out.helper(taken, regroup)
        if not x.layout.axes:
            return PerWindow(value, (), None)
        return PerWindow(value, layout.shape, axis, before)

    # Where windows stand.

    def stand(self, x: PerWindow, axis: int | None) -> PerWindow:
        """Let the windows stand in another axis, outside of its entries; None: ahead of all.

        Raises
        ------
        MustBeAlone
            If the network takes a fixed number of images, in whose place the windows stand.
        """
        if x.axis == axis and x.before == 1:
            return x
        if self.graph.batch > 1:
            raise MustBeAlone("takes the axis of the images for another")
        value, shape, stored = x.value, x.shape, free(x.shape, x.axis)
        # Apart: (..., before, windows, rest, ...), in which the windows stand at `place`.
        apart, place, at = stored, 0, 0 if axis is None else axis
        if x.axis is not None:
            ahead = (x.before,) if x.before > 1 else ()
            rest = shape[x.axis] // x.before
            apart = (*shape[: x.axis], *ahead, -1, rest, *shape[x.axis + 1 :])
            place = x.axis + len(ahead)
            # The axis in which they stood may be in two pieces.
            at += bool(ahead) and at > x.axis
        others = [i for i in range(len(apart)) if i != place]
        turned = (*others[:at], place, *others[at:])
        if turned != tuple(range(len(apart))):
            if apart != stored:
                value = self.out.helper(value, Reshape(apart))
            value = self.out.helper(value, Permute(turned))
            stored = tuple(apart[i] for i in turned)
        wanted = free(shape, axis)
        if stored != wanted:
            value = self.out.helper(value, Reshape(wanted))
        return PerWindow(value, shape, axis)

    def for_each(self, name: str, shape: Sequence[int], axis: int | None) -> str:
        """Repeat a parameter for every window; the windows stand in this axis."""
        repeated = self.out.helper(self.out.parameter_value(name), ForEachWindow(), image=True)
        return self.stand(PerWindow(repeated, tuple(shape), None), axis).value

    def shape_of(self, name: str) -> tuple[int, ...]:
        """Return the native shape of a value or parameter."""
        if name in self.graph.constants:
            return self.graph.constants[name].shape
        return tuple(self.graph.shapes[name])


class AsTheyStand(GatheredWindows):
    """A piece of a network whose windows stand in the first axis, and are never moved."""

    def __init__(self, graph: Graph) -> None:
        out = Emitter(graph)
        super().__init__(graph, out, Blocks(Grid((1,), (1,)), out), {})

    def treats_apart(self, inputs: Sequence[str]) -> bool:
        """Whether it treats each entry of its inputs' first axis by itself, operation by operation.

        ``inputs`` are values of the graph.
        """
        self.values = {name: PerWindow(name, self.graph.shapes[name]) for name in inputs}
        for node in self.graph.nodes:
            given = self._given(node)
            if not given:
                self.out.waiting.update(dict.fromkeys(node.outputs, node))
                continue
            try:
                placed = place(self, node, given)
            except MustBeAlone:
                return False
            for output, (axis, before) in zip(node.outputs, placed.at, strict=True):
                self.values[output] = PerWindow(output, self.graph.shapes[output], axis, before)
        results = [self.values.get(name) for name in self.graph.outputs]
        return all(isinstance(x, PerWindow) and (x.axis, x.before) == (0, 1) for x in results)

    def stand(self, x: PerWindow, axis: int | None) -> PerWindow:
        """Return the windows where they are.

        Raises
        ------
        MustBeAlone
            If they are wanted elsewhere.
        """
        if (x.axis, x.before) != (axis, 1):
            raise MustBeAlone("takes the axis of the images for another")
        return x


def _with_batch(layout: Layout) -> Layout:
    """Return a layout in which the windows have an atom: the outermost of the first axis."""
    if layout.batch_axis is not None:
        return layout
    first, *others = layout.axes or ((),)
    return replace(layout, axes=((Atom(AtomKind.BATCH, 1), *first), *others))
