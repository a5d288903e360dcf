"""Which operation has which rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fullconv.operations import Operation

if TYPE_CHECKING:
    from fullconv.graph import Node
    from fullconv.lift.field import Shared
    from fullconv.lift.lifting import Lifting

    Rule = Callable[[Lifting, Node], Shared]

_rules: dict[type[Operation], Rule] = {}


class EndsSharing(Exception):  # noqa: N818 - not an error: the walk goes on, window by window
    """A rule's word that neighbouring windows cannot share what comes next; short, says why."""


def rule(operation: type[Operation]) -> Callable[[Rule], Rule]:
    """Register the rule for exactly this operation; a second one is refused at import."""

    def register(function: Rule) -> Rule:
        if operation in _rules:
            held = _rules[operation].__module__
            raise RuntimeError(f"{operation.__name__} already has a rule, in {held}")
        _rules[operation] = function
        return function

    return register


def find(operation: Operation) -> Rule:
    """Return the rule for an operation; what has none runs window by window."""
    return _rules.get(type(operation), _no_rule)


def _no_rule(lifting: Lifting, node: Node) -> Shared:
    raise EndsSharing("has no rule for windows that share their pixels")


def supported() -> dict[str, str]:
    """Return the operations that neighbouring windows can share, and where each rule stands."""
    return {kind.__name__: held.__module__ for kind, held in _rules.items()}
