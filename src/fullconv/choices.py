"""What can be chosen by name, for the library and the command line alike.

Imports nothing: ``--help`` prints these names.
"""

from __future__ import annotations

RUNTIMES = ("torch", "onnxruntime", "openvino")
"""What computes."""

PRECISIONS = ("f32", "bf16", "f16")
"""What is computed with."""

DTYPES = ("float32", "float16", "uint8")
"""How scores are stored."""

ACTIVATIONS = ("none", "softmax", "sigmoid")
"""What turns scores into probabilities."""

LARGEST_SCALE = 64
"""By how much an image is enlarged at most."""
