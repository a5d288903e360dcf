"""Converted models in ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.converted import FullyConvolutional
from fullconv.errors import InputError
from fullconv.frameworks.onnx.channels import channels_first
from fullconv.frameworks.onnx.narrowing import narrowed
from fullconv.frameworks.onnx.session import session
from fullconv.runtimes.runtime import Runtime, cores_for


class InOnnxRuntime(Runtime):
    """A session such as calling the converted model makes, but for its number of threads."""

    name = "onnxruntime"

    def __init__(self, fcn: FullyConvolutional, precision: str, lanes: int = 1) -> None:
        if precision == "bf16":
            raise InputError(
                "precision 'bf16': onnxruntime computes in f32 or f16 on the CPU; choose f16, or "
                "for bf16 the runtime openvino, or torch with a PyTorch model."
            )
        super().__init__(precision, lanes=lanes)
        threads = cores_for(lanes)
        model = channels_first(fcn.model)
        if precision == "f16":
            model = narrowed(model, precision)
        self._run: Callable[[Any], Any] | None = session(model, fcn._run_bytes, threads)

    def _outputs(self, images: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        if self._run is None:
            raise RuntimeError("it is closed")
        outputs = self._run(images)
        return outputs if isinstance(outputs, list | tuple) else [outputs]

    def close(self) -> None:
        """Let go of the session."""
        self._run = None
