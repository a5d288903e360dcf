"""Chooses the runtime of a converted model: by name, or the fastest by measurement."""

from __future__ import annotations

import contextlib
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from fullconv.choices import PRECISIONS, RUNTIMES
from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.loading import load
from fullconv.conversion.precision import EPSILONS
from fullconv.errors import FullconvError, InputError
from fullconv.runtimes.runtime import Runtime

_KINDS = {"onnx": "ONNX", "keras": "Keras'"}
_OTHERS = {"f32": "onnxruntime or openvino", "f16": "onnxruntime", "bf16": "openvino"}
"""What computes in a precision what PyTorch does not run."""

MEASURED_S = 1.0
"""Time for which each runtime is measured, after a first run that warms it up."""


def open_runtime(
    fcn: FullyConvolutional,
    name: str = "native",
    *,
    precision: str = "f32",
    device: str | None = None,
    lanes: int = 1,
) -> Runtime:
    """Return a converted model, ready to run.

    Parameters
    ----------
    fcn : FullyConvolutional
        The converted model. It runs as it is; PyTorch is exported first for the other runtimes.
    name : str
        ``"native"`` (PyTorch for PyTorch models, ONNX Runtime for ONNX, Keras for Keras),
        ``"torch"``, ``"onnxruntime"`` or ``"openvino"``.
    precision : str
        ``"f32"``, ``"bf16"`` or ``"f16"``.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default where the model is.
    lanes : int
        Threads that will call it at a time. Keras, and PyTorch on CUDA, take one only.

    Raises
    ------
    InputError
        If there is no such runtime, precision or device, or not together.
    ModelError
        If the runtime cannot run the model.
    ExportError
        If a PyTorch model cannot be exported to ONNX.
    MissingExtraError
        If an optional package is needed and not installed.
    """
    return _taking(fcn, _open(fcn, name, precision, device, lanes, lambda: in_onnx(fcn)))


def native(fcn: FullyConvolutional) -> str:
    """Return the runtime that is the model's own framework."""
    return {"torch": "torch", "onnx": "onnxruntime", "keras": "keras"}[fcn.framework.name]


OPENVINO_IS_RIGHT_ON = ("x86_64", "AMD64")
"""Processors on which OpenVINO has been compared with crops and found right.

On arm64 (2026.4, an emulated Neoverse N1) PReLU over a vector gave NaN, and two of 22 random
networks were not compiled; there it runs only where it is named."""


def runtimes_for(fcn: FullyConvolutional) -> list[str]:
    """Return the runtimes that are right for this kind of model here, the native one first."""
    is_openvino = platform.machine() in OPENVINO_IS_RIGHT_ON and find_spec("openvino")
    names = ["onnxruntime", *(["openvino"] if is_openvino else [])]
    if fcn.framework.name == "onnx":
        return names
    if fcn.framework.name == "keras":
        return ["keras", *names]
    return ["torch", *(names if find_spec("onnxscript") else [])]


def fastest(
    fcn: FullyConvolutional,
    image_shape: Sequence[int],
    precision: str = "f32",
    candidates: Sequence[str] | None = None,
    lanes: int = 1,
    device: str | None = None,
) -> Runtime:
    """Return the runtime that takes least time for images of a shape, by measurement.

    Each is warmed up and run for about a second; those that cannot run the model are left out. A
    PyTorch model is exported to ONNX on the way, which can take longer than that.

    Parameters
    ----------
    fcn : FullyConvolutional
        The converted model.
    image_shape : sequence of int
        ``(N, C, *size)``.
    precision : str
        As for `open_runtime`.
    candidates : sequence of str, optional
        Names of runtimes; by default `runtimes_for`.
    lanes : int
        As for `open_runtime`; all lanes are measured at once.
    device : str, optional
        As for `open_runtime`; runtimes that do not run there are left out.

    Raises
    ------
    FullconvError
        If none can run it: the refusal of the first.
    """
    image = np.random.default_rng(0).random(tuple(image_shape), dtype=np.float32)
    exported = cache(lambda: in_onnx(fcn))
    best: tuple[float, Runtime] | None = None
    refusals: list[FullconvError] = []
    for name in candidates or runtimes_for(fcn):
        try:
            runtime = _taking(fcn, _open(fcn, name, precision, device, lanes, exported))
            took_s = _measure(runtime, image)
        except FullconvError as refusal:
            refusals.append(refusal)
            continue
        if best is None or took_s < best[0]:
            best, loser = (took_s, runtime), best[1] if best else None
        else:
            loser = runtime
        if loser is not None:
            loser.close()
    if best is None:
        raise refusals[0]
    return best[1]


