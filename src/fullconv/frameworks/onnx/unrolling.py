"""Branches, loops and lists whose course is known at one size of image, written out.

Exporters write an `If` where a size decides (PyTorch's ``squeeze`` of an axis that may be one), a
`Loop` or `Scan` of a known number of turns, and lists of tensors where Python had them. At the
native size each of these is a fixed sequence of plain operators, which take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from fullconv.errors import FullconvError, ModelError, first_line
from fullconv.frameworks.bounds import MOST_TURNS
from fullconv.frameworks.onnx.cloning import Cloning, same_graphs

if TYPE_CHECKING:
    from fullconv.frameworks.onnx.infer import Inference

Values = Sequence[ir.Value | None]


class Unrolling:
    """What has been written out in a model so far."""

    def __init__(self, inference: Inference) -> None:
        self.inference = inference
        self.graph = inference.model.graph
        self.cloning = Cloning(inference.model)
        # Lists of tensors by the name of the value that is one, and their nodes, gone in the end.
        self._lists: dict[str, list[ir.Value]] = {}
        self._of_lists: list[ir.Node] = []

    def replace(self, node: ir.Node) -> bool:
        """Write a node out in others, and learn what these give; False for a plain operator."""
        if node.domain:
            return False
        ways: dict[str, Callable[[ir.Node], Values | None]] = {
            "If": self._if,
            "Loop": self._loop,
            "Scan": self._scan,
            "SequenceEmpty": lambda _: self._list(node, []),
            "SequenceConstruct": lambda _: self._list(node, list(node.inputs)),
            "SequenceInsert": self._insert,
            "SequenceErase": self._erase,
            "SequenceAt": self._at,
            "SequenceLength": self._length,
            "SplitToSequence": self._split,
            "ConcatFromSequence": self._join,
            "Optional": self._same,
            "OptionalGetElement": self._same,
            "OptionalHasElement": lambda _: [self._number(np.array(bool(node.inputs)))],
        }
        if node.op_type == "Identity" and self._held(node) is not None:
            self._list(node, self._held(node) or [])
            return True
        if node.op_type not in ways:
            if any(a.type in INNER for a in node.attributes.values()):
                raise _refused(node, "contains a graph of its own")
            return False
        try:
            results = ways[node.op_type](node)
        except FullconvError:
            raise
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            # Nothing has looked at such a node before: ONNX infers no sizes for it.
            raise _refused(node, f"does not fit what it is given ({first_line(error)})") from error
        if results is not None:
            self._take_place(node, results)
        return True

    def finish(self) -> None:
        """Take out what made lists; all that read them is written out by now."""
        for node in reversed(self._of_lists):
            if any(value.uses() or value.is_graph_output() for value in node.outputs):
                raise ModelError(
                    f"convert: {node.op_type} {node.name or node.outputs[0].name!r} gives a list of "
                    f"tensors; let the model give tensors."
                )
            self.graph.remove(node, safe=True)

    # Branches and loops.

    def _if(self, node: ir.Node) -> Values:
        then, other = (_inner(node, name) for name in ("then_branch", "else_branch"))
        condition = self.inference.constant(node.inputs[0])
        if condition is None and not same_graphs(then, other):
            raise _refused(node, "chooses between two branches by what the pixels are")
        taken = then if condition is None or bool(condition.reshape(-1)[0]) else other
        return self._written(node, taken, [])

    def _loop(self, node: ir.Node) -> Values:
        body = _inner(node, "body")
        limit = self._given(node, 0, "goes on as often as the pixels say")
        going = self._given(node, 1, "goes on as long as the pixels say")
        state = list(node.inputs[2:])
        turns: list[Values] = []
        while going in (None, True) and (limit is None or len(turns) < limit):
            self._check_turn(node, len(turns))
            on = self._number(np.array(True))
            results = self._written(
                node, body, [self._number(np.array(len(turns), np.int64)), on, *state]
            )
            held = self.inference.constant(results[0])
            if held is None:
                raise _refused(node, "goes on as long as the pixels say")
            going = bool(held.reshape(-1)[0])
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
        lengths = {self._shape(node, v)[axis] for v, axis in zip(scanned, axes, strict=True)}
        if len(lengths) != 1:
            raise _refused(node, "scans tensors of different lengths")
        (length,) = lengths
        turns: list[Values] = []
        for turn in range(length):
            self._check_turn(node, turn)
            parts = [
                self._one(node, value, axis, length - 1 - turn if back else turn)
                for value, axis, back in zip(scanned, axes, backwards, strict=True)
            ]
            results = self._written(node, body, [*state, *parts])
            state = list(results[: len(state)])
            turns.append(results[len(state) :])
        count = len(node.outputs) - len(state)
        axes = get.get_ints("scan_output_axes", [0] * count)
        backwards = get.get_ints("scan_output_directions", [0] * count)
        return [*state, *self._stacked(node, turns, axes, backwards)]

    def _check_turn(self, node: ir.Node, turn: int) -> None:
        if turn >= MOST_TURNS:
            raise _refused(node, f"takes more than {MOST_TURNS} turns")

    def _given(self, node: ir.Node, place: int, otherwise: str) -> Any:
        """Return an input of one number; None where it is left out."""
        value = node.inputs[place] if len(node.inputs) > place else None
        if value is None:
            return None
        held = self.inference.constant(value)
        if held is None:
            raise _refused(node, otherwise)
        return held.reshape(-1)[0].item()

    def _stacked(
        self,
        node: ir.Node,
        turns: Sequence[Values],
        axes: Sequence[int] = (),
        backwards: Sequence[int] = (),
    ) -> list[ir.Value | None]:
        """Return what the turns of a loop gave, one behind the other along a new axis."""
        results: list[ir.Value | None] = []
        for place, parts in enumerate(zip(*turns, strict=True)):
            axis = self._number(np.array([axes[place] if axes else 0], np.int64))
            order = parts[::-1] if backwards and backwards[place] else parts
            wide = [self._emit(node, "Unsqueeze", [part, axis]) for part in order]
            where = int(axes[place]) if axes else 0
            results.append(self._emit(node, "Concat", wide, axis=where))
        if not turns and len(node.outputs) > len(node.inputs) - 2:
            raise _refused(node, "stacks the results of no turn at all")
        return results

    def _one(self, node: ir.Node, value: ir.Value | None, axis: int, place: int) -> ir.Value:
        """Return one entry along an axis, which is gone."""
        index = self._number(np.array(place, np.int64))
        return self._emit(node, "Gather", [value, index], axis=axis)

    # Lists of tensors.

    def _list(self, node: ir.Node, values: Sequence[ir.Value | None]) -> None:
        self._lists[node.outputs[0].name or ""] = [v for v in values if v is not None]
        self._of_lists.append(node)

    def _held(self, node: ir.Node) -> list[ir.Value] | None:
        first = node.inputs[0] if node.inputs else None
        return None if first is None else self._lists.get(first.name or "")

    def _values(self, node: ir.Node) -> list[ir.Value]:
        held = self._held(node)
        if held is None:
            raise _refused(node, "takes a list of tensors that depends on the pixels")
        return held

    def _place(self, node: ir.Node, values: Sequence[ir.Value], slot: int, last: int) -> int:
        at = self._given(node, slot, "takes from a list what the pixels say")
        at = last if at is None else int(at)
        if not -len(values) <= at <= last:
            raise _refused(node, f"takes entry {at} of a list of {len(values)}")
        return at % len(values) if at < 0 else at

    def _insert(self, node: ir.Node) -> None:
        held = list(self._values(node))
        held.insert(self._place(node, held, 2, len(held)), _tensor(node, 1))
        self._list(node, held)

    def _erase(self, node: ir.Node) -> None:
        held = list(self._values(node))
        del held[self._place(node, held, 1, len(held) - 1)]
        self._list(node, held)

    def _at(self, node: ir.Node) -> Values:
        held = self._values(node)
        return [held[self._place(node, held, 1, len(held) - 1)]]

    def _length(self, node: ir.Node) -> Values:
        return [self._number(np.array(len(self._values(node)), np.int64))]

    def _split(self, node: ir.Node) -> None:
        value, axis = node.inputs[0], node.attributes.get_int("axis", 0)
        length = self._shape(node, value)[axis]
        given = node.inputs[1] if len(node.inputs) > 1 else None
        sizes = None if given is None else self.inference.constant(given)
        if given is not None and sizes is None:
            raise _refused(node, "splits a tensor as the pixels say")
        if sizes is None and not node.attributes.get_int("keepdims", 1):
            return self._list(node, [self._one(node, value, axis, n) for n in range(length)])
        if sizes is None or not sizes.ndim:
            each = 1 if sizes is None else max(1, int(sizes))
            ends = [*range(each, length, each), length]
        else:
            ends = np.cumsum(sizes).tolist()
        pieces = []
        for start, end in zip([0, *ends], ends, strict=False):
            cut = [self._number(np.array([n], np.int64)) for n in (start, end, axis)]
            pieces.append(self._emit(node, "Slice", [value, *cut]))
        return self._list(node, pieces)

    def _join(self, node: ir.Node) -> Values:
        held: list[ir.Value] = self._values(node)
        axis = node.attributes.get_int("axis", 0)
        if node.attributes.get_int("new_axis", 0):
            at = self._number(np.array([axis], np.int64))
            held = [self._emit(node, "Unsqueeze", [value, at]) for value in held]
        return [self._emit(node, "Concat", held, axis=axis)]

    def _same(self, node: ir.Node) -> Values | None:
        if self._held(node) is not None:
            self._list(node, self._values(node))
            return None
        return [_tensor(node, 0)]

    # The model.

    def _shape(self, node: ir.Node, value: ir.Value | None) -> tuple[int, ...]:
        shape = self.inference.shapes.get((value.name if value is not None else "") or "")
        if shape is None:
            raise _refused(node, "takes what is no tensor")
        return shape

    def _number(self, array: np.ndarray) -> ir.Value:
        value = self.cloning.constant(array)
        self.inference.add_weight(value)
        self.inference.constants[value.name or ""] = array
        return value

    def _emit(
        self, node: ir.Node, kind: str, inputs: Values, result: str | None = None, **given: Any
    ) -> ir.Value:
        """Put an operator ahead of a node, with these attributes; return what it gives."""
        made = self.cloning.node(kind, inputs, given, result)
        self.graph.insert_before(node, made)
        self.inference.visit(made)
        return made.outputs[0]

    def _written(self, node: ir.Node, graph: ir.Graph, inputs: Values) -> Values:
        """Write a copy of an inner graph ahead of the node that has it; return its outputs."""
        if len(inputs) != len(graph.inputs):
            raise _refused(node, f"gives {len(inputs)} values to a graph of {len(graph.inputs)}")
        copied = self.cloning.copy(graph, inputs)
        for value in copied.weights:
            self.inference.add_weight(value)
        for inner in copied.nodes:
            self.graph.insert_before(node, inner)
            self.inference.visit(inner)
        return [self.cloning.now(value) for value in copied.outputs]

    def _take_place(self, node: ir.Node, results: Values) -> None:
        """Let values be what a node gave, and take the node out."""
        if len(results) < len(node.outputs):
            raise _refused(node, f"has {len(node.outputs)} results, and is given {len(results)}")
        for old, new in zip(node.outputs, results, strict=False):
            if new is None:
                raise _refused(node, "gives nothing")
            if old.is_graph_output():
                name, old.name = old.name, self.cloning.name(f"{old.name}.before")
                new = self._emit(node, "Identity", [new], result=name)
            held = self._lists.get(new.name or "")
            if held is not None:
                self._lists[old.name or ""] = held
            self.cloning.replace(old, new)
        self.graph.remove(node, safe=True)


INNER = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _inner(node: ir.Node, name: str) -> ir.Graph:
    held = node.attributes.get(name)
    if held is None or held.type != ir.AttributeType.GRAPH:
        raise _refused(node, f"has no {name}")
    graph: ir.Graph = held.value
    return graph


def _tensor(node: ir.Node, place: int) -> ir.Value:
    value = node.inputs[place] if len(node.inputs) > place else None
    if value is None:
        raise _refused(node, "takes no tensor where it needs one")
    return value


def _refused(node: ir.Node, why: str) -> ModelError:
    return ModelError(
        f"convert: {node.op_type} {node.name or node.outputs[0].name!r} {why}, which cannot be "
        f"converted; export the model with fixed control flow."
    )
