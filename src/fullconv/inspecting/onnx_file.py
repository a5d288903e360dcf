"""The contents of an ``.onnx`` file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

import onnx
from onnx import TensorProto, ValueInfoProto

from fullconv.frameworks.onnx.functions import standard
from fullconv.frameworks.onnx.opening import open_model
from fullconv.frameworks.onnx.sorting import inner_graphs
from fullconv.frameworks.onnx.tensors import needed_bytes, tensors_of
from fullconv.inspecting.contents import Dimension, ModelContents, TensorInfo, Weights


def read_onnx(path: Path) -> ModelContents:
    """Read a file, and the weights beside it, as `fullconv.load` does.

    Raises
    ------
    UnsafeModelError, ModelError
        As `open_model`.
    """
    model = open_model(path)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    return ModelContents(
        "ONNX",
        _versions(model),
        tuple(_value(value) for value in graph.input if value.name not in weights),
        tuple(map(_value, graph.output)),
        Counter(_kinds(graph.node)),
        Weights.of(
            (_dtype(tensor.data_type), prod(tensor.dims), needed_bytes(tensor))
            for tensor in tensors_of(model)
        ),
        {entry.key: entry.value for entry in model.metadata_props},
    )


def _versions(model: onnx.ModelProto) -> dict[str, str]:
    versions = {"IR version": str(model.ir_version)}
    for opset in model.opset_import:
        domain = standard(opset.domain)
        versions[f"opset of {domain}" if domain else "opset"] = str(opset.version)
    if model.producer_name:
        versions["by"] = f"{model.producer_name} {model.producer_version}".strip()
    return versions


def _kinds(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        domain = standard(node.domain)
        yield f"{domain}.{node.op_type}" if domain else node.op_type
        for inner in inner_graphs(node):
            yield from _kinds(inner.node)


def _value(value: ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    shape: tuple[Dimension, ...] | None = None
    if kind.HasField("shape"):
        shape = tuple(
            dim.dim_value if dim.dim_value > 0 else dim.dim_param or None for dim in kind.shape.dim
        )
    return TensorInfo(value.name, shape, _dtype(kind.elem_type))


def _dtype(kind: int) -> str:
    if kind not in TensorProto.DataType.values() or not kind:
        return ""
    name: str = TensorProto.DataType.Name(kind).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)
