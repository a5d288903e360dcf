"""Lists of tensors, which are replaced by their entries, known at one size of image."""

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
    """The lists of a model: the entries of each, and the nodes that made them."""

    def __init__(self, ahead: Ahead) -> None:
        self.ahead = ahead
        self._entries: dict[str, list[ir.Value]] = {}
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
        """Functions that return the values in place of an operator; None where these are a list."""

    def is_list(self, node: ir.Node) -> bool:
        """Whether the first input of a node is a list."""
        return self._first(node) is not None

    def same(self, node: ir.Node) -> Values | None:
        """Return the input of a node as its result, or keep it if it is a list."""
        if not self.is_list(node):
            return [tensor(node, 0)]
        self._keep(node, self._values(node))
        return None

    def hand_on(self, old: ir.Value, new: ir.Value) -> None:
        """Record that a value is the same list as another one, if that is a list."""
        entries = self._entries.get(new.name or "")
        if entries is not None:
            self._entries[old.name or ""] = entries

    def finish(self) -> None:
        """Remove the nodes that made lists; all nodes that read these are written out by now."""
        for node in reversed(self._makers):
            if any(value.uses() or value.is_graph_output() for value in node.outputs):
                raise ModelError(
                    f"convert: {node.op_type} {node.name or node.outputs[0].name!r} gives a list "
                    f"of tensors; let the model give tensors."
                )
            self.ahead.graph.remove(node, safe=True)

    def _keep(self, node: ir.Node, values: Sequence[ir.Value | None]) -> None:
        self._entries[node.outputs[0].name or ""] = [v for v in values if v is not None]
        self._makers.append(node)

    def _first(self, node: ir.Node) -> list[ir.Value] | None:
        first = node.inputs[0] if node.inputs else None
        return None if first is None else self._entries.get(first.name or "")

    def _values(self, node: ir.Node) -> list[ir.Value]:
        entries = self._first(node)
        if entries is None:
            raise refused(node, "takes a list of tensors that depends on the pixels")
        return entries

    def _place(self, node: ir.Node, values: Sequence[ir.Value], slot: int, last: int) -> int:
        at = self.ahead.given(node, slot, "takes from a list what the pixels say")
        at = last if at is None else int(at)
        if not -len(values) <= at <= last:
            raise refused(node, f"takes entry {at} of a list of {len(values)}")
        return at % len(values) if at < 0 else at

    def _insert(self, node: ir.Node) -> None:
        entries = list(self._values(node))
        entries.insert(self._place(node, entries, 2, len(entries)), tensor(node, 1))
        self._keep(node, entries)

    def _erase(self, node: ir.Node) -> None:
        entries = list(self._values(node))
        del entries[self._place(node, entries, 1, len(entries) - 1)]
        self._keep(node, entries)

    def _at(self, node: ir.Node) -> Values:
        entries = self._values(node)
        return [entries[self._place(node, entries, 1, len(entries) - 1)]]

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
        entries: list[ir.Value] = self._values(node)
        axis = node.attributes.get_int("axis", 0)
        if node.attributes.get_int("new_axis", 0):
            at = self.ahead.number(np.array([axis], np.int64))
            entries = [self.ahead.emit(node, "Unsqueeze", [value, at]) for value in entries]
        return [self.ahead.emit(node, "Concat", entries, axis=axis)]
