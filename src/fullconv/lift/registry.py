"""Which operation has which rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, cast

from fullconv.operations import Operation
from fullconv.table import Table

if TYPE_CHECKING:
    from fullconv.graph import Node
    from fullconv.lift.field import Shared
    from fullconv.lift.lifting import Lifting

    Kind = TypeVar("Kind", bound=Operation)
    Of = Callable[[Lifting, Node, Kind], Shared]
    Rule = Of[Operation]


class EndsSharing(Exception):  # noqa: N818 - not an error: the walk goes on, window by window
    """A rule's word that neighbouring windows cannot share what comes next; short, says why."""


_rules: Table[type[Operation], Rule] = Table("a rule")


def rule(*operations: type[Kind]) -> Callable[[Of[Kind]], Of[Kind]]:
    """Register the rule for exactly these operations; a second one is refused at import.

    A rule is given the walk, the node and its operation, and returns what the node's result becomes
    for all windows. It raises `EndsSharing` where neighbouring windows cannot share it.
    """
    # A rule is called with its own kind alone.
    return cast("Callable[[Of[Kind]], Of[Kind]]", _rules(*operations))


def find(operation: Operation) -> Rule:
    """Return the rule for an operation; what has none runs window by window."""
    return _rules.find(type(operation)) or _no_rule


def _no_rule(lifting: Lifting, node: Node, operation: Operation) -> Shared:
    raise EndsSharing("has no rule for windows that share their pixels")


def supported() -> dict[str, str]:
    """Return the operations that neighbouring windows can share, and where each rule stands."""
    return {kind.__name__: held.__module__ for kind, held in _rules.items()}


def rules() -> dict[type[Operation], Rule]:
    """Return every operation that has a rule, with it."""
    return dict(_rules.items())
