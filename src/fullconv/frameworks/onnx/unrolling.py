"""Unrolling of branches, loops and lists whose course is known at one size of image.

Exporters write an `If` where a size decides (PyTorch's ``squeeze`` of an axis that may be one), a
`Loop` or `Scan` of a known number of turns, and lists of tensors where Python had them. At the
native size each of these is a fixed sequence of plain operators, which take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from fullconv.errors import FullconvError, first_line
from fullconv.frameworks.bounds import MOST_TURNS
from fullconv.frameworks.onnx.ahead import Ahead, refused
from fullconv.frameworks.onnx.cloning import Values, same_graphs
from fullconv.frameworks.onnx.lists import Lists

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.infer import Inference

INNER = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


class Unrolling:
    """Writes out the branches, loops and lists of a model."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.ahead = Ahead(inference)
        self.lists = Lists(self.ahead)
        self.ways: dict[str, Callable[[ir.Node], Values | None]] = {
            "If": self._if,
            "Loop": self._loop,
            "Scan": self._scan,
            "OptionalHasElement": self._has_element,
            **self.lists.ways,
        }

    def replace(self, node: ir.Node) -> bool:
        """Write a node out as others, and infer their results; False for a plain operator."""
        if node.domain:
            return False
        way = self.ways.get(node.op_type)
        if node.op_type == "Identity" and self.lists.is_list(node):
            way = self.lists.same
        if way is None:
            if any(attribute.type in INNER for attribute in node.attributes.values()):
                raise refused(node, "contains a graph of its own")
            return False
        try:
            results = way(node)
        except FullconvError:
            raise
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            # Such a node was not checked before: ONNX infers no sizes for it.
            raise refused(node, f"does not fit what it is given ({first_line(error)})") from error
        if results is not None:
            self._take_place(node, results)
        return True

    def finish(self) -> None:
        """Remove the nodes that made lists."""
        self.lists.finish()

    def _if(self, node: ir.Node) -> Values:
        then, other = (_inner(node, name) for name in ("then_branch", "else_branch"))
        condition = self.inference.constant(node.inputs[0])
        if condition is None and not same_graphs(then, other):
            raise refused(node, "chooses between two branches by what the pixels are")
        taken = then if condition is None or bool(condition.reshape(-1)[0]) else other
        return self.ahead.written(node, taken, [])

    def _loop(self, node: ir.Node) -> Values:
        body = _inner(node, "body")
        limit = self.ahead.given(node, 0, "goes on as often as the pixels say")
        going = self.ahead.given(node, 1, "goes on as long as the pixels say")
        state = list(node.inputs[2:])
        turns: list[Values] = []
        while going in (None, True) and (limit is None or len(turns) < limit):
            self._check_turn(node, len(turns))
            on = self.ahead.number(np.array(True))
            results = self.ahead.written(
                node, body, [self.ahead.number(np.array(len(turns), np.int64)), on, *state]
            )
            condition = self.inference.constant(results[0])
            if condition is None:
                raise refused(node, "goes on as long as the pixels say")
            going = bool(condition.reshape(-1)[0])
            turns.append(results[1 + len(state) :])
            state = list(results[1 : 1 + len(state)])
        return [*state, *self._stacked(node, turns)]

    def _scan(self, node: ir.Node) -> Values:
        body, get = _inner(node, "body"), node.attributes
        count = get.get_int("num_scan_inputs", 0)
        cut = len(node.inputs) - count
        state, scanned = list(node.inputs[:cut]), node.inputs[cut:]
        axes = get.get_ints("scan_input_axes", [0] * count)
        backwards = get.get_ints("scan_input_directions", [0] * count)
        lengths = {self.ahead.shape(node, v)[axis] for v, axis in zip(scanned, axes, strict=True)}
        if len(lengths) != 1:
            raise refused(node, "scans tensors of different lengths")
        (length,) = lengths
        turns: list[Values] = []
        for turn in range(length):
            self._check_turn(node, turn)
            parts = [
                self.ahead.entry(node, value, axis, length - 1 - turn if back else turn)
                for value, axis, back in zip(scanned, axes, backwards, strict=True)
            ]
            results = self.ahead.written(node, body, [*state, *parts])
            state = list(results[: len(state)])
            turns.append(results[len(state) :])
        count = len(node.outputs) - len(state)
        axes = get.get_ints("scan_output_axes", [0] * count)
        backwards = get.get_ints("scan_output_directions", [0] * count)
        return [*state, *self._stacked(node, turns, axes, backwards)]

    def _check_turn(self, node: ir.Node, turn: int) -> None:
        if turn >= MOST_TURNS:
            raise refused(node, f"takes more than {MOST_TURNS} turns")

    def _stacked(
        self,
        node: ir.Node,
        turns: Sequence[Values],
        axes: Sequence[int] = (),
        backwards: Sequence[int] = (),
    ) -> list[ir.Value | None]:
        """Return the results of the turns of a loop, stacked along a new axis."""
        results: list[ir.Value | None] = []
        for place, parts in enumerate(zip(*turns, strict=True)):
            axis = self.ahead.number(np.array([axes[place] if axes else 0], np.int64))
            order = parts[::-1] if backwards and backwards[place] else parts
            wide = [self.ahead.emit(node, "Unsqueeze", [part, axis]) for part in order]
            where = int(axes[place]) if axes else 0
            results.append(self.ahead.emit(node, "Concat", wide, axis=where))
        if not turns and len(node.outputs) > len(node.inputs) - 2:
            raise refused(node, "stacks the results of no turn at all")
        return results

    def _has_element(self, node: ir.Node) -> Values:
        given = bool(node.inputs) and node.inputs[0] is not None
        return [self.ahead.number(np.array(given))]

    def _take_place(self, node: ir.Node, results: Values) -> None:
        """Replace the results of a node by other values, and remove the node."""
        cloning = self.ahead.cloning
        if len(results) < len(node.outputs):
            raise refused(node, f"has {len(node.outputs)} results, and is given {len(results)}")
        for old, new in zip(node.outputs, results, strict=False):
            if new is None:
                raise refused(node, "gives nothing")
            if old.is_graph_output():
                name, old.name = old.name, cloning.name(f"{old.name}.before")
                new = self.ahead.emit(node, "Identity", [new], result=name)
            self.lists.hand_on(old, new)
            cloning.replace(old, new)
        self.ahead.graph.remove(node, safe=True)


def _inner(node: ir.Node, name: str) -> ir.Graph:
    attribute = node.attributes.get(name)
    if attribute is None or attribute.type != ir.AttributeType.GRAPH:
        raise refused(node, f"has no {name}")
    graph: ir.Graph = attribute.value
    return graph
