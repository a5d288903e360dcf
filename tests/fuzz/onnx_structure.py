"""Mutations of what ``.onnx`` files say: nodes, edges, attributes, types, sizes, numbers.

The result is a file that parses, and means something else, or nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fuzz import Cases
from fuzz.seeds import onnx_files

Rng = np.random.Generator
Change = Callable[[ModelProto, Rng], None]

SIZES = (-(1 << 63), -(1 << 31), -2, -1, 0, 1, 2, 3, 7, 1 << 16, 1 << 31, (1 << 63) - 1)
OPERATORS = tuple(
    sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""})
)


def _pick(rng: Rng, items: Sequence[Any]) -> Any:
    return items[int(rng.integers(len(items)))]


def _size(rng: Rng) -> int:
    return int(_pick(rng, SIZES))


def _names(model: ModelProto) -> list[str]:
    found = {"", "x", "y", "no_such_value"}
    for node in model.graph.node:
        found.update((*node.input, *node.output))
    return sorted(found)


def _node(model: ModelProto, rng: Rng) -> Any:
    return _pick(rng, model.graph.node)


def drop_node(model: ModelProto, rng: Rng) -> None:
    del model.graph.node[int(rng.integers(len(model.graph.node)))]


def repeat_node(model: ModelProto, rng: Rng) -> None:
    model.graph.node.append(_node(model, rng))


def reorder(model: ModelProto, rng: Rng) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)  # type: ignore[arg-type]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def rewire(model: ModelProto, rng: Rng) -> None:
    node = _node(model, rng)
    ends = node.input if rng.random() < 0.8 or not node.output else node.output
    if ends:
        ends[int(rng.integers(len(ends)))] = _pick(rng, _names(model))


def lose_end(model: ModelProto, rng: Rng) -> None:
    node = _node(model, rng)
    ends = node.input if rng.random() < 0.7 else node.output
    if ends:
        del ends[int(rng.integers(len(ends)))]


def more_ends(model: ModelProto, rng: Rng) -> None:
    node = _node(model, rng)
    ends = node.input if rng.random() < 0.7 else node.output
    ends.extend([_pick(rng, _names(model))] * int(rng.integers(1, 5)))


def other_operator(model: ModelProto, rng: Rng) -> None:
    _node(model, rng).op_type = _pick(rng, (*OPERATORS, "", "NoSuchOperator"))


def insert_operator(model: ModelProto, rng: Rng) -> None:
    """Put an operator of any kind behind a value."""
    target = _node(model, rng)
    if not target.output:
        return
    name = target.output[0]
    target.output[0] = "before"
    given = ["before", *(_pick(rng, _names(model)) for _ in range(int(rng.integers(0, 4))))]
    model.graph.node.append(helper.make_node(_pick(rng, OPERATORS), given, [name]))


def other_domain(model: ModelProto, rng: Rng) -> None:
    domains = ("com.microsoft", "ai.onnx.ml", "own", "ai.onnx", "no.such", "\x00")
    _node(model, rng).domain = _pick(rng, domains)


def attribute(model: ModelProto, rng: Rng) -> None:
    """Change one attribute's value or type, drop it, or add one."""
    node = _node(model, rng)
    kind = int(rng.integers(4))
    if kind == 0 or not node.attribute:
        value = _pick(
            rng, (_size(rng), float("nan"), "text", [_size(rng)] * 3, [1.5, -2.0], b"\xff")
        )
        names = ("axis", "axes", "pads", "strides", "kernel_shape", "perm", "to", "group", "mode")
        node.attribute.append(helper.make_attribute(_pick(rng, names), value))
        return
    place = int(rng.integers(len(node.attribute)))
    if kind == 1:
        del node.attribute[place]
        return
    held = node.attribute[place]
    if kind == 2 or held.type not in (onnx.AttributeProto.INT, onnx.AttributeProto.INTS):
        held.type = int(rng.integers(0, 15))
    elif held.type == onnx.AttributeProto.INT:
        held.i = _size(rng)
    elif rng.random() < 0.6 and held.ints:
        held.ints[int(rng.integers(len(held.ints)))] = _size(rng)
    else:
        held.ints.extend([_size(rng)] * int(rng.integers(1, 4)))


def weight_sizes(model: ModelProto, rng: Rng) -> None:
    tensor = _pick(rng, model.graph.initializer)
    if tensor.dims and rng.random() < 0.7:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = _size(rng)
    else:
        tensor.dims.append(_size(rng))


def weight_type(model: ModelProto, rng: Rng) -> None:
    _pick(rng, model.graph.initializer).data_type = int(rng.integers(-1, 30))


def weight_data(model: ModelProto, rng: Rng) -> None:
    tensor = _pick(rng, model.graph.initializer)
    kind = int(rng.integers(4))
    if kind == 0:
        tensor.raw_data = tensor.raw_data[: int(rng.integers(1 + len(tensor.raw_data)))]
    elif kind == 1:
        tensor.ClearField("raw_data")
    elif kind == 2:
        tensor.float_data.extend([1.0] * int(rng.integers(1, 9)))
    else:
        tensor.data_location = TensorProto.EXTERNAL
        places = ("../x", "/dev/zero", "none.bin", "", "/etc/passwd", ".")
        tensor.external_data.add(key="location", value=_pick(rng, places))
        tensor.external_data.add(key="offset", value=str(_size(rng)))
        tensor.external_data.add(key="length", value=_pick(rng, (str(_size(rng)), "many")))


