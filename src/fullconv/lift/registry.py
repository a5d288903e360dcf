"""The table of rules, by operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fullconv.graph.graph import Node
from fullconv.graph.table import Of, OperationTable
from fullconv.operations import Operation
from fullconv.wording import unit

if TYPE_CHECKING:
    from fullconv.lift.field import Shared
    from fullconv.lift.lifting import Lifting

    Rule = Of[Lifting, Any, Shared]


class EndsSharing(Exception):  # noqa: N818 - not an error: the walk goes on, window by window
    """Neighbouring windows cannot share the result of an operation; the message says why."""


rule = OperationTable["Lifting", "Shared"]("a rule")
"""Registers a rule for exactly the given operations.

A rule takes the walk, the node and its operation, and returns the node's result for all windows.
It raises `EndsSharing` where neighbouring windows cannot share it.
"""


def find(operation: Operation) -> Rule:
    """Return the rule for an operation; one without a rule runs window by window."""
    return rule.find(type(operation)) or _no_rule


def _no_rule(lifting: Lifting, node: Node, operation: Operation) -> Shared:
    shared = unit(lifting.grid.dimensions, many=True)
    raise EndsSharing(f"has no rule for windows that share their {shared}")


def supported() -> dict[str, str]:
    """Return the operations that neighbouring windows can share, with the module of each rule."""
    return {kind.__name__: function.__module__ for kind, function in rule.items()}


def rules() -> dict[type[Operation], Rule]:
    """Return every operation that has a rule, with its rule."""
    return dict(rule.items())