def _taking(fcn: FullyConvolutional, runtime: Runtime) -> Runtime:
    """Return a runtime that gives the network its images as it takes them."""
    runtime.takes = fcn.shape.takes
    return runtime


def _measure(runtime: Runtime, image: np.ndarray) -> float:
    """Return the least time for one image, in seconds."""
    images = [image] * runtime.lanes
    times: list[float] = []
    with ThreadPoolExecutor(runtime.lanes) as lanes:
        list(lanes.map(runtime.run, images))
        while not times or sum(times) < MEASURED_S:
            start = time.perf_counter()
            list(lanes.map(runtime.run, images))
            times.append(time.perf_counter() - start)
    return min(times) / runtime.lanes


def _open(
    fcn: FullyConvolutional,
    name: str,
    precision: str,
    device: str | None,
    lanes: int,
    exported: Callable[[], FullyConvolutional],
) -> Runtime:
    name = native(fcn) if name == "native" else name
    if name == native(fcn) == "keras":
        from fullconv.runtimes.in_keras import InKeras

        return InKeras(fcn, precision, device)
    if name not in RUNTIMES:
        raise InputError(f"runtime {name!r}: expected native, {', '.join(RUNTIMES)}.")
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r}: expected {', '.join(PRECISIONS)}.")
    if name == "torch":
        if fcn.framework.name != "torch":
            raise InputError(
                f"runtime 'torch': the model is {_KINDS[fcn.framework.name]}, which PyTorch does "
                f"not run; choose {_OTHERS[precision]}, or convert the PyTorch model itself."
            )
        from fullconv.runtimes.in_torch import InTorch

        return InTorch(fcn.model, precision, device, lanes)
    if device not in (None, "cpu"):
        raise InputError(
            f"device {device!r}: {name} runs on the CPU here; leave the device out, or choose the "
            f"runtime torch with a PyTorch model."
        )
    narrow = fcn.report.precision
    if narrow and precision not in ("f32", narrow):
        raise InputError(
            f"precision {precision!r}: the model itself is in {narrow}; leave the precision out, "
            f"or convert the classifier again."
        )
    if narrow:
        return _in_own_precision(exported(), name, lanes)
    if name == "openvino":
        from fullconv.runtimes.in_openvino import InOpenvino

        return InOpenvino(exported().model, precision, lanes)
    from fullconv.runtimes.in_onnxruntime import InOnnxRuntime

    return InOnnxRuntime(exported(), precision, lanes)


def _in_own_precision(fcn: FullyConvolutional, name: str, lanes: int) -> Runtime:
    """Return a model in less than single precision, computed in that where the runtime has it.

    Else it is computed in f32 from its rounded weights: bf16 in ONNX Runtime, and in OpenVINO on a
    processor without it; f16 in OpenVINO.
    """
    from fullconv.frameworks.onnx.narrowing import widened
    from fullconv.runtimes.in_onnxruntime import InOnnxRuntime

    narrow = fcn.report.precision
    if name == "onnxruntime":
        runtime: Runtime = InOnnxRuntime(fcn, "f32", lanes)
        runtime.precision = "f32" if narrow == "bf16" else narrow
        return runtime
    from fullconv.runtimes.in_openvino import InOpenvino

    if narrow == "bf16":
        with contextlib.suppress(InputError):
            return InOpenvino(widened(fcn.model), narrow, lanes)
    runtime = InOpenvino(widened(fcn.model) if narrow in EPSILONS else fcn.model, "f32", lanes)
    runtime.precision = "f32" if narrow in EPSILONS else narrow
    return runtime


def in_onnx(fcn: FullyConvolutional) -> FullyConvolutional:
    """Return a converted model in ONNX."""
    if fcn.framework.name == "onnx":
        return fcn
    with tempfile.TemporaryDirectory(prefix="fullconv-") as folder:
        path = Path(folder) / "model.onnx"
        fcn.save(path)
        return load(path)
