"""One writing of a lifted network in a framework: what every framework holds of it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, TypeVar

from fullconv.geometry import Grid
from fullconv.graph import Graph, Node, axes_of_maps

Source = TypeVar("Source")
Value = TypeVar("Value")


class Writing(Generic[Source, Value]):
    """The state of one writing.

    Attributes
    ----------
    graph : Graph
        What is written.
    source : Source
        The classifier that it comes from, as its framework reads it.
    grid : Grid
        The windows that it is written for.
    values : dict of str to Value
        What has been written of the graph's values.
    axes : dict of str to int
        How many axes of cells the stored map of a value has.
    """

    def __init__(self, graph: Graph, source: Source, grid: Grid) -> None:
        self.graph, self.source, self.grid = graph, source, grid
        self.values: dict[str, Value] = {}
        self.axes = axes_of_maps(graph)

    def parameter(self, name: str) -> Value:
        """Write a parameter as a value; a framework whose layers hold their own has none such."""
        raise KeyError(name)

    def value(self, name: str | None) -> Value | None:
        """Return a value; a parameter becomes one when it is first asked for."""
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
    """Names that are given once each: the original's where it is free, else with a number.

    A name with a number is none that the original gives to anything.
    """

    def __init__(self, original: Collection[str]) -> None:
        self._original, self._given = frozenset(original), set[str]()

    def give(self, base: str) -> str:
        """Return a name that is not given yet, which is given from now on."""
        name, number = base, 1
        while name in self._given or (number > 1 and name in self._original):
            number += 1
            name = f"{base}_{number}"
        self._given.add(name)
        return name
