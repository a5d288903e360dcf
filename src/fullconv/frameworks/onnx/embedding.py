"""Preprocessing and activation in the graph of a converted model; see Note [Embedded]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fullconv.conversion.embedded import KEY, Embedded
from fullconv.frameworks.onnx.channels import AXES_KEY, channels_first
from fullconv.frameworks.onnx.light import set_aside
from fullconv.frameworks.onnx.retyping import PIXELS
from fullconv.frameworks.onnx.sorting import inner_graphs
from fullconv.frameworks.orders import to_last_order, to_map_order
from fullconv.geometry.images import ImageShape
from fullconv.preprocessing import Preprocessing


def embed(model: ModelProto, shape: ImageShape, embedded: Embedded) -> ModelProto:
    """Return a converted model that prepares its pixels and activates the scores of its one output.

    Input and output keep their names. With a preprocessing inside, images are bytes ``(N, H, W,
    C)`` and scores ``(N, rows, columns, K)``; or ``(N, H, W)`` and ``(N, K, rows, columns)``, where
    there is no axis of channels. Else both have the order that the model has.

    Parameters
    ----------
    model : ModelProto
        A converted model; it is not changed.
    shape : ImageShape
        The images that it takes.
    embedded : Embedded
        The steps to put inside.
    """
    turns = embedded.preprocessing is not None and shape.takes != "cells"
    result = ModelProto()
    result.CopyFrom(channels_first(model) if turns else model)
    if embedded.activation != "none":
        _activate(result.graph, embedded.activation, axis=_classes(result))
    if embedded.preprocessing is not None:
        _prepare(result.graph, embedded.preprocessing, shape.grid.dimensions, turns)
        if turns:
            _turn_scores(result.graph, shape.grid.dimensions)
    entries = {entry.key: entry.value for entry in result.metadata_props}
    entries |= {KEY: embedded.to_json(), **({AXES_KEY: "last"} if turns else {})}
    del result.metadata_props[:]
    helper.set_model_props(result, entries)
    onnx.checker.check_model(set_aside(result).model)
    return result


def _classes(model: ModelProto) -> int:
    """Return the axis of the classes in a converted model's scores."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return -1 if metadata.get(AXES_KEY) == "last" else 1


def _activate(graph: GraphProto, activation: str, axis: int) -> None:
    (output,) = graph.output
    inside = _renamed(graph, output.name, "fullconv/scores")
    node = helper.make_node(activation.capitalize(), [inside], [output.name])
    node.name = f"fullconv/{activation}"
    if activation == "softmax":
        node.attribute.append(helper.make_attribute("axis", axis))
    graph.node.append(node)


def _turn_scores(graph: GraphProto, dimensions: int) -> None:
    """Turn scores to ``(N, *windows, K)``, as the channels of the image are last."""
    for output in {value.name: value for value in graph.output}.values():
        sizes = output.type.tensor_type.shape.dim
        for size in sizes:
            size.Clear()  # free, in whichever order a runtime asks for them
        first = len(sizes) - dimensions
        order = (0, *range(first, len(sizes)), *range(1, first))
        inside = _renamed(graph, output.name, "fullconv/classes_first")
        graph.node.append(_turning(inside, output.name, f"{inside}/last", order))


def _prepare(graph: GraphProto, preprocessing: Preprocessing, dimensions: int, turns: bool) -> None:
    """Begin with bytes, and prepare them as `Preprocessing.apply` does, operation by operation."""
    (image,) = graph.input
    taken = image.type.tensor_type
    nodes, last = [], image.name
    inside = _renamed(graph, image.name, "fullconv/image")
    if turns:
        turned = f"{PIXELS}channels_first"
        nodes.append(_turning(last, turned, turned, to_map_order(2 + dimensions)))
        last = nodes[-1].output[0]
    if preprocessing.channel_order == "BGR":
        order = _constant(graph, "order", np.array([2, 1, 0]))
        nodes.append(helper.make_node("Gather", [last, order], [f"{PIXELS}BGR"], axis=1))
        last = nodes[-1].output[0]
    nodes.append(helper.make_node("Cast", [last], [f"{PIXELS}numbers"], to=TensorProto.FLOAT))
    for kind, name, numbers in _steps(preprocessing):
        # One number for each channel, ahead of the sizes; ``(N, H, W)`` has no channels.
        array = np.array(numbers, np.float32).reshape(-1, *[1] * dimensions)
        constant = _constant(graph, name, array if len(numbers) > 1 else array.reshape(()))
        nodes.append(
            helper.make_node(kind, [nodes[-1].output[0], constant], [f"{PIXELS}{kind.lower()}"])
        )
    for node in nodes:
        node.name = node.output[0]
    as_taken = helper.make_node(
        "Cast", [nodes[-1].output[0]], [inside], name=inside, to=taken.elem_type
    )
    _put_first(graph, [*nodes, as_taken])
    sizes = list(taken.shape.dim)
    taken.elem_type = TensorProto.UINT8
    if turns:
        taken.ClearField("shape")
        taken.shape.dim.extend(sizes[axis] for axis in to_last_order(len(sizes)))


def _steps(preprocessing: Preprocessing) -> Iterator[tuple[str, str, Sequence[float]]]:
    """Yield the operations that change anything: kind, name and numbers."""
    if preprocessing.scale != 1:
        yield "Mul", "scale", (preprocessing.scale,)
    if any(preprocessing.mean):
        yield "Sub", "mean", preprocessing.mean
    if any(number != 1 for number in preprocessing.std):
        yield "Div", "std", preprocessing.std


def _constant(graph: GraphProto, name: str, array: np.ndarray) -> str:
    full_name = f"{PIXELS}{name}"
    graph.initializer.append(numpy_helper.from_array(array, full_name))
    return full_name


def _turning(source: str, output: str, name: str, order: Sequence[int]) -> NodeProto:
    return helper.make_node("Transpose", [source], [output], name=name, perm=list(order))


def _put_first(graph: GraphProto, nodes: Sequence[NodeProto]) -> None:
    others = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *others])


def _renamed(graph: GraphProto, old: str, base: str) -> str:
    """Give a value another name wherever the nodes name it, and return that."""
    names = {name for node in _nodes(graph) for name in (*node.input, *node.output)}
    new, number = base, 1
    while new in names:
        number += 1
        new = f"{base}_{number}"
    for node in _nodes(graph):
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
    return new


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for inner in inner_graphs(node):
            yield from _nodes(inner)
