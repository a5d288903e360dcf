"""Preparation of ONNX models for the readers: checked, inlined, and in a current operator set."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import GraphProto, ModelProto, TensorProto

from fullconv.errors import ModelError, folded
from fullconv.frameworks.bounds import MOST_NODES
from fullconv.frameworks.onnx.functions import count_nodes, inlined, standard
from fullconv.frameworks.onnx.light import Light, set_aside
from fullconv.frameworks.onnx.sorting import inner_graphs, prune, sort
from fullconv.frameworks.onnx.tensors import MEMORY, check_tensors, dense
from fullconv.frameworks.onnx.versions import current

DEPRECATED = frozenset(["GroupNormalization"])
"""Operators of versions 18 to 20 that ONNX calls deprecated, and ONNX Runtime runs."""

USUAL_IR_VERSION = 8


def mended(model: ModelProto) -> ModelProto:
    """Return an equivalent model that ONNX Runtime accepts.

    A file without an IR version gets one. Sizes of the image below one become free: Paddle and
    MXNet write -1 and 0 for these. Nodes that share a name lose it. The given model is unchanged.
    """
    named = Counter(node.name for node in model.graph.node if node.name)
    twice = len(named) < sum(named.values())
    below_one = [
        dim
        for value in model.graph.input
        for dim in value.type.tensor_type.shape.dim
        if dim.HasField("dim_value") and dim.dim_value < 1
    ]
    if model.ir_version > 0 and not twice and not below_one:
        return model
    given, model = model, ModelProto()
    model.CopyFrom(given)
    if model.ir_version < 1:
        model.ir_version = USUAL_IR_VERSION
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value < 1:
                dim.ClearField("dim_value")
    for node in model.graph.node if twice else ():
        if named[node.name] > 1:
            node.name = ""
    return model


def prepared(model: ModelProto) -> Light:
    """Return a valid model of a version that the readers know, without functions of its own.

    Raises
    ------
    ModelError
        If it is damaged, is not valid ONNX, or would grow without bounds.
    """
    check_tensors(model, MEMORY)
    return prepared_again(model)


def prepared_again(model: ModelProto) -> Light:
    """Return the same for a model whose tensors have been checked."""
    light = set_aside(mended(model))
    _complete(light.model)
    for graph in (light.model.graph, *light.model.functions):
        _unfold_sparse(graph)
    _one_version_each(light.model)
    prune(light.model.graph)
    sort(light.model.graph)
    nodes = count_nodes(light.model)
    if nodes > MOST_NODES:
        raise ModelError(
            f"convert: the model has {nodes} operators, with its functions written out, more than "
            f"{MOST_NODES}; export it in a smaller form."
        )
    _check(light.model)
    flat = inlined(light.model)
    prune(flat.graph)
    return Light(current(flat), light.weights)


def _complete(model: ModelProto) -> None:
    """Add entries that ONNX' checker requires, and ONNX Runtime does not."""
    model.graph.name = model.graph.name or "classifier"
    for value in model.graph.input:
        # An input of unknown rank can only be an image with two axes.
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            for _ in range(4):
                value.type.tensor_type.shape.dim.add()
    for value in model.graph.output:
        # Types and sizes are computed later.
        kind = value.type.tensor_type
        if kind.elem_type not in TensorProto.DataType.values() or not kind.elem_type:
            kind.elem_type = TensorProto.FLOAT
        kind.ClearField("shape")
        kind.shape.SetInParent()
    for opset in (*model.opset_import, *(o for f in model.functions for o in f.opset_import)):
        opset.domain = standard(opset.domain)
    for graph in (model.graph, *model.functions):
        _name_domains(graph)


def _name_domains(graph: GraphProto | onnx.FunctionProto) -> None:
    for node in graph.node:
        node.domain = standard(node.domain)
        for inner in inner_graphs(node):
            _name_domains(inner)


def _unfold_sparse(graph: GraphProto | onnx.FunctionProto) -> None:
    """Write sparse weights and constants with all their zeros."""
    if isinstance(graph, GraphProto):
        graph.initializer.extend(dense(sparse, MEMORY) for sparse in graph.sparse_initializer)
        graph.ClearField("sparse_initializer")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.SPARSE_TENSOR and node.op_type == "Constant":
                value = dense(attribute.sparse_tensor, MEMORY)
                attribute.CopyFrom(onnx.helper.make_attribute("value", value))
        for inner in inner_graphs(node):
            _unfold_sparse(inner)


def _one_version_each(model: ModelProto) -> None:
    """Name every set of operators once."""
    versions: dict[str, int] = {}
    for opset in model.opset_import:
        if versions.setdefault(opset.domain, opset.version) != opset.version:
            raise ModelError(
                f"convert: the model is written for two versions of the operators of "
                f"{opset.domain or 'ai.onnx'!r}, {versions[opset.domain]} and {opset.version}; "
                f"export it again."
            )
    if "" not in versions:
        raise ModelError(
            "convert: the model does not say which version of the ONNX operators it is written "
            "for; export it again."
        )
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in versions.items())


def _check(model: ModelProto) -> None:
    try:
        onnx.checker.check_model(_without_deprecated(model))
    except Exception as error:
        raise ModelError(
            f"convert: the model is not valid ONNX ({folded(error)}); export it again, "
            f"and check it with onnx.checker.check_model."
        ) from None


def _without_deprecated(model: ModelProto) -> ModelProto:
    """Return a model for the checker, which refuses the operators of `DEPRECATED`."""
    places = [n for n, node in enumerate(model.graph.node) if node.op_type in DEPRECATED]
    if not places:
        return model
    given, model = model, ModelProto()
    model.CopyFrom(given)
    for place in places:
        model.graph.node[place].domain = "deprecated"
    model.opset_import.append(onnx.helper.make_opsetid("deprecated", 1))
    return model
