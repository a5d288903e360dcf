"""Converted models in OpenVINO, on the CPU.

The model is compiled once, for any size: on a padded VGG, compiled for the size of its tile, it was
no faster (0.39 s against 0.40 s, f32), and every size would cost its own compilation and memory.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fullconv.errors import InputError, MissingExtraError, ModelError, first_line
from fullconv.frameworks.onnx.channels import channels_first
from fullconv.frameworks.onnx.session import image_dtype
from fullconv.runtimes.runtime import Runtime


class InOpenvino(Runtime):
    """A compiled model; nothing is written to disk, and nothing is reported to anybody."""

    name = "openvino"

    def __init__(self, model: onnx.ModelProto, precision: str, lanes: int = 1) -> None:
        openvino = _openvino()
        # Measured with 2026.4: slower than f32, and its convolutions can crash the process.
        if precision == "f16":
            raise InputError(
                "precision 'f16': openvino computes in f32 or bf16 here; choose bf16, or the "
                "runtime onnxruntime."
            )
        ends = (model.graph.input[0], *model.graph.output)  # images of bytes are made double inside
        if any(end.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE for end in ends):
            raise ModelError(
                "openvino computes in single precision, and the model is written in double; "
                "choose the runtime onnxruntime."
            )
        super().__init__(precision, lanes=lanes)
        self._dtype = image_dtype(model)
        core = openvino.Core()
        try:
            read = core.read_model(io.BytesIO(channels_first(model).SerializeToString()))
            _mend(read, precision)
            # Left alone, OpenVINO takes bfloat16 wherever the processor has it.
            hints = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": str(lanes)}
            compiled = core.compile_model(read, "CPU", hints)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"openvino cannot run the model ({_reason(error)}); choose the runtime onnxruntime."
            ) from None
        taken = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        if taken != precision:
            raise InputError(
                f"precision {precision!r}: openvino computes in {taken} on this processor; leave "
                f"the precision out."
            )
        self._requests: SimpleQueue[Any] | None = SimpleQueue()
        for _ in range(lanes):
            self._requests.put(compiled.create_infer_request())

    def _outputs(self, images: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        if self._requests is None:
            raise RuntimeError("it is closed")
        images = np.ascontiguousarray(images, self._dtype)
        request = self._requests.get()
        try:
            # The results are copied out: the next run writes over them.
            return list(request.infer([images], share_inputs=True, share_outputs=False).values())
        finally:
            self._requests.put(request)

    def close(self) -> None:
        """Let go of the compiled model."""
        self._requests = None


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which reports every import and leaves files at home.

    OpenVINO works without the package that reports.
    """
    reporter = "openvino_telemetry"
    installed = sys.modules.get(reporter)
    if installed is None:
        sys.modules[reporter] = None  # type: ignore[assignment]
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("The runtime openvino", "openvino") from None
    finally:
        if installed is None:
            del sys.modules[reporter]
    return openvino


# Note [What OpenVINO computes wrong]. Found in 2026.4 on a CPU with AVX-512 and AMX, by comparing
# convolutions of integers with ONNX Runtime's; none of it depends on the weights. A result is
# "added" here if it is added to a value that the same pass computes. A convolution is wrong
# - with one input channel, in float32: if its stride leaves a single column of outputs; or if its
#   kernel is one row high and its result is added. With a second channel, of zeros, it is right.
# - with any channels, in bfloat16: if its kernel is one row high or one column wide and its result
#   is added. With a second row or column of zeros it is right. (Convolutions in groups can still be
#   wrong if their results are added: bfloat16 here is for networks whose agreement is checked, as a
#   scan does.)
# - with any channels, if its stride leaves a single column of outputs: in bfloat16 always, in
#   float32 if its kernel is flat and its result is added. With one column more, which is then cut
#   off, it is right. The input is extended by ones: zeros would be folded into the convolution's
#   padding, and a kernel that lies in padding alone can crash the process.
# The same holds over one axis and over three: a kernel over one axis is one row high.
# No column is added where a model pads "SAME" by rule; converted models write their padding in
# numbers.


def _mend(model: Any, precision: str) -> None:
    """Rewrite the convolutions that OpenVINO would compute wrong."""
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "Convolution" and _one_channel(node):
            for source in (0, 1):
                wider = _padded(node.input_value(source), axis=1, count=1, value=0.0)
                node.input(source).replace_source_output(wider)
        if precision != "f32" and kind in ("Convolution", "GroupConvolution"):
            _refuse_padding_alone(node, precision)
            _thicken(node)
            _add_column(node)
        elif kind in ("Convolution", "GroupConvolution") and _is_flat(node):
            _add_column(node)
    model.validate_nodes_and_infer_types()


