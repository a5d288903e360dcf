"""Models in ONNX Runtime."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.framework import MemoryEstimate, no_estimate
from fullconv.frameworks.onnx.light import set_aside
from fullconv.frameworks.onnx.narrowing import has_bfloat16, widened

WRONG_OPTIMIZERS = ["Pad_Fusion"]
"""Optimizers of ONNX Runtime (1.31) that change scores: this one pads with -infinity ahead of a
MaxPool where the model pads with zero."""

MUCH = 7 << 27
"""Bytes of tensors at once, beyond which a run gives its memory back: only the largest tiles do, as
smaller runs would take up to a seventh longer (ResNet-50, window 224)."""

LARGE_WEIGHTS = 1 << 26
"""Numbers of all weights, 256 MB in single precision, from which on garbage is worth collecting."""

PLAIN = frozenset("FLOAT DOUBLE FLOAT16 INT8 UINT8 INT32 INT64".split())
"""Types of weights that ONNX Runtime takes as arrays."""


def session(
    model: onnx.ModelProto, run_bytes: MemoryEstimate = no_estimate, threads: int = 0
) -> Callable[[Any], Any]:
    """Return a function that runs a model; one array for one output, else a tuple.

    It may be called from several threads; each call takes ``threads`` threads, or all cores. A run
    with more than `MUCH` bytes of tensors gives its memory back at its end. ONNX Runtime would keep
    it in pieces that do not fit the next run: the second run of VGG16 took 5 GB, the first 3.4.
    """
    import onnxruntime

    if sum(prod(tensor.dims) for tensor in model.graph.initializer) > LARGE_WEIGHTS:
        # Opening takes about three times the weights for a moment. The graphs of onnx-ir, in which
        # a model was read and written, refer to themselves and hold two copies more till then.
        gc.collect()
    shrinking = onnxruntime.RunOptions()
    shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it logs as an error it also raises
    # Patterns are for sizes that come again; tiles and images seldom do, and each would be kept.
    options.enable_mem_pattern = False
    options.intra_op_num_threads = threads
    if has_bfloat16(model):
        model = widened(model)
    try:
        written, weights = _apart(model)
        if weights:
            given = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
            options.add_external_initializers(list(weights), given)
            del given
        opened = onnxruntime.InferenceSession(
            written.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=WRONG_OPTIMIZERS,
        )
    except Exception as error:
        raise ModelError(
            f"ONNX Runtime cannot run the model ({said_by_runtime(error)}); check it with "
            f"onnx.checker.check_model."
        ) from None
    name = opened.get_inputs()[0].name
    dtype = image_dtype(model)

    def run(images: Any) -> Any:
        how = shrinking if run_bytes(images) > MUCH else None
        try:
            outputs = opened.run(None, {name: images.astype(dtype, copy=False)}, how)
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot run the model on images of {'x'.join(map(str, images.shape))}"
                f" ({said_by_runtime(error)}); run it on such images by itself to see why."
            ) from None
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    return run


def _apart(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return a model without its large weights, and these by name: writing both in one is slow.

    Weights of types that NumPy lacks stay in the model.
    """
    light, weights = set_aside(model), {}
    graph = light.model.graph
    graph.value_info.extend(model.graph.value_info)
    listed = {value.name for value in model.graph.input}
    kept = [v for v in graph.input if v.name in listed or v.name not in light.weights]
    del graph.input[:]
    graph.input.extend(kept)
    for name, tensor in light.weights.items():
        if (
            tensor.data_location != TensorProto.EXTERNAL
            and TensorProto.DataType.Name(tensor.data_type) in PLAIN
        ):
            weights[name] = onnx.numpy_helper.to_array(tensor)
            place = graph.initializer.add(
                name=name,
                data_type=tensor.data_type,
                dims=tensor.dims,
                data_location=TensorProto.EXTERNAL,
            )
            place.external_data.add(key="location", value="memory")
        else:
            graph.initializer.append(tensor)
    return light.model, weights


def said_by_runtime(error: Exception) -> str:
    """Return ONNX Runtime's text of an error, without the places in its own sources."""
    text = str(error).partition("Status Message: ")[2] or str(error)
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^\S+\.(?:cc|h):\d+ (?:.*onnxruntime::.*\) )?", "", text)
    return first_line(ValueError(text))


def image_dtype(model: onnx.ModelProto) -> np.dtype[Any]:
    """Return the type of the numbers that a model takes."""
    return onnx.helper.tensor_dtype_to_np_dtype(model.graph.input[0].type.tensor_type.elem_type)
