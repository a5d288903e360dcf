"""Which method of a framework's writer writes which operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fullconv.operations import Operation

M = TypeVar("M", bound=Callable[..., Any])


class Methods:
    """The methods of one writer; called, it registers one."""

    def __init__(self) -> None:
        self._methods: dict[type[Operation], Callable[..., Any]] = {}

    def __call__(self, operation: type[Operation]) -> Callable[[M], M]:
        """Register the method for exactly this operation; a second one is refused at import."""

        def register(method: M) -> M:
            if operation in self._methods:
                raise RuntimeError(f"{operation.__name__} is already written elsewhere")
            self._methods[operation] = method
            return method

        return register

    def find(self, operation: Operation) -> Callable[..., Any] | None:
        """Return the method for an operation; None where it has none of its own."""
        return self._methods.get(type(operation))
