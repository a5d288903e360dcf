"""The state of writing a lifted network, as far as all frameworks share it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, TypeVar

from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph, Node, axes_of_maps

GraphT = TypeVar("GraphT")
Value = TypeVar("Value")


class Writing(Generic[GraphT, Value]):
    """The state of writing one lifted network.

    Attributes
    ----------
    graph : Graph
        The lifted network.
    source : Source
        The original classifier, as its framework reads it.
    grid : Grid
        The windows of the lifted network.
    values : dict of str to Value
        The values written so far, by their names in the graph.
    axes : dict of str to int
        Number of axes of cells in the stored map of each value.
    """

    def __init__(self, graph: Graph, source: GraphT, grid: Grid) -> None:
        self.graph, self.source, self.grid = graph, source, grid
        self.values: dict[str, Value] = {}
        self.axes = axes_of_maps(graph)

    def parameter(self, name: str) -> Value:
        """Write a parameter as a value; some frameworks keep parameters in their layers alone."""
        raise KeyError(name)

    def value(self, name: str | None) -> Value | None:
        """Return a value; a parameter is written as one at its first use."""
        if name is None:
            return None
        if name not in self.values:
            self.values[name] = self.parameter(name)
        return self.values[name]

    def inputs(self, node: Node) -> list[Value | None]:
        """Return a node's inputs."""
        return [self.value(name) for name in node.inputs]

    def first(self, node: Node) -> Value | None:
        """Return a node's first input."""
        return self.value(node.inputs[0])


class Names:
    """Unique names: the original's name where it is free, else the name with a number.

    A name with a number is never one of the original's names.
    """

    def __init__(self, original: Collection[str]) -> None:
        self._original, self._given = frozenset(original), set[str]()

    def give(self, base: str) -> str:
        """Return a name that was not given before, and mark it as given."""
        name, number = base, 1
        while name in self._given or (number > 1 and name in self._original):
            number += 1
            name = f"{base}_{number}"
        self._given.add(name)
        return name
