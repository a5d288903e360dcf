"""Large weights, set aside while a model is checked and brought into form.

Note [Light models]. ONNX copies a whole model several times when it checks it, inlines its
functions, or converts its version. Large weights are not needed for that: they are set aside, with
their names among the inputs, and put back at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import onnx
import onnx_ir as ir
from onnx import ModelProto, TensorProto

from fullconv.errors import ModelError, first_line

LARGE = 1 << 20
"""The numbers from which on a weight is set aside; see Note [Light models]."""


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
