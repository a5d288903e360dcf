"""The choices that have names, shared by the library and the command line.

This module imports nothing, because ``--help`` prints these names.
"""

from __future__ import annotations

RUNTIMES = ("torch", "onnxruntime", "openvino")
"""Runtimes that compute the scores."""

PRECISIONS = ("f32", "bf16", "f16")
"""Number formats of the computation."""

DTYPES = ("float32", "float16", "uint8")
"""Number formats of stored scores."""

ACTIVATIONS = ("none", "softmax", "sigmoid")
"""Functions that turn scores into probabilities."""

LARGEST_SCALE = 64
"""The largest factor by which an image is enlarged."""
