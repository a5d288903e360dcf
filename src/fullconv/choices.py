"""The choices that have names, shared by the library and the command line.

This module imports nothing of fullconv, because ``--help`` prints these names.
"""

from __future__ import annotations

from typing import Literal, get_args

RuntimeName = Literal["torch", "onnxruntime", "openvino"]
RUNTIMES: tuple[RuntimeName, ...] = get_args(RuntimeName)
"""Runtimes that compute the scores."""

RuntimeChoice = Literal["native", RuntimeName, "auto"]
RUNTIME_CHOICES: tuple[RuntimeChoice, ...] = get_args(RuntimeChoice)
"""The runtimes, the model's own framework ("native"), and the fastest of all ("auto")."""

Precision = Literal["f32", "bf16", "f16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
"""Number formats of the computation."""

DEVICES = ("cpu", "cuda")
"""Devices on which PyTorch computes; ``scan`` also takes one of several GPUs, as "cuda:1"."""

Dtype = Literal["float32", "float16", "uint8"]
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
"""Number formats of stored scores."""

Cover = Literal["whole", "all"]
COVERS: tuple[Cover, ...] = get_args(Cover)
"""Windows a step apart, or also last ones that are flush with the border."""

Activation = Literal["none", "softmax", "sigmoid"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
"""Functions that turn scores into probabilities."""

Flips = Literal["none", "h", "hv"]
FLIPS: tuple[Flips, ...] = get_args(Flips)
"""Mirror images of a crop that show the same class."""

LARGEST_SCALE = 64
"""The largest factor by which an image is enlarged."""
