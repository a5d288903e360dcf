"""Read a module that lifting wrote back into the vocabulary, with its weights as they are now.

Note [Sizes that are free]
A flat graph is read twice, for images of two sizes. Everything that has another size the second
time is free: the end of a slice, a size that a reshape gives. An operation that needs such a
number otherwise has no form for images of every size, and is refused.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import Any, Literal

import torch
from torch.utils import _pytree as pytree

from fullconv.errors import ExportError, first_line
from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.aten import FxNode, base_name, bound, draws
from fullconv.frameworks.torch.flat import LAYER, Flat, flat, sized
from fullconv.frameworks.torch.folding import folded
from fullconv.frameworks.torch.read import needed, read_call
from fullconv.frameworks.torch.reader import Call, Reader
from fullconv.graph import Alone, Graph, Node, Recipe
from fullconv.images import ImageShape
from fullconv.operations import (
    AddAxis,
    AlongAxis,
    Assemble,
    Cells,
    ChannelNormalization,
    DivideCells,
    FoldAxes,
    FoldWindows,
    ForEachWindow,
    Gathered,
    Interleave,
    Keep,
    LayOut,
    Opaque,
    Operation,
    Own,
    PerChannel,
    Pointwise,
    Pool,
    Regroup,
    Reshape,
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
from fullconv.table import Table

IMAGE = "images"
END = torch.iinfo(torch.int64).max
"""The end of a slice that takes everything, however much there is."""

Handler = Callable[[FxNode, "Again", dict[str, Any]], Operation]
"""Returns what a call of a function is, whose arguments it is given by name."""

handles = Table[Any, Handler]("a reader")


@dataclass
class Again(Reader):
    """What reads calls of ATen that lifting wrote.

    Attributes
    ----------
    types : dict of str to torch.dtype
        What numbers each value holds.
    results : dict of torch.fx.Node to list of str
        The values that a piece gives which runs on each window alone.
    """

    types: dict[str, torch.dtype] = field(default_factory=dict)
    results: dict[FxNode, list[str]] = field(default_factory=dict)

    def owner(self, node: FxNode) -> tuple[str, str, str]:
        """Return the layer's name and what it is called; no module is meant."""
        return node.meta[LAYER], base_name(node.target), ""

    def rearrange(self, name: str | None, operation: Operation, output: str) -> bool:
        """Take a part of a parameter for a parameter, too."""
        if name not in self.recipes or not isinstance(operation, Slice) or operation.step != 1:
            return super().rearrange(name, operation, output)
        cut = operation.axis, operation.start, operation.stop
        self.recipes[output] = self.recipes[name].take(*cut)
        return True


@dataclass(frozen=True)
class Written:
    """A converted module in the vocabulary.

    Attributes
    ----------
    graph : Graph
        The lifted graph; its ``shapes`` are those of an example.
    tensors : dict of str to Tensor
        What stands behind the constants.
    types : dict of str to torch.dtype
        What numbers each value holds.
    free : dict of str to set of int
        The axes of each value that have another size in another image.
    names : list of str
        What the outputs are called.
    """

    graph: Graph
    tensors: dict[str, torch.Tensor]
    types: dict[str, torch.dtype]
    free: dict[str, set[int]]
    names: list[str]


def read_written(model: torch.fx.GraphModule, shape: ImageShape, dtype: torch.dtype) -> Written:
    """Return what lifting wrote, for images of any size.

    Raises
    ------
    ExportError
        If the module draws random numbers, or holds what only images of one size have.
    """
    first, second = (_image(shape, dtype, larger) for larger in (0, 1))
    try:
        calls = flat(model, first)
        readers = [_read(calls, shape, image) for image in (first, second)]
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"save: the converted model holds what is not written as ONNX ({first_line(error)}). "
            f"Save it as .pt2."
        ) from None
    (one, results), (other, _) = readers
    nodes = [
        _freed(a, b, one.shapes, other.shapes) for a, b in zip(one.nodes, other.nodes, strict=True)
    ]
    paths, outputs = zip(*results, strict=True)
    graph = Graph(IMAGE, nodes, list(outputs), one.recipes, one.shapes)
    graph.window, graph.fixed = shape.grid.window, shape.fixed
    graph.nodes = needed(folded(graph, calls.tensors), outputs)
    free = {
        name: {i for i, (a, b) in enumerate(zip(size, other.shapes[name], strict=True)) if a != b}
        for name, size in one.shapes.items()
    }
    return Written(graph, calls.tensors, one.types, free, _names(paths))


def _image(shape: ImageShape, dtype: torch.dtype, larger: int) -> torch.Tensor:
    """Return images of one of two sizes, no two of which are the same."""
    sizes = [
        window if axis in shape.fixed else window + (2 * axis + larger + 1) * step
        for axis, (window, step) in enumerate(zip(shape.grid.window, shape.grid.step, strict=True))
    ]
    image = torch.empty((2 + larger, shape.channels, *sizes), dtype=dtype, device="meta")
    return shape.from_map(image)  # type: ignore[no-any-return]