def _one_channel(node: Any) -> bool:
    channels = node.input(1).get_partial_shape()[1]
    return bool(channels.is_dynamic or channels.get_length() == 1)


def _refuse_padding_alone(node: Any, precision: str) -> None:
    """Refuse a convolution that would crash the process: one whose kernel can lie in padding."""
    how = node.get_attributes()
    kernel = node.input(1).get_partial_shape()
    axes = range(-len(how["strides"]), 0)
    if any(kernel[axis].is_dynamic for axis in axes):
        return
    spans = [
        d * (kernel[axis].get_length() - 1) for axis, d in zip(axes, how["dilations"], strict=True)
    ]
    pads = [list(how["pads_begin"]), list(how["pads_end"])]
    source = node.input_value(0).get_node()
    if source.get_type_name() == "Pad":
        for amounts, given in zip(
            pads, (source.input_value(1), source.input_value(2)), strict=True
        ):
            if given.get_node().get_type_name() == "Constant":
                amounts[:] = np.add(amounts, given.get_node().data[-len(axes) :]).tolist()
    if any(pad > span for amounts in pads for pad, span in zip(amounts, spans, strict=True)):
        raise ModelError(
            f"openvino computes convolutions that are padded by more than their kernel wrong in "
            f"{precision}, and {node.get_friendly_name()!r} is one; choose f32, or another runtime."
        )


def _kernel(node: Any) -> list[int]:
    """Return the size of a kernel along every axis that it moves over; 0 where it is not known."""
    shape = node.input(1).get_partial_shape()
    axes = range(-len(node.get_attributes()["strides"]), 0)
    return [shape[axis].get_length() if shape[axis].is_static else 0 for axis in axes]


def _is_flat(node: Any) -> bool:
    """Whether a kernel is one cell wide along some axis, as one over a single axis is."""
    sizes = _kernel(node)
    return len(sizes) == 1 or 1 in sizes


def _thicken(node: Any) -> None:
    """Give a kernel a second cell along axes where it has one, unless it has one along all."""
    sizes, dilations = _kernel(node), node.get_attributes()["dilations"]
    if max(sizes) <= 1:
        return
    first = node.input(1).get_partial_shape().rank.get_length() - len(sizes)
    for axis, (size, span) in enumerate(zip(sizes, dilations, strict=True)):
        if size == 1:
            image = _padded(node.input_value(0), axis=2 + axis, count=span, value=0.0)
            weights = _padded(node.input_value(1), axis=first + axis, count=1, value=0.0)
            node.input(0).replace_source_output(image)
            node.input(1).replace_source_output(weights)


def _add_column(node: Any) -> None:
    from openvino import opset13 as ops

    how = node.get_attributes()
    stride, behind = how["strides"][-1], how["pads_end"][-1]
    by_rule = str(how.get("auto_pad", "explicit")).startswith("same")
    if stride == 1 or by_rule:
        return
    last = 1 + len(how["strides"])
    image = node.input_value(0)
    if behind:
        image = _padded(image, axis=last, count=behind, value=0.0)
    make = ops.convolution if node.get_type_name() == "Convolution" else ops.group_convolution
    users = node.output(0).get_target_inputs()
    wider = make(
        _padded(image, axis=last, count=stride, value=1.0),
        node.input_value(1),
        how["strides"],
        how["pads_begin"],
        [*how["pads_end"][:-1], 0],
        how["dilations"],
    )
    start, stop, by, axis = (ops.constant(np.array([n], np.int64)) for n in (0, -1, 1, last))
    cut = ops.slice(wider, start, stop, by, axis)
    for user in users:
        user.replace_source_output(cut.output(0))


def _padded(output: Any, axis: int, count: int, value: float) -> Any:
    """Return the output of a node with ``count`` entries of a value behind it along one axis."""
    from openvino import opset13 as ops

    amounts = np.zeros(output.get_partial_shape().rank.get_length(), np.int64)
    before = ops.constant(amounts)
    amounts[axis] = count
    fill = ops.constant(np.float32(value))
    return ops.pad(output, before, ops.constant(amounts), "constant", fill).output(0)


def _reason(error: Exception) -> str:
    """Return the line of OpenVINO's long message that says what it could not do."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    words = re.search(r"[Uu]nsupported .*|.* not supported.*", "\n".join(lines))
    return first_line(Exception(words[0] if words else (telling or lines or [""])[-1]))
