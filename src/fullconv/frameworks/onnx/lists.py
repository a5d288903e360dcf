"""Lists of tensors whose entries are known at one size of image, taken apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.errors import ModelError
from fullconv.frameworks.bounds import MOST_TURNS
from fullconv.frameworks.onnx.ahead import Ahead, refused, tensor
from fullconv.frameworks.onnx.cloning import Values


class Lists:
    """The lists of a model: what each holds, and the nodes that made them."""

    def __init__(self, ahead: Ahead) -> None:
        self.ahead = ahead
        self._held: dict[str, list[ir.Value]] = {}
        self._makers: list[ir.Node] = []
        self.ways: dict[str, Callable[[ir.Node], Values | None]] = {
            "SequenceEmpty": lambda node: self._keep(node, []),
            "SequenceConstruct": lambda node: self._keep(node, list(node.inputs)),
            "SequenceInsert": self._insert,
            "SequenceErase": self._erase,
            "SequenceAt": self._at,
            "SequenceLength": self._length,
            "SplitToSequence": self._split,
            "ConcatFromSequence": self._join,
            "Optional": self.same,
            "OptionalGetElement": self.same,
        }
        """What is given in the place of an operator; None where that is a list."""

    def is_list(self, node: ir.Node) -> bool:
        """Whether the first input of a node is a list."""
        return self._first(node) is not None

    def same(self, node: ir.Node) -> Values | None:
        """Give what a node takes, a list or not."""
        if not self.is_list(node):
            return [tensor(node, 0)]
        self._keep(node, self._values(node))
        return None

    def hand_on(self, old: ir.Value, new: ir.Value) -> None:
        """Let a value be the list that another is, if it is one."""
        held = self._held.get(new.name or "")
        if held is not None:
            self._held[old.name or ""] = held

    def finish(self) -> None:
        """Take out what made lists; all that read them is written out by now."""
        for node in reversed(self._makers):
            if any(value.uses() or value.is_graph_output() for value in node.outputs):
                raise ModelError(
                    f"convert: {node.op_type} {node.name or node.outputs[0].name!r} gives a list "
                    f"of tensors; let the model give tensors."
                )
            self.ahead.graph.remove(node, safe=True)

    def _keep(self, node: ir.Node, values: Sequence[ir.Value | None]) -> None:
        self._held[node.outputs[0].name or ""] = [v for v in values if v is not None]
        self._makers.append(node)

    def _first(self, node: ir.Node) -> list[ir.Value] | None:
        first = node.inputs[0] if node.inputs else None
        return None if first is None else self._held.get(first.name or "")

    def _values(self, node: ir.Node) -> list[ir.Value]:
        held = self._first(node)
        if held is None:
            raise refused(node, "takes a list of tensors that depends on the pixels")
        return held

    def _place(self, node: ir.Node, values: Sequence[ir.Value], slot: int, last: int) -> int:
        at = self.ahead.given(node, slot, "takes from a list what the pixels say")
        at = last if at is None else int(at)
        if not -len(values) <= at <= last:
            raise refused(node, f"takes entry {at} of a list of {len(values)}")
        return at % len(values) if at < 0 else at

    def _insert(self, node: ir.Node) -> None:
        held = list(self._values(node))
        held.insert(self._place(node, held, 2, len(held)), tensor(node, 1))
        self._keep(node, held)

    def _erase(self, node: ir.Node) -> None:
        held = list(self._values(node))
        del held[self._place(node, held, 1, len(held) - 1)]
        self._keep(node, held)

    def _at(self, node: ir.Node) -> Values:
        held = self._values(node)
        return [held[self._place(node, held, 1, len(held) - 1)]]

    def _length(self, node: ir.Node) -> Values:
        return [self.ahead.number(np.array(len(self._values(node)), np.int64))]

    def _split(self, node: ir.Node) -> None:
        value, axis = node.inputs[0], node.attributes.get_int("axis", 0)
        length = self.ahead.shape(node, value)[axis]
        given = node.inputs[1] if len(node.inputs) > 1 else None
        sizes: Any = 1 if given is None else self.ahead.inference.constant(given)
        if sizes is None:
            raise refused(node, "splits a tensor as the pixels say")
        if not np.ndim(sizes):
            each = max(1, int(sizes))
            sizes = [each] * min(length // each, MOST_TURNS + 1)
            sizes += [length % each] if length % each else []
        if len(sizes) > MOST_TURNS:
            raise refused(node, f"makes more than {MOST_TURNS} pieces")
        if sum(map(int, sizes)) != length or min(map(int, sizes), default=0) < 0:
            raise refused(node, f"splits {length} entries into {[int(n) for n in sizes]}")
        if given is None and not node.attributes.get_int("keepdims", 1):
            pieces = [self.ahead.entry(node, value, axis, place) for place in range(length)]
            return self._keep(node, pieces)
        pieces, start = [], 0
        for size in map(int, sizes):
            cut = [self.ahead.number(np.array([n])) for n in (start, start + size, axis)]
            pieces.append(self.ahead.emit(node, "Slice", [value, *cut]))
            start += size
        return self._keep(node, pieces)

    def _join(self, node: ir.Node) -> Values:
        held: list[ir.Value] = self._values(node)
        axis = node.attributes.get_int("axis", 0)
        if node.attributes.get_int("new_axis", 0):
            at = self.ahead.number(np.array([axis], np.int64))
            held = [self.ahead.emit(node, "Unsqueeze", [value, at]) for value in held]
        return [self.ahead.emit(node, "Concat", held, axis=axis)]
