"""Write what reduces, joins, cuts, pads and moves axes."""

from __future__ import annotations

from math import prod
from typing import Any

import keras

from fullconv.frameworks.keras import map_layers, window_layers
from fullconv.frameworks.keras.calls import TO_MAP, TO_NATIVE
from fullconv.frameworks.keras.values import Held, Values, writes
from fullconv.graph import Node
from fullconv.operations import Concat, Pad, Permute, Reduce, Reshape, Slice

layers = keras.layers


class Shapes(Values):
    """Operations on the axes of a tensor."""

    @writes(Reduce)
    def write_reduce(self, operation: Reduce, node: Node) -> Held:
        held = self.values[node.inputs[0] or ""]
        x, axes, last = held.tensor, operation.axes, held.last
        if held.last and not operation.keepdims and operation.axes != (2, 3):
            x, last = self.plain(node.inputs[0]), False
        elif held.last:
            axes = tuple(sorted(TO_NATIVE.index(axis) for axis in operation.axes))
            last = operation.keepdims
        settings = {"kind": operation.kind, "axes": axes, "keepdims": operation.keepdims}
        return Held(self.own(map_layers.ReduceAxes, x, node=node, **settings), last)

    @writes(Concat)
    def write_concat(self, operation: Concat, node: Node) -> Held:
        # The same map twice is still two inputs; a layer takes a tensor more than once.
        last = not node.per_window or all(self.values[name or ""].last for name in node.inputs)
        take = self.map if last else self.plain
        tensors = [take(name) for name in node.inputs]
        axis = TO_NATIVE.index(operation.axis) if last and self.last else operation.axis
        base = self.name(node) if node.name else "concatenate"
        join = self.layer(("concat", node.name, axis), layers.Concatenate, base, axis)
        return Held(join(tensors), last and self.last)

    @writes(Slice)
    def write_slice(self, operation: Slice, node: Node) -> Held:
        held = self.values[node.inputs[0] or ""]
        axis = TO_NATIVE.index(operation.axis) if held.last else operation.axis
        numbers = (axis, operation.start, operation.stop, operation.step)
        settings = dict(zip(("axis", "start", "stop", "stride"), numbers, strict=True))
        return Held(self.own(map_layers.SliceAxis, held.tensor, node=node, **settings), held.last)

    @writes(Pad)
    def write_pad(self, operation: Pad, node: Node) -> Held:
        _, channels, *spatial = operation.pads
        return self.on_map(
            self.padded(
                self.map(node.inputs[0]),
                (spatial[0], spatial[1]),
                operation.value,
                "edge" if operation.mode == "replicate" else "constant",
                channels,
                node,
            )
        )

    @writes(Reshape)
    def write_reshape(self, operation: Reshape, node: Node) -> Held:
        x, shape = self.plain(node.inputs[0]), operation.shape
        inner = x.shape[1:]
        windows_stay = shape[:1] == (-1,) and None not in inner and prod(inner) == prod(shape[1:])
        if not windows_stay:
            return self._regrouped(node, x, shape, tuple(range(len(shape))), shape)
        key = "reshape", node.name, node.outputs
        return Held(self.layer(key, layers.Reshape, self.name(node), shape[1:])(x), False)

    @writes(Permute)
    def write_permute(self, operation: Permute, node: Node) -> Held:
        held = self.values[node.inputs[0] or ""]
        if held.last and operation.order == TO_NATIVE:
            return Held(held.tensor, False)
        if self.last and not held.last and operation.order == TO_MAP:
            return Held(held.tensor, True)
        x = self.plain(node.inputs[0])
        if operation.order[0] == 0:
            dims = operation.order[1:]
            return Held(self.layer(("permute", dims), layers.Permute, "permute", dims)(x), False)
        shape = tuple(-1 if n is None else n for n in x.shape)
        turned = tuple(shape[i] for i in operation.order)
        return self._regrouped(node, x, shape, operation.order, turned)

    def _regrouped(self, node: Node, x: Any, split: Any, order: Any, shape: Any) -> Held:
        """Reshape, permute and reshape a tensor as it is, whichever axis holds the windows."""
        settings: Any = {"split": split, "order": order, "shape": shape, "channels_last": False}
        name = self.unique(self.name(node))
        regroup = window_layers.Regroup(name=name, dtype=self.policy, **settings)
        return Held(regroup(x), False)
