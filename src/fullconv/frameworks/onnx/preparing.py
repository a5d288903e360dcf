"""From an ONNX model as somebody wrote it to one that the readers know: checked, flat, current.

Note [Light models]. What ONNX itself does to a model (check it, inline its functions, bring it to
another version) copies all of it several times. Large weights mean nothing to that: they are set
aside, their names standing among the inputs, and put back at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx
import onnx.inliner
import onnx_ir as ir
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.bounds import MOST_NODES
from fullconv.frameworks.onnx.sorting import inner_graphs, sort
from fullconv.frameworks.onnx.tensors import MEMORY, check_tensors, dense
from fullconv.frameworks.onnx.versions import current

LARGE = 1 << 20
"""Of so many numbers, weights are set aside; see Note [Light models]."""

DEEPEST = 50
"""Functions that call one another, one inside the other."""

DEPRECATED = frozenset(["GroupNormalization"])
"""What ONNX calls deprecated, of versions 18 to 20, and ONNX Runtime runs."""

USUAL_IR_VERSION = 8


def mended(model: ModelProto) -> ModelProto:
    """Return a model that says what ONNX Runtime wants to hear, with the same meaning.

    A file without a version of its form gets one; sizes of the image below one are free, as Paddle
    and MXNet mean it by -1 and 0; nodes get names of their own. The model itself stays as it is.
    """
    named = Counter(node.name for node in model.graph.node if node.name)
    twice = len(named) < sum(named.values())
    odd = [
        dim
        for value in model.graph.input
        for dim in value.type.tensor_type.shape.dim
        if dim.HasField("dim_value") and dim.dim_value < 1
    ]
    if model.ir_version > 0 and not twice and not odd:
        return model
    held, model = model, ModelProto()
    model.CopyFrom(held)
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
    light = set_aside(mended(model))
    _complete(light.model)
    for graph in (light.model.graph, *light.model.functions):
        _unfold_sparse(graph)
    _one_version_each(light.model)
    sort(light.model.graph)
    nodes = _count(light.model)
    if nodes > MOST_NODES:
        raise ModelError(
            f"convert: the model has {nodes} operators, with its functions written out, more than "
            f"{MOST_NODES}; export it in a smaller form."
        )
    _check(light.model)
    flat = _inlined(light.model)
    return Light(current(flat), light.weights)


@dataclass(frozen=True)
class Light:
    """A model whose large weights are set aside; see Note [Light models]."""

    model: ModelProto
    weights: Mapping[str, TensorProto]

    def whole(self) -> ir.Model:
        """Return the model with its weights, which are no longer inputs, for onnx-ir.

        Raises
        ------
        ModelError
            If it cannot be read.
        """
        try:
            model = ir.serde.deserialize_model(self.model)
            for value in list(model.graph.inputs):
                if (tensor := self.weights.get(value.name or "")) is not None:
                    model.graph.inputs.remove(value)
                    value.const_value = ir.serde.deserialize_tensor(tensor)
                    model.graph.register_initializer(value)
        except Exception as error:
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            raise ModelError(
                f"convert: the model cannot be read ({first_line(cause)}); it is damaged: export "
                f"or copy it again."
            ) from None
        return model


def set_aside(model: ModelProto) -> Light:
    """Return a copy of a model, and its large weights."""
    light = ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        functions=model.functions,
        metadata_props=model.metadata_props,
        doc_string=model.doc_string,
    )
    graph = light.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.output.extend(model.graph.output)
    graph.sparse_initializer.extend(model.graph.sparse_initializer)
    weights = {}
    for tensor in model.graph.initializer:
        if prod(tensor.dims) < LARGE:
            graph.initializer.append(tensor)
        else:
            weights[tensor.name] = tensor
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)
    graph.input.extend(value for value in model.graph.input if value.name not in weights)
    return Light(light, weights)


def _complete(model: ModelProto) -> None:
    """Add what ONNX Runtime does without, and ONNX' checker does not."""
    model.graph.name = model.graph.name or "classifier"
    for value in model.graph.input:
        # An image of unknown rank: that it is one is all that can be meant.
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape"):
            for _ in range(4):
                value.type.tensor_type.shape.dim.add()
    for value in model.graph.output:
        # What they are is computed later.
        kind = value.type.tensor_type
        if kind.elem_type not in TensorProto.DataType.values() or not kind.elem_type:
            kind.elem_type = TensorProto.FLOAT
        kind.ClearField("shape")
        kind.shape.SetInParent()
    for held in (*model.opset_import, *(o for f in model.functions for o in f.opset_import)):
        held.domain = _standard(held.domain)
    for graph in (model.graph, *model.functions):
        _name_domains(graph)


