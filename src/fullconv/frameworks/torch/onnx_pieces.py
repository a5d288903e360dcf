"""Write operations without a form in ONNX of our own by PyTorch's exporter.

The exporter takes seconds per call, so it is called once for all of them, each with its own inputs.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim

from fullconv.errors import ExportError, MissingExtraError, first_line
from fullconv.frameworks.onnx.cloning import Cloning
from fullconv.frameworks.onnx.writing import Results, Writing
from fullconv.frameworks.torch.exporting import quiet
from fullconv.frameworks.torch.onnx_layers import REMEDY
from fullconv.frameworks.torch.program_to_onnx import exported
from fullconv.frameworks.torch.read_written import Written
from fullconv.frameworks.torch.reader import Slot
from fullconv.graph.graph import Node


class Pieces:
    """The ONNX form of some nodes, from PyTorch's exporter.

    Raises
    ------
    ExportError
        If PyTorch cannot write them; the message names the nodes.
    """

    def __init__(self, nodes: Sequence[Node], written: Written, opset: int) -> None:
        self.places: dict[tuple[str, ...], tuple[int, list[int]]] = {}
        self._given: list[torch.Tensor] = []
        self._free: list[dict[int, Any]] = []
        for number, node in enumerate(nodes):
            places = [self._place(name, written) for name in node.inputs]
            self.places[node.outputs] = number, places
        calls = [(node, self.places[node.outputs][1]) for node in nodes]
        model = _Calls(calls)
        try:
            with quiet():
                program = torch.export.export(
                    model, tuple(self._given), dynamic_shapes=(tuple(self._free),)
                )
            self.graph = exported(program, opset).model.graph
        except MissingExtraError:
            raise
        except Exception as error:
            named = ", ".join(dict.fromkeys(f"{node.kind} {node.name!r}" for node in nodes))
            raise ExportError(
                f"save: {named}: no form in ONNX here, and PyTorch cannot write it "
                f"({_why(error)}); {REMEDY}"
            ) from None

    def _place(self, name: str | None, written: Written) -> int:
        shape, kind = written.graph.shapes[name or ""], written.types[name or ""]
        self._given.append(torch.zeros(shape, dtype=kind))
        self._free.append(dict.fromkeys(sorted(written.free.get(name or "", ())), Dim.DYNAMIC))
        return len(self._given) - 1

    def write(self, writing: Writing, node: Node) -> Results:
        """Write a node as its operators of ONNX."""
        number, places = self.places[node.outputs]
        result = self.graph.outputs[number]
        given = [value for value in writing.inputs(node) if value is not None]
        known: dict[ir.Value, ir.Value | None] = {
            self.graph.inputs[place]: value for place, value in zip(places, given, strict=True)
        }
        return _Embedding(writing).add(self.graph, result, known)


def _why(error: BaseException) -> str:
    """Return the first line of the first cause; PyTorch's own error begins with advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


class _Calls(nn.Module):
    """Runs several calls, each on its own tensors."""

    def __init__(self, calls: Sequence[tuple[Node, list[int]]]) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the result of every call."""
        return tuple(_call(node, [tensors[i] for i in places]) for node, places in self.calls)


def _call(node: Node, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    call = node.source

    def filled(argument: Any) -> Any:
        return tensors[argument.index] if isinstance(argument, Slot) else argument

    args, kwargs = torch.fx.node.map_aggregate((call.args, call.kwargs), filled)
    result = call.target(*args, **kwargs)
    return result if call.item is None else operator.getitem(result, call.item)  # type: ignore[no-any-return]


class _Embedding(Cloning):
    """Copies a part of another graph into one that is being written."""

    def __init__(self, writing: Writing) -> None:
        super().__init__(ir.Model(ir.Graph([], [], nodes=[]), ir_version=10))
        self.writing = writing

    def name(self, base: str) -> str:
        """Return a name that is free in the model being written."""
        return self.writing.unique(f"fullconv/{base or 'inner'}")

    def add(
        self, graph: ir.Graph, result: ir.Value, known: dict[ir.Value, ir.Value | None]
    ) -> ir.Value:
        """Copy the nodes that compute a result from known values; return the copied result."""
        wanted = _ancestors(result)
        needed = [node for node in graph if node in wanted]
        for value in (*(value for node in needed for value in _read(node)), result):
            if value is not None and value not in known and value.const_value is not None:
                known[value] = self._weight(value.name or "", value.const_value)
        self.writing.nodes += [self._node(node, known) for node in needed]
        copied = known[result]
        assert copied is not None
        return copied

    def _weight(self, base: str, tensor: Any) -> ir.Value:
        """Add a constant to the model being written, and return it."""
        return self.writing.initializer(self.name(base), tensor.numpy())


def _ancestors(result: ir.Value) -> set[ir.Node]:
    ancestors: set[ir.Node] = set()
    waiting: list[ir.Node | None] = [result.producer()]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in ancestors:
            ancestors.add(node)
            waiting += [value.producer() for value in _read(node) if value is not None]
    return ancestors


def _read(node: ir.Node) -> Iterable[ir.Value | None]:
    """Yield the values that a node reads, also in the subgraphs among its attributes."""
    yield from node.inputs
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.value:
                yield from _read(inner)
