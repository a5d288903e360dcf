"""The graph that rules write: operations on stored maps, and rearranged parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from fullconv.conversion.report import Change, Reason
from fullconv.graph.graph import Graph, Node, Recipe
from fullconv.lift.field import Field, Shared
from fullconv.lift.registry import EndsSharing
from fullconv.operations import Operation, Permute, Reshape, Slice


class Emitter:
    """The graph that lifting writes, and its notes.

    Attributes
    ----------
    graph : Graph
        The classifier.
    written : Graph
        The network over all windows, as far as it is written.
    waiting : dict of str to Node
        Operations on parameters alone: written only if something needs them.
    reasons, changes : list
        The notes that a report is made of.
    differs : bool
        Whether some result differs from the crops' (approximate form only).
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.written = Graph(graph.image, batch=graph.batch, window=graph.window)
        self.waiting: dict[str, Node] = {}
        self.reasons: list[Reason] = []
        self.changes: list[Change] = []
        self.differs = False
        self._names = {graph.image, *graph.constants, *graph.shapes}
        self._numbers: dict[str, int] = {}
        self._constants: dict[Recipe, str] = {}
        self._computed: dict[str, Recipe] = {}
        self._helpers: dict[tuple[Operation, tuple[str | None, ...]], str] = {}
        self._emitted: set[str] = set()

    @contextmanager
    def attempt(self) -> Iterator[int]:
        """Give the number of operations before the block; take back its own when sharing ends."""
        logs: tuple[list[Any], ...] = (self.written.nodes, self.reasons, self.changes)
        marks, differed = [len(log) for log in logs], self.differs
        try:
            yield marks[0]
        except EndsSharing:
            for log, mark in zip(logs, marks, strict=True):
                del log[mark:]
            self.differs = differed
            written = {name for node in self.written.nodes for name in node.outputs}
            self._helpers = {k: name for k, name in self._helpers.items() if name in written}
            raise

    def approximate(self, node: Node, why: str) -> None:
        """Note that this layer's result differs from the crops' (approximate form only)."""
        self.differs = True
        self.reasons.append(Reason(node.kind or node.operation.title, node.name, why))

    def ends_sharing(
        self, node: Node, why: str, then: str = "it runs on one tensor per window"
    ) -> None:
        """Note that windows share less from this layer on, and why."""
        kind = node.kind or node.operation.title
        self.reasons.append(Reason(kind, node.name, f"{why}; from here on {then}"))

    def change(self, node: Node, after: str) -> None:
        """Note the change of a layer."""
        self.changes.append(Change(node.name, node.kind or node.operation.title, after))

    # Operations.

    def emit(self, node: Node, operation: Operation, inputs: Sequence[str | None]) -> str:
        """Write one operation on stored maps; return the name of its result.

        Where the operation is the node's own, unchanged, the framework clones its own node.
        """
        name = self.unique(node.outputs[0])
        self._emitted.add(name)
        self.written.nodes.append(
            replace(node, operation=operation, inputs=tuple(inputs), outputs=(name,))
        )
        return name

    def named(self, node: Node, x: Shared, begun: int) -> Shared:
        """Let the first part of a node's result have the name of the node's own output.

        It must be the result of an operation among those that were written since ``begun``.
        """
        own = node.outputs[0]
        if not isinstance(x, Field):
            return x
        first = next(iter(x.parts.values()))
        nodes = self.written.nodes[begun:]
        if first not in self._emitted or not any(first in other.outputs for other in nodes):
            return x

        def renamed(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(own if value == first else value for value in values)

        self.written.nodes[begun:] = [
            replace(other, inputs=renamed(other.inputs), outputs=renamed(other.outputs))
            for other in nodes
        ]
        # Only what was written since can take it.
        for other in nodes:
            if first in other.inputs and other.outputs[0] not in self._emitted:
                result = self._helpers.pop((other.operation, other.inputs))
                self._helpers[other.operation, renamed(other.inputs)] = result
        return x.each(lambda _, value: own if value == first else value)

    def helper(self, value: str | Sequence[str], operation: Operation, image: bool = False) -> str:
        """Write an operation that the original lacks, or reuse an equal one; return its result."""
        values = (value,) if isinstance(value, str) else tuple(value)
        inputs = (*values, self.graph.image) if image else values
        key = operation, inputs
        if key not in self._helpers:
            self._helpers[key] = result = self.unique(values[0])
            self.written.nodes.append(Node(operation, inputs, (result,), ""))
        return self._helpers[key]

    def unique(self, base: str) -> str:
        """Return a value name that is not taken."""
        number = self._numbers.get(base, 1)
        while f"{base}_{number}" in self._names:
            number += 1
        self._numbers[base] = number
        name = f"{base}_{number}"
        self._names.add(name)
        return name

    # Parameters.

    def is_parameter(self, name: str | None) -> bool:
        """Whether an input depends on parameters alone."""
        return name is not None and (name in self.graph.constants or name in self.waiting)

    def parameter(self, name: str | None) -> Recipe | None:
        """Return a parameter, or None where the input is left out."""
        if name is None:
            return None
        if name in self.graph.constants:
            return self.graph.constants[name]
        if name in self.waiting:
            self._write_waiting(name)
            self._computed[name] = recipe = Recipe(name, self.graph.shapes[name])
            return recipe
        raise EndsSharing("takes its weights from a computed tensor")

    def constant(self, recipe: Recipe | None) -> str | None:
        """Write a rearranged parameter; return its name."""
        if recipe is None:
            return None
        if recipe.source in self._computed:
            return self._rearranged(recipe)
        if recipe not in self._constants:
            taken = recipe.source in self.written.constants
            name = self.unique(recipe.source) if taken else recipe.source
            self.written.constants[name] = recipe
            self._constants[recipe] = name
        return self._constants[recipe]

    def _rearranged(self, recipe: Recipe) -> str:
        """Rearrange a computed parameter by operations of the graph."""
        name = recipe.source
        for verb, numbers in recipe.steps:
            moves = {"reshape": Reshape, "permute": Permute}.get(verb)
            operation = moves(numbers) if moves else Slice(*numbers[:3])
            result = self.unique(recipe.source)
            self.written.nodes.append(Node(operation, (name,), (result,), recipe.source))
            name = result
        return name

    def parameter_value(self, name: str) -> str:
        """Write a parameter, or the operations that compute it; return its name."""
        if name in self.waiting:
            self._write_waiting(name)
            return name
        written = self.constant(self.graph.constants[name])
        assert written is not None
        return written

    def drop_unused(self) -> None:
        """Drop the operations and parameters that no output needs."""
        needed = set(self.written.outputs)
        kept = []
        for node in reversed(self.written.nodes):
            if needed.intersection(node.outputs):
                needed.update(name for name in node.inputs if name is not None)
                kept.append(node)
        self.written.nodes = kept[::-1]
        constants = self.written.constants
        self.written.constants = {name: r for name, r in constants.items() if name in needed}

    def _write_waiting(self, name: str) -> None:
        if any(name in node.outputs for node in self.written.nodes):
            return
        node = self.waiting[name]
        inputs = tuple(i if i is None else self.parameter_value(i) for i in node.inputs)
        self.written.nodes.append(replace(node, inputs=inputs, per_window=True))
