"""Networks in 8-bit integers: calibrated on windows of photos, and compared with their crops."""

from __future__ import annotations

from fullconv.quantizing.quantized import Quantized, quantize

__all__ = ["Quantized", "quantize"]