def _names(paths: Sequence[Any]) -> list[str]:
    """Return what outputs are called: as the model names them, else scores."""
    found: list[str] = []
    for number, path in enumerate(paths):
        key = getattr(path[-1], "key", getattr(path[-1], "name", None)) if path else None
        name = key if isinstance(key, str) and key else "scores"
        if name in (*found, IMAGE):
            name = f"{name}_{number}"
        found.append(name)
    return found


def _read(calls: Flat, shape: ImageShape, image: torch.Tensor) -> tuple[Again, list[Any]]:
    """Read all calls for images of this size; return the reader, and the results by their paths."""
    calls.measure(image)
    reader = Again({}, {})
    results: list[Any] = []
    plain = shape.takes == "cells"
    for node in calls.graph.nodes:
        first = node.args[0] if node.args else None
        if node.op == "output":
            leaves, _ = pytree.tree_flatten_with_path(node.args[0])
            results = [(path, reader.names[x]) for path, x in leaves]
        elif node.op == "placeholder":
            reader.names[node] = IMAGE
            reader.of_image.add(IMAGE)
            reader.shapes[IMAGE] = reader.shape(node.meta["val"])
            reader.types[IMAGE] = node.meta["val"].dtype
        elif node.op == "get_attr":
            _parameter(node, reader, calls)
        elif plain and isinstance(first, FxNode) and first.op == "placeholder":
            # With an axis for the one channel, as a writer has it.
            reader.names[node] = IMAGE
            reader.shapes[IMAGE] = reader.shape(node.meta["val"])
        else:
            _call(node, reader, calls)
    return reader, results


def _parameter(node: FxNode, reader: Again, calls: Flat) -> None:
    path = str(node.target)
    tensor = calls.tensors[path]
    reader.names[node] = path
    reader.shapes[path] = tuple(tensor.shape)
    reader.recipes.setdefault(path, Recipe(path, tuple(tensor.shape)))
    reader.types[path] = tensor.dtype
    if not isinstance(tensor, torch.nn.Parameter):
        reader.constants[path] = tensor


def _call(node: FxNode, reader: Again, calls: Flat) -> None:
    known, value = len(reader.nodes), node.meta["val"]
    parent = node.args[0] if node.args else None
    if node.op == "call_module":
        _read_alone(node, reader, calls)
    elif node.target is operator.getitem and parent in reader.results:
        reader.names[node] = reader.results[parent][node.args[1]]  # type: ignore[index]
    elif (handler := handles.find(node.target)) is not None:
        _read_function(node, reader, handler)
    elif draws(node):
        raise drawing(base_name(node.target))
    elif not node.all_input_nodes:
        _constant(node, reader, calls)
    else:
        read_call(node, reader)
    for place, made in enumerate(reader.nodes[known:], start=known):
        reader.nodes[place] = _refined(reader, made)
        for name in made.outputs:
            first = value if isinstance(value, torch.Tensor) else value[0]
            reader.types.setdefault(name, first.dtype)


def _constant(node: FxNode, reader: Again, calls: Flat) -> None:
    """Read a call that is given no tensor: what it gives is a constant."""
    reader.name(node)
    calls.tensors[node.name] = node.target(*node.args, **node.kwargs)  # type: ignore[operator]
    reader.recipes[node.name] = Recipe(node.name, reader.shapes[node.name])
    reader.types[node.name] = node.meta["val"].dtype


def drawing(name: str) -> ExportError:
    """Return the refusal of a model that draws: its ONNX form could not be compared with it."""
    return ExportError(
        f"save: this model draws random numbers ({name}), so that nobody can tell whether the ONNX "
        f"of it is right. Save it as .pt2."
    )


def _refined(reader: Again, node: Node) -> Node:
    """Return a pool with its channels, and an overhang wherever there may be one."""
    pool, call = node.operation, node.source
    if not isinstance(pool, Pool):
        return node
    channels = reader.shapes[node.first or ""][1]
    ceil = isinstance(call, Call) and bound(call.target, call.args, call.kwargs).get("ceil_mode")
    overhang = (int(bool(ceil)),) * pool.dimensions
    return replace(node, operation=replace(pool, channels=channels, overhang=overhang))


# Functions that lifting adds.


def _read_function(node: FxNode, reader: Again, handler: Handler) -> None:
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
    """Return what a function is given beside tensors, in the order of its arguments."""
    return tuple(_plain(x) for x in given.values() if not isinstance(x, FxNode | list))


