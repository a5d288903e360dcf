"""A converted ONNX model in 8-bit integers, by ONNX Runtime's own quantizer.

Weights have a scale for each channel. They take 7 of the 8 bits: processors without VNNI add pairs
of products in 16 bits, where those of 8 bits saturate, so that the same file would have other
scores there (ONNX Runtime, "Quantize ONNX models", on reduce_range). What turns the axes at the
ends, and the layers that give the scores, stay in float32: scores are not one of 256.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.onnx.session import WRONG_OPTIMIZERS, said_by_runtime

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with weights."""

BETWEEN = (
    "Add Mul Relu Clip LeakyRelu MaxPool AveragePool GlobalAveragePool Concat Slice Reshape "
    "Transpose Squeeze Unsqueeze Flatten Pad Resize Split Gather"
).split()
"""Operators between them that are quantized as well; softmax and its like are not."""


LARGEST = 1e30
"""Numbers beyond are no activations: they stand for infinity."""


MOVES_ENDS = "TransposeOptimizer"
"""May move what turns the axes away from the ends; see Note [Channels last]."""


def fused(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with its normalizations in its convolutions, and a name for every node.

    Raises
    ------
    ModelError
        If ONNX Runtime cannot run it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory(prefix="fullconv-") as folder:
        path = Path(folder) / "fused.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=[*WRONG_OPTIMIZERS, MOVES_ENDS],
            )
        except Exception as error:
            raise ModelError(
                f"quantize: ONNX Runtime cannot run the model ({said_by_runtime(error)}); check "
                f"it with onnx.checker.check_model."
            ) from None
        found = onnx.load(path)
    _as_before(found, model)
    seen: set[str] = set()
    for number, node in enumerate(found.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)
    return found


