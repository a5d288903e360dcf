"""Finds the operations that normalize a window by its own mean, spread or maximum."""

from __future__ import annotations

from collections.abc import Iterator

from fullconv.graph.graph import Graph, Node
from fullconv.operations import Identity, Pointwise, Reduce, Reshape

WORDS = {
    "mean": "mean",
    "sum": "sum",
    "max": "maximum",
    "l2": "norm",
    "var": "variance",
    "std": "standard deviation",
}


def own_statistic(graph: Graph, node: Node) -> str | None:
    """Return the statistic of one input by which a node scales that input: "mean".

    None where it scales by anything else, such as the result of a learned gate.
    """
    producers = {name: made for made in graph.nodes for name in made.outputs}
    inputs = [name for name in node.inputs if name is not None]
    for name in inputs:
        for maker in _back(name, producers):
            if isinstance(maker.operation, Reduce) and maker.first is not None:
                others = {
                    source
                    for other in inputs
                    if other != name
                    for source in (other, *_sources(other, producers))
                }
                if maker.first in others:
                    return WORDS[maker.operation.kind]
    return None


def _back(name: str, producers: dict[str, Node]) -> Iterator[Node]:
    """Yield the nodes that made a value, back through those that keep one number one number."""
    waiting = [name]
    while waiting:
        maker = producers.get(waiting.pop())
        if maker is None:
            continue
        yield maker
        if isinstance(maker.operation, Pointwise | Identity | Reshape):
            waiting.extend(source for source in maker.inputs if source is not None)


def _sources(name: str, producers: dict[str, Node]) -> Iterator[str]:
    for maker in _back(name, producers):
        yield from (source for source in maker.inputs if source is not None)
