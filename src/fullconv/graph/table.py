"""Tables of functions by key, which decorators fill when the modules of the functions load."""

from __future__ import annotations

from collections.abc import Callable, Collection, ItemsView, Iterator
from typing import Any, Generic, TypeVar

from fullconv.graph.graph import Node
from fullconv.operations import Operation

Key = TypeVar("Key")
Function = TypeVar("Function")
State = TypeVar("State")
OperationT = TypeVar("OperationT", bound=Operation)
Result = TypeVar("Result")


class Table(Generic[Key, Function]):
    """Functions by the operators, layers or operations that they serve; a call adds one.

    Attributes
    ----------
    what : str
        The word for a function of the table in messages: ``a rule``.
    besides : collection
        Keys that need no function, and must not get one.
    """

    def __init__(self, what: str, besides: Collection[Key] = ()) -> None:
        self.what, self.besides = what, besides
        self._functions: dict[Key, Function] = {}

    def __call__(self, *keys: Key) -> Callable[[Function], Function]:
        """Register a function for exactly these; a second one is refused at import."""

        def register(function: Function) -> Function:
            for key in keys:
                name = getattr(key, "__name__", key)
                holder = getattr(self._functions.get(key), "__module__", None)
                if holder is not None:
                    raise RuntimeError(f"{name} already has {self.what}, in {holder}")
                if key in self.besides:
                    raise RuntimeError(f"{name} needs {self.what} no more: it has one of its kind")
                self._functions[key] = function
            return function

        return register

    def __iter__(self) -> Iterator[Key]:
        """Return all keys that have a function."""
        return iter(self._functions)

    def find(self, key: Key) -> Function | None:
        """Return the function for a key; None where it has none of its own."""
        return self._functions.get(key)

    def items(self) -> ItemsView[Key, Function]:
        """Return every key with its function, in the order in which they were registered."""
        return self._functions.items()


Of = Callable[[State, Node, OperationT], Result]
"""A function of a state, a node, and the node's operation, which is of one kind."""


class OperationTable(Table[type[Operation], Of[State, Any, Result]], Generic[State, Result]):
    """Functions by the operations that they serve; each takes its own kind of operation alone."""

    def __call__(
        self, *operations: type[OperationT]
    ) -> Callable[[Of[State, OperationT, Result]], Of[State, OperationT, Result]]:
        """Register a function for exactly these; a second one is refused at import."""
        return super().__call__(*operations)
