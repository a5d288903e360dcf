"""Inlining of the functions that an ONNX model defines."""

from __future__ import annotations

import onnx.inliner
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from fullconv.errors import ModelError, folded
from fullconv.frameworks.onnx.sorting import inner_graphs

DEEPEST = 50
"""The most functions that may call one another, one inside the other."""

Key = tuple[str, str, str]


def standard(domain: str) -> str:
    """Return the one name of a domain: that of ONNX' own operators has two."""
    return "" if domain == "ai.onnx" else domain


def _functions(model: ModelProto) -> dict[Key, FunctionProto]:
    """Return a model's functions by the key of their calls: domain, name and overload."""
    return {(standard(f.domain), f.name, f.overload): f for f in model.functions}


def count_nodes(model: ModelProto) -> int:
    """Return the number of operators of a model, with its functions inlined.

    Each function may call others twice, so that a short file can stand for any number.
    """
    functions = _functions(model)
    known: dict[Key, int] = {}
    within: list[Key] = []

    def of(graph: GraphProto | FunctionProto) -> int:
        return sum(
            one(node) + sum(of(inner) for inner in inner_graphs(node)) for node in graph.node
        )

    def one(node: NodeProto) -> int:
        key = node.domain, node.op_type, node.overload
        if key not in functions:
            return 1
        if key in within or len(within) > DEEPEST:
            raise ModelError(
                f"convert: the model's function {node.op_type!r} calls itself, or more than "
                f"{DEEPEST} others, one inside the other; export it without functions."
            )
        if key not in known:
            within.append(key)
            known[key] = of(functions[key])
            within.pop()
        return known[key]

    return of(model.graph)


def inlined(model: ModelProto) -> ModelProto:
    """Return a model with the operators of its functions in place of their calls."""
    if not model.functions:
        return model
    _give_defaults(model)
    try:
        flat: ModelProto = onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:
        raise ModelError(
            f"convert: the model's functions cannot be written out ({folded(error)}); "
            f"export it without functions, or inline them with onnx.inliner."
        ) from None
    return flat


def _give_defaults(model: ModelProto) -> None:
    """Write into every call the attributes that it leaves to the function.

    ONNX' inliner (1.23) leaves them out, so that operators inside would lack them.
    """
    functions = _functions(model)

    def fill(graph: GraphProto | FunctionProto) -> None:
        for node in graph.node:
            named = {attribute.name for attribute in node.attribute}
            function = functions.get((node.domain, node.op_type, node.overload))
            for default in function.attribute_proto if function is not None else ():
                if default.name not in named:
                    node.attribute.append(default)
            for inner in inner_graphs(node):
                fill(inner)

    for graph in (model.graph, *model.functions):
        fill(graph)
