"""One ONNX operator by itself, in ONNX Runtime: its results, and their types and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, OperatorSetIdProto, TensorProto, TypeProto

Array = NDArray[Any]


class NotRunnableError(Exception):
    """ONNX Runtime has no such operator, or none for these types."""


class Single:
    """A node as a model of its own.

    Parameters
    ----------
    node : NodeProto
    opsets : sequence of OperatorSetIdProto
    constants : mapping of str to array
        Inputs that are known; they are part of the model.
    types : mapping of str to TypeProto
        Types and sizes of the other inputs.

    Raises
    ------
    NotRunnableError
        If ONNX Runtime does not take it.
    """

    def __init__(
        self,
        node: NodeProto,
        opsets: Sequence[OperatorSetIdProto],
        constants: Mapping[str, Array],
        types: Mapping[str, TypeProto],
    ) -> None:
        import onnxruntime

        self.names = [name for name in node.output if name]
        graph = onnx.helper.make_graph(
            [node],
            "operator",
            [onnx.ValueInfoProto(name=name, type=kind) for name, kind in types.items()],
            [onnx.ValueInfoProto(name=name) for name in self.names],
            [onnx.numpy_helper.from_array(a, name) for name, a in constants.items()],
        )
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise NotRunnableError(str(error)) from None
        self._types = types

    def run(self, feeds: Mapping[str, Array] | None = None) -> list[Array]:
        """Return the outputs, in order."""
        return list(map(np.asarray, self._session.run(self.names, dict(feeds or {}))))

    def kinds(self, measure: bool) -> dict[str, TypeProto]:
        """Return the types of the outputs, with their sizes where these are known.

        Unknown sizes can be measured on two images. Sizes that differ between these depend on the
        pixels, and stay unknown.
        """
        kinds = {}
        for output in self._session.get_outputs():
            kind = _element_type(output.type)
            # Sizes are empty for a single number, and also where nothing is known.
            known = bool(output.shape) and all(isinstance(n, int) for n in output.shape)
            kinds[output.name] = _type(kind, output.shape if known else None)
        if not measure or all(kind.tensor_type.HasField("shape") for kind in kinds.values()):
            return kinds
        first, second = (
            [array.shape for array in self.run(self._example(distinct))]
            for distinct in (False, True)
        )
        for name, one, other in zip(self.names, first, second, strict=True):
            if one == other:
                kinds[name] = _type(kinds[name].tensor_type.elem_type, one)
        return kinds

    def _example(self, distinct: bool) -> dict[str, Array]:
        """Return inputs of ones, or of ones and zeros where they should be ``distinct``."""
        feeds = {}
        for name, kind in self._types.items():
            shape = tuple(dim.dim_value for dim in kind.tensor_type.shape.dim)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
            ones = np.ones(shape, dtype)
            if distinct and ones.size:
                ones.reshape(-1)[::2] = 0
            feeds[name] = ones
        return feeds


def _element_type(text: str) -> int:
    """Return the type that ONNX Runtime calls ``tensor(float)``; 0 for other types."""
    name = text.removeprefix("tensor(").removesuffix(")").upper()
    return int(getattr(TensorProto, name, 0)) if text.startswith("tensor(") else 0


def _type(kind: int, shape: Sequence[int] | None) -> TypeProto:
    return onnx.helper.make_tensor_type_proto(kind, shape)
