"""Which function reads or writes what: filled by decorators when a framework is imported."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key")
Function = TypeVar("Function")


class Table(Generic[Key, Function]):
    """Functions by the operators, layers or operations that they are for; called, it adds one.

    ``besides`` is what needs no function, and must not get one.
    """

    def __init__(self, besides: Collection[Key] = ()) -> None:
        self._functions: dict[Key, Function] = {}
        self._besides = besides

    def __call__(self, *keys: Key) -> Callable[[Function], Function]:
        """Register a function for exactly these; a second one is refused at import."""

        def register(function: Function) -> Function:
            for key in keys:
                if key in self._functions or key in self._besides:
                    raise RuntimeError(f"{key} has a place in this table already")
                self._functions[key] = function
            return function

        return register

    def __iter__(self) -> Iterator[Key]:
        """Return all keys that have a function."""
        return iter(self._functions)

    def find(self, key: Key) -> Function | None:
        """Return the function for a key; None where it has none of its own."""
        return self._functions.get(key)
