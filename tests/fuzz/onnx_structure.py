"""Mutations of what ``.onnx`` files say: nodes, edges, and what `onnx_values` changes.

The result is a file that parses, and means something else, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import onnx
from onnx import ModelProto, helper

from fuzz import onnx_values as values
from fuzz.case import Case, Cases
from fuzz.onnx_values import names_in
from fuzz.sound_models import onnx_files

Change = Callable[[ModelProto, Random], None]

OPERATORS = tuple(
    sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""})
)


def _node(model: ModelProto, chance: Random) -> Any:
    return chance.choice(model.graph.node)


def drop_node(model: ModelProto, chance: Random) -> None:
    del model.graph.node[chance.randrange(len(model.graph.node))]


def repeat_node(model: ModelProto, chance: Random) -> None:
    model.graph.node.append(_node(model, chance))


def reorder(model: ModelProto, chance: Random) -> None:
    nodes = list(model.graph.node)
    chance.shuffle(nodes)  # type: ignore[arg-type]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def rewire(model: ModelProto, chance: Random) -> None:
    node = _node(model, chance)
    ends = node.input if chance.random() < 0.8 or not node.output else node.output
    if ends:
        ends[chance.randrange(len(ends))] = chance.choice(names_in(model))


def lose_end(model: ModelProto, chance: Random) -> None:
    node = _node(model, chance)
    ends = node.input if chance.random() < 0.7 else node.output
    if ends:
        del ends[chance.randrange(len(ends))]


def more_ends(model: ModelProto, chance: Random) -> None:
    node = _node(model, chance)
    ends = node.input if chance.random() < 0.7 else node.output
    ends.extend([chance.choice(names_in(model))] * chance.randrange(1, 5))


def other_operator(model: ModelProto, chance: Random) -> None:
    _node(model, chance).op_type = chance.choice((*OPERATORS, "", "NoSuchOperator"))


def insert_operator(model: ModelProto, chance: Random) -> None:
    """Put an operator of any kind behind a value."""
    target = _node(model, chance)
    if not target.output:
        return
    name = target.output[0]
    target.output[0] = "before"
    given = ["before", *(chance.choice(names_in(model)) for _ in range(chance.randrange(0, 4)))]
    model.graph.node.append(helper.make_node(chance.choice(OPERATORS), given, [name]))


def other_domain(model: ModelProto, chance: Random) -> None:
    domains = ("com.microsoft", "ai.onnx.ml", "own", "ai.onnx", "no.such", "\x00")
    _node(model, chance).domain = chance.choice(domains)


def function(model: ModelProto, chance: Random) -> None:
    """Let a function call itself, lose a part, or hide an operator."""
    if not model.functions:
        return values.ends_of_graph(model, chance)
    held = chance.choice(model.functions)
    kind = chance.randrange(4)
    if kind == 0:
        held.node.add(op_type=held.name, domain=held.domain, input=["a"], output=["again"])
    elif kind == 1:
        held.ClearField(chance.choice(("opset_import", "input", "output", "attribute", "node")))
    elif kind == 2:
        model.functions.append(held)
    else:
        held.name = chance.choice(("Conv", "", "Head", "Flatten"))
    return None


def inner_graph(model: ModelProto, chance: Random) -> None:
    """Change a branch or a loop's body as one changes a graph."""
    graphs = [
        a.g for n in model.graph.node for a in n.attribute if a.type == onnx.AttributeProto.GRAPH
    ]
    if not graphs:
        return rewire(model, chance)
    inner = ModelProto()
    graph = chance.choice(graphs)
    inner.graph.CopyFrom(graph)
    if inner.graph.node:
        chance.choice((drop_node, rewire, lose_end, other_operator, values.ends_of_graph))(
            inner, chance
        )
    graph.CopyFrom(inner.graph)
    return None


CHANGES: tuple[Change, ...] = (
    *(drop_node, repeat_node, reorder, rewire, rewire, lose_end, more_ends, other_operator),
    *(insert_operator, other_domain, *[values.attribute] * 3, values.weight_sizes),
    *(values.weight_type, values.weight_data, *[values.whole_numbers] * 2, values.lose_weight),
    *(values.repeat_weight, *[values.image] * 2, values.ends_of_graph, values.versions),
    *(function, inner_graph),
)


def cases(seed: int, count: int) -> Cases:
    """Yield ``.onnx`` files that parse, with one change or two."""
    chance = Random(seed)
    sound = onnx_files()
    for number in range(count):
        name = chance.choice(list(sound))
        model = onnx.load_from_string(sound[name])
        whats = []
        for _ in range(1 + (chance.random() < 0.25)):
            change = chance.choice(CHANGES)
            whats.append(change.__name__)
            if model.graph.node and model.graph.initializer:
                change(model, chance)
        files = {"model.onnx": model.SerializeToString()}
        call = ("convert", "model.onnx", "-o", "out.onnx")
        yield Case(f"{number}-{name}-{'-'.join(whats)}", call, files, judge="fuzz.exactness")