def layers(model: onnx.ModelProto) -> list[str]:
    """Return the names of the layers that may be quantized, in the order of the graph.

    Without those from which a score comes by operators that have no weights.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    last, waiting = set(), [value.name for value in model.graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in last:
            continue
        last.add(node.name)
        if node.op_type not in LAYERS:
            waiting.extend(node.input)
    return [
        node.name for node in model.graph.node if node.op_type in LAYERS and node.name not in last
    ]


def quantized(
    model: onnx.ModelProto, batches: Sequence[NDArray[Any]], wanted: Collection[str]
) -> onnx.ModelProto:
    """Return a model with some of its layers, and what lies between them, in integers.

    Parameters
    ----------
    model : ModelProto
        As `fused` gives it.
    batches : sequence of array
        Images to calibrate on, as the model takes them.
    wanted : collection of str
        Names of the layers.

    Raises
    ------
    ModelError
        If the quantizer fails.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    name = model.graph.input[0].name

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(batches)

        def get_next(self) -> Mapping[str, Any] | None:
            batch = next(self.left, None)
            return None if batch is None else {name: batch}

    inside = _inside(model, wanted, _unbounded(model, batches[0][:1]))
    kept = [node.name for node in model.graph.node if node.name not in inside]
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    with tempfile.TemporaryDirectory(prefix="fullconv-") as folder, _quiet():
        path = Path(folder) / "quantized.onnx"
        try:
            quantize_static(
                copied,
                path,
                Batches(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=[*LAYERS, *BETWEEN],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=kept,
            )
        except Exception as error:
            raise ModelError(
                f"quantize: ONNX Runtime's quantizer fails on the model ({first_line(error)}); "
                f"convert it to half precision in its place: 'fullconv convert --precision f16'."
            ) from None
        found = onnx.load(path)
    _as_before(found, model)
    return found


def _as_before(found: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Let a model say of itself what it said before ONNX Runtime wrote it anew."""
    used = {node.domain for node in found.graph.node} | {"", "ai.onnx"}
    kept = [opset for opset in found.opset_import if opset.domain in used]
    for field, own in (
        (found.opset_import, kept),
        (found.metadata_props, list(model.metadata_props)),
        (found.graph.output, list(model.graph.output)),
        (found.graph.input, list(model.graph.input)),
    ):
        del field[:]
        field.extend(own)
    found.producer_name, found.producer_version = model.producer_name, model.producer_version


def _unbounded(model: onnx.ModelProto, image: NDArray[Any]) -> set[str]:
    """Return values that hold infinity, or about the largest number, and so have no scale.

    A padded maximum of parts of a window is taken with -infinity around it.
    """
    names = [node.output[0] for node in model.graph.node if node.op_type in BETWEEN]
    values = dict(zip(names, _watched(model, names, [image]), strict=True))
    values |= {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    return {
        name
        for name, array in values.items()
        if array.dtype.kind == "f" and array.size and not np.abs(array).max() < LARGEST
    }


def _inside(
    model: onnx.ModelProto, wanted: Collection[str], unbounded: Collection[str]
) -> set[str]:
    """Return the nodes to quantize: layers, and what has one of them behind it and one ahead.

    Those that are given, or give, ``unbounded`` values are left out.
    """
    graph = model.graph
    ahead: set[str] = set()
    for node in graph.node:
        if node.name in wanted or ahead.intersection(node.input):
            ahead.update(node.output)
    behind: set[str] = set()
    for node in reversed(graph.node):
        if node.name in wanted or behind.intersection(node.output):
            behind.update(node.input)
    return {
        node.name
        for node in graph.node
        if node.name in wanted
        or (
            node.op_type in BETWEEN
            and not {*node.input, *node.output}.intersection(unbounded)
            and ahead.intersection(node.input)
            and behind.intersection(node.output)
        )
    }


def by_error(
    model: onnx.ModelProto,
    integers: onnx.ModelProto,
    batches: Sequence[NDArray[Any]],
    names: Sequence[str],
) -> list[str]:
    """Return layers by how much error each adds to what it is given, the largest first.

    An error is the norm of the difference as a share of the norm, over some images.
    """
    nodes = {node.name: node for node in model.graph.node}
    readers = {value: node for node in model.graph.node for value in node.input}
    there = _as_read(integers)

    def seen(value: str) -> str | None:
        """Return a value, or what is made of it, that both hold: an activation may be merged."""
        while value not in there and value in readers:
            value = readers[value].output[0]
        return value if value in there else None

    outputs = {name: value for name in names if (value := seen(nodes[name].output[0]))}
    watched = sorted({*outputs.values()})
    own = _watched(model, watched, batches)
    others = _watched(integers, [there[value] for value in watched], batches)
    errors = {
        value: float(np.sqrt(np.square(a - b).sum() / max(np.square(a).sum(), 1e-30)))
        for value, a, b in zip(watched, own, others, strict=True)
    }
    makers = {name: node for node in model.graph.node for name in node.output}

    def before(name: str) -> float:
        """Return the error of the layers that a layer reads, through those without weights."""
        waiting, seen, found = list(nodes[name].input[:1]), set(), [0.0]
        while waiting:
            value = waiting.pop()
            if value in errors:
                found.append(errors[value])
            elif value in makers and value not in seen:
                seen.add(value)
                waiting.extend(makers[value].input)
        return max(found)

    added = {name: errors[value] - before(name) for name, value in outputs.items()}
    return sorted(names, key=lambda name: -added.get(name, 0.0))


def _as_read(integers: onnx.ModelProto) -> dict[str, str]:
    """Return under what name each value of a model is read where that is in integers.

    One that is rounded to integers is read behind that, which also is where it is cut off at zero.
    """
    names = {name: name for node in integers.graph.node for name in node.output}
    made = {node.input[0]: node for node in integers.graph.node if node.op_type == "QuantizeLinear"}
    read = {
        node.input[0]: node for node in integers.graph.node if node.op_type == "DequantizeLinear"
    }
    for value, node in made.items():
        if value in names and node.output[0] in read:
            names[value] = read[node.output[0]].output[0]
    return names


def _watched(
    model: onnx.ModelProto, values: Sequence[str], batches: Sequence[NDArray[Any]]
) -> list[NDArray[Any]]:
    """Return some values of a model for some images."""
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    there = {value.name for value in shown.graph.output}
    for name in values:
        if name not in there:
            shown.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    opened = onnxruntime.InferenceSession(
        shown.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=WRONG_OPTIMIZERS,
    )
    name = opened.get_inputs()[0].name
    found = [opened.run(list(values), {name: batch}) for batch in batches]
    return [np.concatenate([one.ravel() for one in own]) for own in zip(*found, strict=True)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what the quantizer says to its own developers.

    It also computes scales of values that stay as they are, and are infinite.
    """
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logging.disable(before)
