"""A network as a list of operations on named values, without a framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fullconv.geometry.grid import Sizes
from fullconv.graph.layout import Layout, cells, features
from fullconv.operations import AddAxis, FoldAxes, Operation, Permute, Reshape

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """A parameter of the original network, rearranged; nothing is computed until it is written.

    Attributes
    ----------
    source : str
        Name of the original parameter.
    shape : tuple of int
        Shape after the steps.
    steps : tuple of (str, tuple of int)
        ``("reshape", shape)``, ``("permute", order)`` or ``("take", (axis, start, stop, size))``,
        where the axis had ``size`` entries.
    factor : float
        The factor of all numbers (ONNX Gemm, 'alpha' and 'beta').
    """

    source: str
    shape: Shape
    steps: tuple[tuple[str, tuple[int, ...]], ...] = ()
    factor: float = 1.0

    @property
    def is_original(self) -> bool:
        """Whether it is the parameter itself: equal shapes do not say so."""
        return not self.steps and self.factor == 1

    def reshape(self, *shape: int) -> Recipe:
        """Regroup the elements, row-major."""
        if shape == self.shape:
            return self
        return self._then("reshape", shape, shape)

    def permute(self, *order: int) -> Recipe:
        """Reorder the axes."""
        if order == tuple(range(len(self.shape))):
            return self
        shape = tuple(self.shape[i] for i in order)
        return self._then("permute", order, shape)

    def rearranged(self, operation: Reshape | Permute) -> Recipe:
        """Return the recipe after a layer that only rearranges."""
        if isinstance(operation, Permute):
            return self.permute(*operation.order)
        return self.reshape(*operation.shape)

    def take(self, axis: int, start: int, stop: int) -> Recipe:
        """Keep ``start:stop`` of one axis."""
        shape = (*self.shape[:axis], stop - start, *self.shape[axis + 1 :])
        return self._then("take", (axis, start, stop, self.shape[axis]), shape)

    def uncut(self) -> tuple[Recipe, tuple[tuple[int, int, int], ...]]:
        """Return the recipe before the cuts along cells that end it, and these cuts.

        A cut is (axis, start, stop).
        """
        if not self.steps or self.steps[-1][0] != "take" or self.steps[-1][1][0] < 2:
            return self, ()
        *before, (_, (axis, start, stop, size)) = self.steps
        shape = (*self.shape[:axis], size, *self.shape[axis + 1 :])
        whole, cuts = replace(self, steps=tuple(before), shape=shape).uncut()
        return whole, (*cuts, (axis, start, stop))

    def scale(self, factor: float) -> Recipe:
        """Multiply all numbers."""
        return replace(self, factor=self.factor * factor)

    def _then(self, verb: str, numbers: tuple[int, ...], shape: Shape) -> Recipe:
        return replace(self, shape=shape, steps=(*self.steps, (verb, numbers)))

    def apply(self, array: Any) -> Any:
        """Carry the steps out on an array of NumPy or PyTorch; a view where one will do."""
        for verb, numbers in self.steps:
            if verb == "reshape":
                array = array.reshape(numbers)
            elif verb == "permute":
                permute = getattr(array, "permute", None) or array.transpose
                array = permute(*numbers)
            else:
                axis, start, stop, _ = numbers
                array = array[(slice(None),) * axis + (slice(start, stop),)]
        return array if self.factor == 1 else array * array.dtype.type(self.factor)


@dataclass(frozen=True)
class Node:
    """One operation of a network.

    Attributes
    ----------
    operation : Operation
        The record of what it does.
    inputs, outputs : tuple of str
        Names of values; None for an input that is left out.
    name : str
        The layer that it belongs to, under the user's own name: ``classifier.0``.
    kind : str
        Its name in the user's framework: ``Linear``, ``Conv``.
    source : object
        The framework's own node, to be cloned where the operation stays as it is.
    per_window : bool
        Whether it runs on one tensor per window, at the native size.
    """

    operation: Operation
    inputs: tuple[str | None, ...]
    outputs: tuple[str, ...]
    name: str
    kind: str = ""
    source: Any = None
    per_window: bool = False

    @property
    def first(self) -> str | None:
        """The first input, where there is one."""
        return self.inputs[0] if self.inputs else None


@dataclass(frozen=True)
class Alone(Operation):
    """Runs a piece of the classifier on each window alone, one after the other.

    Its node's inputs are those of the piece, in order: ``(windows, *shape)`` where ``each`` is
    true, else the same for all windows. Its results are ``(windows, *shape)``.

    Attributes
    ----------
    nodes : tuple of Node
        The piece, on native tensors.
    inputs, outputs : tuple of str
        Names of the inputs and results inside the piece.
    each : tuple of bool
        Which inputs differ from window to window.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    each: tuple[bool, ...]


@dataclass
class Graph:
    """A network: one image in, one or more values out.

    Attributes
    ----------
    image : str
        Name of the input.
    nodes : list of Node
        The operations, in an order in which they can run.
    outputs : list of str
        Names of the results.
    constants : dict of str to Recipe
        The parameters.
    shapes : mapping of str to tuple of int
        Native shape of every value, where the graph is read from a framework.
    batch : int
        The number of images in the native shapes: one, or the fixed number that the model takes.
    window : tuple of int
        Size of the native image along every axis.
    fixed : tuple of int
        Of a lifted network, the axes along which there is one window.
    """

    image: str
    nodes: list[Node] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    constants: dict[str, Recipe] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    batch: int = 1
    window: Sizes = ()
    fixed: Sizes = ()

    @property
    def layout(self) -> Layout:
        """How the axes of the image are composed: ``(N, C, *window)`` as a rule.

        A classifier may take ``(N, *window)``, without an axis of channels; or, for windows of one
        pixel, vectors of features ``(N, C)``.
        """
        batch, *sizes = self.shapes[self.image]
        spatial = [cells(axis, extent) for axis, extent in enumerate(self.window)]
        if self.takes_cells:
            first = Layout.feature_map(batch, (), spatial).axes[0]
            return Layout((first, *spatial), ())
        whole = Layout.feature_map(batch, features(sizes[0]), spatial)
        return replace(whole, axes=whole.axes[: 1 + len(sizes)])

    @property
    def takes_cells(self) -> bool:
        """Whether the image has no axis of channels: one axis for each of the window.

        Beside a window of one pixel, a longer axis holds features.
        """
        sizes = tuple(self.shapes[self.image][1:])
        is_pixel = all(n == 1 for n in self.window)
        return sizes == self.window if is_pixel else len(sizes) == len(self.window)

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return self.layout.channels

    def consumers(self, value: str) -> Sequence[Node]:
        """Return the nodes that read a value."""
        return [node for node in self.nodes if value in node.inputs]


def axes_of_maps(graph: Graph) -> dict[str, int]:
    """Return the number of axes of cells of every stored map in a lifted graph."""
    axes = {graph.image: len(graph.window)}
    for node in graph.nodes:
        first = next((axes[name] for name in node.inputs if name in axes), len(graph.window))
        if isinstance(node.operation, AddAxis):
            first += 1
        elif isinstance(node.operation, FoldAxes):
            first = node.operation.dimensions
        axes.update(dict.fromkeys(node.outputs, first))
    return axes
