"""Converted models in Keras, on the backend that it was imported with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.converted import FullyConvolutional
from fullconv.errors import InputError
from fullconv.runtimes.runtime import Runtime
from fullconv.verification.verifying import arrays


class InKeras(Runtime):
    """A model as it is, where its backend computes."""

    name = "keras"

    def __init__(self, fcn: FullyConvolutional, precision: str, device: str | None) -> None:
        if precision != "f32":
            other = "onnxruntime" if precision == "f16" else "openvino"
            raise InputError(
                f"precision {precision!r}: a Keras model computes in its own types here; for "
                f"{precision} choose the runtime {other}."
            )
        if device is not None:
            raise InputError(
                f"device {device!r}: a Keras model computes where its backend does; leave the "
                f"device out."
            )
        super().__init__(precision)
        self._framework = fcn.framework
        self._run: Callable[[Any], Any] | None = fcn.framework.runner(fcn.model)

    def _outputs(self, images: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        if self._run is None:
            raise RuntimeError("it is closed")
        return arrays(self._framework, self._run(images))

    def close(self) -> None:
        """Let go of the model."""
        self._run = None
