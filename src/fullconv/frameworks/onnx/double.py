"""An ONNX model in double precision, by onnx's reference evaluator.

ONNX Runtime has no convolutions of doubles. The reference evaluator computes in the types that it
is given, some hundred times slower: good for a few crops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from fullconv.frameworks.onnx.retyping import retyped
from fullconv.frameworks.onnx.session import session

SINGLE = frozenset([TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16])


def in_double(model: onnx.ModelProto) -> Callable[[Any], Any]:
    """Return a model as a function of images that computes in double precision.

    One array for one output, else a tuple.
    """
    doubled = retyped(model, SINGLE, TensorProto.DOUBLE)
    evaluator = ReferenceEvaluator(doubled, new_ops=[MaxPool])
    image = doubled.graph.input[0]
    dtype = onnx.helper.tensor_dtype_to_np_dtype(image.type.tensor_type.elem_type)

    def run(images: Any) -> Any:
        outputs: Any = evaluator.run(None, {image.name: images.astype(dtype, copy=False)})
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    return run


class MaxPool(OpRun):
    """Max pooling by ONNX Runtime, which has it for doubles.

    The reference evaluator's own fails, or has another shape, where it is padded and moves by one
    cell (onnx 1.23).
    """

    def _run(self, x: Any, **_: Any) -> tuple[Any, ...]:
        node = self.onnx_node
        typed = onnx.helper.make_tensor_type_proto(TensorProto.DOUBLE, [None] * x.ndim)
        image = onnx.helper.make_value_info(node.input[0], typed)
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output]
        graph = onnx.helper.make_graph([node], "pool", [image], outputs)
        opset = onnx.helper.make_opsetid("", self._schema.since_version)
        pooled = session(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8))(x)
        return pooled if isinstance(pooled, tuple) else (pooled,)