def _plain(value: Any) -> Any:
    """Return a setting with tuples for lists, as operations have them."""
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _same(kind: type[Operation]) -> Handler:
    """Return the handler of a function whose arguments are called as what the operation holds."""
    held = {entry.name for entry in fields(kind)}

    def handler(node: FxNode, reader: Again, a: dict[str, Any]) -> Operation:
        return kind(**{name: _plain(value) for name, value in a.items() if name in held})

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
        # The parts are row-major: the first that a segment takes of stands there.
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
    return Pool(kernel, stride, padding, dilation, kind, none, False, divisor or prod(kernel))


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


# Pieces that run on each window alone.


def _read_alone(node: FxNode, reader: Again, calls: Flat) -> None:
    module, path = calls.alone[str(node.target)], f"{node.target}.piece"
    values = [sized(x.meta["val"]) for x in node.args]  # type: ignore[union-attr]
    natives = [x[0] if one else x for x, one in zip(values, module.each, strict=True)]
    inner, inside = flat(module.piece, *natives), Again({}, {})
    inner.measure(*natives)
    inputs: list[str] = []
    results: list[str] = []
    for part in inner.graph.nodes:
        if part.op == "placeholder":
            inside.name(part)
            inside.of_image.add(part.name)
            inside.types[part.name] = part.meta["val"].dtype
            inputs.append(part.name)
        elif part.op == "get_attr":
            _parameter(part, inside, inner)
        elif part.op == "output":
            results = [inside.names[x] for x in part.args[0]]
        else:
            _call(part, inside, inner)
    held = {id(tensor): name for name, tensor in calls.tensors.items()}
    names = {name: f"{node.name}/{name}" for name in inside.shapes}
    for name, tensor in inner.tensors.items():
        source = held.setdefault(id(tensor), f"{path}.{name}")
        calls.tensors[source] = tensor
    for name, recipe in inside.recipes.items():
        source = held[id(inner.tensors[recipe.source])]
        names[name] = f"{node.name}/{name}"
        reader.recipes[names[name]] = replace(recipe, source=source)
    reader.shapes.update((names[name], shape) for name, shape in inside.shapes.items())
    reader.types.update((names[name], kind) for name, kind in inside.types.items())
    nodes = tuple(
        replace(
            part,
            inputs=tuple(name and names[name] for name in part.inputs),
            outputs=tuple(names[name] for name in part.outputs),
        )
        for part in needed(inside.nodes, results)
    )
    given, found = ([names[name] for name in part] for part in (inputs, results))
    operation = Alone(nodes, tuple(given), tuple(found), module.each)
    outputs = [node.name] if len(found) == 1 else [f"{node.name}_{i}" for i in range(len(found))]
    for name, value in zip(outputs, pytree.tree_leaves(node.meta["val"]), strict=True):
        reader.shapes[name], reader.types[name] = tuple(value.shape), value.dtype
    reader.names[node], reader.results[node] = outputs[0], outputs
    arguments = tuple(reader.names[x] for x in node.args)  # type: ignore[index]
    reader.append(Node(operation, arguments, tuple(outputs), node.meta[LAYER], per_window=True))


# Sizes that are free.


def _freed(one: Node, other: Node, shapes: Any, larger: Any) -> Node:
    """Return a node for images of every size, from what it is for two of them."""
    a, b = one.operation, other.operation
    if isinstance(a, Alone) and isinstance(b, Alone):
        return one
    name = one.first or ""
    if isinstance(a, Reshape) and isinstance(b, Reshape):
        a = b = Reshape(_free_shape(a.shape, b.shape, shapes[name], larger[name]))
    elif isinstance(a, Slice) and isinstance(b, Slice) and a.stop != b.stop:
        sizes = shapes[name][a.axis], larger[name][a.axis]
        if (a.stop, b.stop) == sizes:
            a = b = replace(a, stop=END)
        elif a.stop - sizes[0] == b.stop - sizes[1]:
            a, b = replace(a, stop=a.stop - sizes[0]), replace(b, stop=b.stop - sizes[1])
    elif isinstance(a, Opaque) and isinstance(b, Opaque):
        a, b = replace(a, products=0), replace(b, products=0)  # which grow with the images
    by_call = isinstance(a, AlongAxis | Opaque | PerChannel | Pointwise)
    if a != b or (by_call and one.source.args != other.source.args):
        raise ExportError(
            f"save: {one.kind or a.title} {one.name!r} is made for images of one size; save the "
            f"model as .pt2."
        )
    return replace(one, operation=a)


def _free_shape(
    one: Sequence[int], other: Sequence[int], given: Sequence[int], larger: Sequence[int]
) -> tuple[int, ...]:
    """Return sizes with 0 for those of the input in the same place, and -1 for one that is free."""
    found = list(one)
    differ = [axis for axis, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    for axis in differ if len(differ) > 1 else ():
        if axis < len(given) and (one[axis], other[axis]) == (given[axis], larger[axis]):
            found[axis] = 0
    for axis in differ:
        if found[axis]:
            found[axis] = -1
    return tuple(found)
