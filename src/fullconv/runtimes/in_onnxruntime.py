"""Converted models in ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.converted import FullyConvolutional
from fullconv.errors import InputError
from fullconv.runtimes.runtime import Runtime


class InOnnxRuntime(Runtime):
    """A session such as calling the converted model makes."""

    name = "onnxruntime"

    def __init__(self, fcn: FullyConvolutional, precision: str) -> None:
        if precision != "f32":
            raise InputError(
                f"precision {precision!r}: onnxruntime computes in f32 here; for {precision} "
                f"choose the runtime {'openvino or torch' if precision == 'bf16' else 'torch'}."
            )
        super().__init__(precision)
        self._run: Callable[[Any], Any] | None = fcn.framework.runner(fcn.model, fcn._held)

    def _outputs(self, images: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        if self._run is None:
            raise RuntimeError("it is closed")
        outputs = self._run(images)
        return outputs if isinstance(outputs, list | tuple) else [outputs]

    def close(self) -> None:
        """Let go of the session."""
        self._run = None
