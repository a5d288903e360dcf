"""Read calls of the functions that lifting adds back into the vocabulary."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, Literal

import torch

from fullconv.errors import ExportError
from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.aten import FxNode, base_name
from fullconv.frameworks.torch.flat import LAYER
from fullconv.frameworks.torch.reader import Call, Reader
from fullconv.graph.graph import Node
from fullconv.graph.table import Table
from fullconv.operations import (
    AddAxis,
    AlongAxis,
    Assemble,
    Cells,
    ChannelNormalization,
    Convolution,
    DivideCells,
    FoldAxes,
    FoldWindows,
    ForEachWindow,
    Gathered,
    Interleave,
    Keep,
    LayOut,
    Operation,
    Own,
    Pool,
    Regroup,
    Running,
    Slice,
    SlidingNormalization,
    SlidingSpread,
    SlidingTotal,
    SplitChannels,
    Stretch,
    Take,
    TakeChannels,
    Upsample,
)

Handler = Callable[[FxNode, "Again", dict[str, Any]], Operation]
"""Returns the operation of a call of a function, given its arguments by name."""

handles = Table[Any, Handler]("a reader")


@dataclass
class Again(Reader):
    """Reads the calls of ATen in a module that lifting wrote.

    Attributes
    ----------
    types : dict of str to torch.dtype
        The type of each value.
    results : dict of torch.fx.Node to list of str
        The names of the results of a piece that runs on each window alone.
    """

    types: dict[str, torch.dtype] = field(default_factory=dict)
    results: dict[FxNode, list[str]] = field(default_factory=dict)

    def owner(self, node: FxNode) -> tuple[str, str, str]:
        """Return the layer's name and the name of the function; the path of the module is empty."""
        return node.meta[LAYER], base_name(node.target), ""

    def rearrange(self, name: str | None, operation: Operation, output: str) -> bool:
        """Treat a slice of a parameter as a parameter, too."""
        if name not in self.recipes or not isinstance(operation, Slice) or operation.step != 1:
            return super().rearrange(name, operation, output)
        cut = operation.axis, operation.start, operation.stop
        self.recipes[output] = self.recipes[name].take(*cut)
        return True


def drawing(name: str) -> ExportError:
    """Return the error for a model that draws random numbers: no ONNX can be compared with it."""
    return ExportError(
        f"save: this model draws random numbers ({name}), so that nobody can tell whether the ONNX "
        f"of it is right. Save it as .pt2."
    )


def read_function(node: FxNode, reader: Again, handler: Handler) -> None:
    given = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    given.apply_defaults()
    reader.name(node)
    operation = handler(node, reader, given.arguments)
    inputs = [
        None if x is None else reader.names[x]
        for name, value in given.arguments.items()
        for x in (value if name == "parts" else [value])
        if isinstance(x, FxNode) or (x is None and name in ("weight", "bias"))
    ]
    call = Call(operation, node.target, _settings(given.arguments), {})  # type: ignore[arg-type]
    kind = base_name(node.target)
    reader.append(Node(operation, tuple(inputs), (node.name,), node.meta[LAYER], kind, call))


def _settings(given: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the arguments of a function that are not tensors, in order."""
    return tuple(_plain(x) for x in given.values() if not isinstance(x, FxNode | list))


def _plain(value: Any) -> Any:
    """Return a setting with tuples in place of lists, as operations have them."""
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _same(kind: type[Operation]) -> Handler:
    """Return the handler of a function whose arguments have the names of the operation's fields."""
    names = {entry.name for entry in fields(kind)}

    def handler(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
        return kind(**{name: _plain(value) for name, value in a.items() if name in names})

    return handler


for _function, _kind in {
    functional.keep: Keep,
    functional.cells: Cells,
    functional.lay_out: LayOut,
    functional.divide_cells: DivideCells,
    functional.add_axis: AddAxis,
    functional.interleave: Interleave,
    functional.for_each_window: ForEachWindow,
    functional.fold_windows: FoldWindows,
    functional.split_channels: SplitChannels,
    functional.take_channels: TakeChannels,
    functional.sliding_total: SlidingTotal,
    functional.sliding_spread: SlidingSpread,
    functional.sliding_norm: SlidingNormalization,
    functional.stretch: Stretch,
    functional.channel_norm: ChannelNormalization,
    functional.upsample: Upsample,
}.items():
    handles(_function)(_same(_kind))


@handles(functional.assemble)
def _assemble(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
    counts = [len(along) for along in a["segments"]]
    segments = []
    for axis, along in enumerate(a["segments"]):
        each = prod(counts[axis + 1 :])
        # The parts are row-major, so the first part of segment i is at i * each.
        of = [reader.shape(a["parts"][i * each].meta["val"])[2 + axis] for i in range(len(along))]
        segments.append(tuple(map(_segment, along, of)))
    return Assemble(a["channels"], tuple(segments))  # type: ignore[arg-type]


def _segment(given: Sequence[Any], of: int) -> Own | Gathered | Running:
    kind, *numbers = _plain(given)
    if kind == "own":
        return Own(numbers[0], of)
    return Gathered(*numbers) if kind == "gathered" else Running(numbers[0])


@handles(functional.fold_axes)
def _fold_axes(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
    return FoldAxes(a["dimensions"], reader.shapes[node.name][1])


@handles(functional.regroup)
def _regroup(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
    shape = _plain(a["shape"])
    return Regroup(_plain(a["split"]), _plain(a["order"]), shape, shape.index(-1))


@handles(functional.sum_pool, functional.average_pool)
def _pool(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
    kernel, stride, dilation = (_plain(a[name]) for name in ("kernel", "stride", "dilation"))
    none = (0,) * len(kernel)
    average, divisor = "divisor" in a, a.get("divisor")
    kind: Literal["average", "sum"] = "average" if average else "sum"
    padding = ((0, 0),) * len(kernel)
    return Pool(
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        kind=kind,
        overhang=none,
        count_include_pad=False,
        divisor=divisor or prod(kernel),
    )


@handles(functional.copied_cells)
def _copied_cells(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
    padding = tuple((n, n) for n in _plain(a["padding"]))
    moves = _plain(a["stride"]), padding, _plain(a["dilation"])
    groups = reader.shapes[reader.names[a["x"]]][1]
    return Convolution(reader.shapes[reader.names[a["weight"]]][2:], *moves, groups)


@handles(functional.entries)
def _entries(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
    return Take(a["axis"] % len(reader.shapes[node.name]), _plain(a["places"]))


@handles(functional.entry)
def _entry(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
    return AlongAxis("entry", a["axis"])


@handles(torch.nn.functional.local_response_norm)
def _response_norm(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
    return AlongAxis("local_response_norm", 1, ordered=True)


@handles(functional.on_a_copy)
def _on_a_copy(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
    raise drawing(base_name(a["overwrite"]))