def _name_domains(graph: GraphProto | onnx.FunctionProto) -> None:
    for node in graph.node:
        node.domain = _standard(node.domain)
        for inner in inner_graphs(node):
            _name_domains(inner)


def _standard(domain: str) -> str:
    """Return a domain by its one name: that of ONNX' own operators has two."""
    return "" if domain == "ai.onnx" else domain


def _unfold_sparse(graph: GraphProto | onnx.FunctionProto) -> None:
    """Write sparse weights and constants with all their zeros."""
    if isinstance(graph, GraphProto):
        graph.initializer.extend(dense(sparse, MEMORY) for sparse in graph.sparse_initializer)
        graph.ClearField("sparse_initializer")
    for node in graph.node:
        for held in node.attribute:
            if held.type == onnx.AttributeProto.SPARSE_TENSOR and node.op_type == "Constant":
                value = dense(held.sparse_tensor, MEMORY)
                held.CopyFrom(onnx.helper.make_attribute("value", value))
        for inner in inner_graphs(node):
            _unfold_sparse(inner)


def _one_version_each(model: ModelProto) -> None:
    """Let every set of operators be named once."""
    versions: dict[str, int] = {}
    for held in model.opset_import:
        if versions.setdefault(held.domain, held.version) != held.version:
            raise ModelError(
                f"convert: the model is written for two versions of the operators of "
                f"{held.domain or 'ai.onnx'!r}, {versions[held.domain]} and {held.version}; "
                f"export it again."
            )
    if "" not in versions:
        raise ModelError(
            "convert: the model does not say which version of the ONNX operators it is written for; "
            "export it again."
        )
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in versions.items())


def _count(model: ModelProto) -> int:
    """Return how many operators a model has with its functions written out.

    A function may call others, each twice, and a short file so stand for any number.
    """
    functions = {(_standard(f.domain), f.name, f.overload): f for f in model.functions}
    known: dict[tuple[str, str, str], int] = {}
    within: list[tuple[str, str, str]] = []

    def of(graph: GraphProto | onnx.FunctionProto) -> int:
        return sum(
            one(node) + sum(of(inner) for inner in inner_graphs(node)) for node in graph.node
        )

    def one(node: NodeProto) -> int:
        key = node.domain, node.op_type, node.overload
        if key not in functions:
            return 1
        if key in within or len(within) > DEEPEST:
            raise ModelError(
                f"convert: the model's function {node.op_type!r} calls itself, or more than {DEEPEST} "
                f"others, one inside the other; export it without functions."
            )
        if key not in known:
            within.append(key)
            known[key] = of(functions[key])
            within.pop()
        return known[key]

    return of(model.graph)


def _check(model: ModelProto) -> None:
    try:
        onnx.checker.check_model(_without_deprecated(model))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"convert: the model is not valid ONNX ({reason[:300].rstrip('.')}); export it again, "
            f"and check it with onnx.checker.check_model."
        ) from None


def _without_deprecated(model: ModelProto) -> ModelProto:
    """Return a model for the checker, which refuses the operators of `DEPRECATED`."""
    places = [n for n, node in enumerate(model.graph.node) if node.op_type in DEPRECATED]
    if not places:
        return model
    held, model = model, ModelProto()
    model.CopyFrom(held)
    for place in places:
        model.graph.node[place].domain = "deprecated"
    model.opset_import.append(onnx.helper.make_opsetid("deprecated", 1))
    return model


def _inlined(model: ModelProto) -> ModelProto:
    """Return a model with the operators of its functions in the place of their calls."""
    if not model.functions:
        return model
    _give_defaults(model)
    try:
        flat: ModelProto = onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"convert: the model's functions cannot be written out ({reason[:300].rstrip('.')}); export it "
            f"without functions, or inline them with onnx.inliner."
        ) from None
    return flat


def _give_defaults(model: ModelProto) -> None:
    """Write into every call the attributes that it leaves to the function.

    ONNX' inliner (1.23) leaves them out, and an operator inside that takes one has none.
    """
    functions = {(_standard(f.domain), f.name, f.overload): f for f in model.functions}

    def fill(graph: GraphProto | onnx.FunctionProto) -> None:
        for node in graph.node:
            held = {attribute.name for attribute in node.attribute}
            function = functions.get((node.domain, node.op_type, node.overload))
            for default in function.attribute_proto if function is not None else ():
                if default.name not in held:
                    node.attribute.append(default)
            for inner in inner_graphs(node):
                fill(inner)

    for graph in (model.graph, *model.functions):
        fill(graph)
