"""Which operation has which rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from fullconv.operations import Operation
from fullconv.table import Table

if TYPE_CHECKING:
    from fullconv.graph import Node
    from fullconv.lift.field import Shared
    from fullconv.lift.lifting import Lifting

    Rule = Callable[[Lifting, Node, Operation], Shared]

Kind = TypeVar("Kind", bound=Operation)


class EndsSharing(Exception):  # noqa: N818 - not an error: the walk goes on, window by window
    """A rule's word that neighbouring windows cannot share what comes next; short, says why."""


_rules: Table[type[Operation], Rule] = Table("a rule")


def rule(
    operation: type[Kind],
) -> Callable[
    [Callable[[Lifting, Node, Kind], Shared]], Callable[[Lifting, Node, Kind], Shared]
]:
    """Register the rule for exactly this operation; a second one is refused at import.

    A rule is given the walk, the node and its operation, and returns what the node's result becomes
    for all windows. It raises `EndsSharing` where neighbouring windows cannot share it.
    """
    return _rules(operation)  # type: ignore[return-value] - it is called with this kind alone


def find(operation: Operation) -> Rule:
    """Return the rule for an operation; what has none runs window by window."""
    return _rules.find(type(operation)) or _no_rule


def _no_rule(lifting: Lifting, node: Node, operation: Operation) -> Shared:
    raise EndsSharing("has no rule for windows that share their pixels")


def supported() -> dict[str, str]:
    """Return the operations that neighbouring windows can share, and where each rule stands."""
    return {kind.__name__: held.__module__ for kind, held in _rules.items()}
