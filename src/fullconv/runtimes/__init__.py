"""Runtimes of a converted model: PyTorch, ONNX Runtime, OpenVINO, Keras, behind one small seam."""

from __future__ import annotations

from fullconv.runtimes.choosing import fastest, native, open_runtime, runtimes_for
from fullconv.runtimes.runtime import Runtime

__all__ = ["Runtime", "fastest", "native", "open_runtime", "runtimes_for"]
