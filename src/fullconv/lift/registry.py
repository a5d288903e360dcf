"""Which operation has which rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fullconv.graph import Node
from fullconv.operations import Operation
from fullconv.table import Of, OperationTable
from fullconv.wording import unit

if TYPE_CHECKING:
    from fullconv.lift.field import Shared
    from fullconv.lift.lifting import Lifting

    Rule = Of[Lifting, Any, Shared]


class EndsSharing(Exception):  # noqa: N818 - not an error: the walk goes on, window by window
    """A rule's word that neighbouring windows cannot share what comes next; short, says why."""


rule = OperationTable["Lifting", "Shared"]("a rule")
"""Registers the rule for exactly some operations.

A rule is given the walk, the node and its operation, and returns what the node's result becomes
for all windows. It raises `EndsSharing` where neighbouring windows cannot share it.
"""


def find(operation: Operation) -> Rule:
    """Return the rule for an operation; what has none runs window by window."""
    return rule.find(type(operation)) or _no_rule


def _no_rule(lifting: Lifting, node: Node, operation: Operation) -> Shared:
    shared = unit(lifting.grid.dimensions, many=True)
    raise EndsSharing(f"has no rule for windows that share their {shared}")


def supported() -> dict[str, str]:
    """Return the operations that neighbouring windows can share, and where each rule stands."""
    return {kind.__name__: held.__module__ for kind, held in rule.items()}


def rules() -> dict[type[Operation], Rule]:
    """Return every operation that has a rule, with it."""
    return dict(rule.items())