def whole_numbers(model: ModelProto, rng: Rng) -> None:
    """Change what the sizes are computed from."""
    held = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64]
    held = [t for t in held if len(t.raw_data) == 8 * math.prod(t.dims)]
    if not held:
        return weight_sizes(model, rng)
    tensor = _pick(rng, held)
    array = numpy_helper.to_array(tensor).copy()
    if array.size and rng.random() < 0.8:
        array.reshape(-1)[int(rng.integers(array.size))] = _size(rng)
    else:
        array = np.full(int(rng.integers(0, 9)), _size(rng))
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return None


def lose_weight(model: ModelProto, rng: Rng) -> None:
    del model.graph.initializer[int(rng.integers(len(model.graph.initializer)))]


def repeat_weight(model: ModelProto, rng: Rng) -> None:
    model.graph.initializer.append(_pick(rng, model.graph.initializer))


def image(model: ModelProto, rng: Rng) -> None:
    """Change the type or sizes of an input or output."""
    ends = list(model.graph.input if rng.random() < 0.8 else model.graph.output)
    if not ends:
        return
    kind = _pick(rng, ends).type
    if rng.random() < 0.3:
        kind.tensor_type.elem_type = int(rng.integers(0, 25))
    elif kind.tensor_type.shape.dim:
        dim = _pick(rng, kind.tensor_type.shape.dim)
        if rng.random() < 0.7:
            dim.dim_value = _size(rng)
        else:
            dim.dim_param = _pick(rng, ("N", "H", "", "batch*2"))
    if rng.random() < 0.2:
        kind.tensor_type.shape.dim.add(dim_value=_size(rng))
    if rng.random() < 0.1:
        kind.ClearField("tensor_type")
    if rng.random() < 0.1:
        kind.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT


def ends_of_graph(model: ModelProto, rng: Rng) -> None:
    """Drop, repeat or rename an input or output of the graph."""
    ends = model.graph.input if rng.random() < 0.5 else model.graph.output
    kind = int(rng.integers(3))
    if not ends or kind == 0:
        ends.add(name=_pick(rng, _names(model)))
    elif kind == 1:
        del ends[int(rng.integers(len(ends)))]
    else:
        _pick(rng, ends).name = _pick(rng, _names(model))


def versions(model: ModelProto, rng: Rng) -> None:
    kind = int(rng.integers(4))
    if kind == 0:
        model.ir_version = _pick(rng, (0, 1, 3, 7, 99, -1, 1 << 40))
    elif kind == 1:
        model.ClearField(_pick(rng, ("ir_version", "opset_import", "graph", "functions")))
    elif model.opset_import:
        held = _pick(rng, model.opset_import)
        held.version = _pick(rng, (-1, 0, 1, 7, 12, 16, 21, 999, 1 << 40))
        if rng.random() < 0.3:
            model.opset_import.append(held)


def function(model: ModelProto, rng: Rng) -> None:
    """Let a function call itself, lose a part, or hide an operator."""
    if not model.functions:
        return ends_of_graph(model, rng)
    held = _pick(rng, model.functions)
    kind = int(rng.integers(4))
    if kind == 0:
        held.node.add(op_type=held.name, domain=held.domain, input=["a"], output=["again"])
    elif kind == 1:
        held.ClearField(_pick(rng, ("opset_import", "input", "output", "attribute", "node")))
    elif kind == 2:
        model.functions.append(held)
    else:
        held.name = _pick(rng, ("Conv", "", "Head", "Flatten"))
    return None


def inner_graph(model: ModelProto, rng: Rng) -> None:
    """Change a branch or a loop's body as one changes a graph."""
    graphs = [
        a.g for n in model.graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH
    ]
    if not graphs:
        return rewire(model, rng)
    inner = ModelProto()
    graph = _pick(rng, graphs)
    inner.graph.CopyFrom(graph)
    if inner.graph.node:
        _pick(rng, (drop_node, rewire, lose_end, other_operator, ends_of_graph))(inner, rng)
    graph.CopyFrom(inner.graph)
    return None


CHANGES: tuple[Change, ...] = (
    *(drop_node, repeat_node, reorder, rewire, rewire, lose_end, more_ends, other_operator),
    *(insert_operator, other_domain, attribute, attribute, attribute, weight_sizes, weight_type),
    *(weight_data, whole_numbers, whole_numbers, lose_weight, repeat_weight, image, image),
    *(ends_of_graph, versions, function, inner_graph),
)


def cases(seed: int, count: int = 300) -> Cases:
    """Yield ``.onnx`` files that parse, with one to three changes."""
    rng = np.random.default_rng(seed)
    files = onnx_files()
    for number in range(count):
        name = _pick(rng, list(files))
        model = onnx.load_from_string(files[name])
        names = []
        for _ in range(1 + int(rng.random() < 0.25)):
            change = _pick(rng, CHANGES)
            names.append(change.__name__)
            if model.graph.node and model.graph.initializer:
                change(model, rng)
        file = f"{seed}-{number:04}-{name}-{'-'.join(names)}.onnx"
        yield file, model.SerializeToString(), ["convert", file, "-o", "out.onnx"]
