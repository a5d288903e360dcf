"""The classes and settings of Keras 1 and 2 in the words of Keras 3.

The names are those of Keras 1.0.8, 1.2.2, 2.0.9, 2.2.4 and tf.keras 2.15 (``get_config`` of every
layer). Any other setting than those renamed here, those of today, and those that only training
reads is refused: it may change what the layer computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Config = dict[str, Any]

CLASSES = {
    "AtrousConv1D": "Conv1D",
    "AtrousConv2D": "Conv2D",
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution2DTranspose": "Conv2DTranspose",
    "Convolution3D": "Conv3D",
    "Convolution3DTranspose": "Conv3DTranspose",
    "Deconv2D": "Conv2DTranspose",
    "Deconv3D": "Conv3DTranspose",
    "Deconvolution2D": "Conv2DTranspose",
    "Deconvolution3D": "Conv3DTranspose",
    "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D",
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
    "TimeDistributedDense": "Dense",
}
"""Classes that have another name today."""

RENAMED = {
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "border_mode": "padding",
    "dim_ordering": "data_format",
    "filter_length": "kernel_size",
    "length": "size",
    "nb_filter": "filters",
    "output_dim": "units",
    "p": "rate",
    "pool_length": "pool_size",
    "sigma": "stddev",
    "stride": "strides",
    "subsample": "strides",
    "subsample_length": "strides",
    "theta": "threshold",
}
"""Settings that have another name today."""

FORMATS = {"th": "channels_first", "tf": "channels_last"}

TRAINED = (
    *("init", "input_dtype", "input_dim", "input_length", "input_shape", "batch_input_shape"),
    *("batch_shape", "trainable", "weights", "seed", "noise_shape", "momentum", "name", "dtype"),
    *("consume_less", "implementation", "fused", "autocast", "build_config", "synchronized"),
    *("renorm_clipping", "renorm_momentum", "dynamic", "activity_regularizer", "l1", "l2"),
    *("sparse", "ragged", "mask_value", "unit_forget_bias", "query_shape", "key_shape"),
    "value_shape",
)
"""Settings that only training reads, that describe the input, or that change no number."""

TRAINING_ENDINGS = ("_initializer", "_regularizer", "_constraint", "_init")

KERNEL_SIZES = (("nb_row", "nb_col"), ("kernel_dim1", "kernel_dim2", "kernel_dim3"))

MERGES = {
    "ave": "Average",
    "concat": "Concatenate",
    "max": "Maximum",
    "min": "Minimum",
    "mul": "Multiply",
    "sum": "Add",
}
"""Layers of today that replace Merge of Keras 1, by its mode."""


def today(kind: str, config: Mapping[str, Any]) -> tuple[str, Config]:
    """Return the name of today's class, and its settings.

    Raises
    ------
    ValueError
        If no class of today computes the same as this one with its settings.
    """
    settings = {RENAMED.get(key, key): value for key, value in config.items() if _is_read(key)}
    for names in KERNEL_SIZES:
        if names[0] in settings:
            settings["kernel_size"] = [settings.pop(name) for name in names]
    if settings.get("data_format") in FORMATS:
        settings["data_format"] = FORMATS[settings["data_format"]]
    if settings.get("groups") == 1:  # stored even for layers that cannot have several
        del settings["groups"]
    change = CHANGES.get(kind)
    kind = CLASSES.get(kind, kind)
    return change(kind, settings) if change else (kind, settings)


def _is_read(key: str) -> bool:
    return key not in TRAINED and not key.endswith(TRAINING_ENDINGS)


def _merge(kind: str, settings: Config) -> tuple[str, Config]:
    """Convert Merge of Keras 1 (``engine/topology.py``)."""
    mode = settings.get("mode")
    if settings.get("layers"):
        raise ValueError("it joins models that each take an image of their own")
    if not isinstance(mode, str) or mode not in MERGES:
        raise ValueError(f"no layer of today merges by {str(mode)[:60]!r}")
    axis = {"axis": settings.get("concat_axis", -1)} if mode == "concat" else {}
    return MERGES[mode], axis


def _batch_normalization(kind: str, settings: Config) -> tuple[str, Config]:
    mode = settings.pop("mode", 0)
    if mode == 2:
        raise ValueError("it normalizes by the batch that it is given (mode 2), also in use")
    if mode != 0:
        raise ValueError(f"no layer of today normalizes by mode {str(mode)[:60]}")
    axis = settings.get("axis", -1)
    if isinstance(axis, list):
        (axis,) = axis
    return kind, {**settings, "axis": axis}


def _transposed(kind: str, settings: Config) -> tuple[str, Config]:
    """Drop the size of the result of Deconvolution2D in Keras 1: its padding implies it today."""
    settings.pop("output_shape", None)
    return kind, settings


def _leaky(kind: str, settings: Config) -> tuple[str, Config]:
    if "alpha" in settings:
        settings["negative_slope"] = settings.pop("alpha")
    return kind, settings


def _upsampling(kind: str, settings: Config) -> tuple[str, Config]:
    """Refuse to interpolate: TensorFlow 2 changed the alignment, and no file states the version."""
    if settings.get("interpolation", "nearest") != "nearest":
        raise ValueError(
            f"how it interpolates ({str(settings['interpolation'])[:60]}) depends on the version "
            f"of TensorFlow, which the file does not say"
        )
    return kind, settings


def _padding(kind: str, settings: Config) -> tuple[str, Config]:
    """Convert ZeroPadding of Keras 1: ``[top, bottom, left, right]``, or the same by names."""
    given = settings["padding"]
    if isinstance(given, dict):
        sides = ("left_pad", "right_pad") if "1D" in kind else SIDES
        if not given.keys() <= set(sides):
            raise ValueError(f"its padding is {str(given)[:60]}")
        given = [given.get(side, 0) for side in sides]
    if "2D" in kind and isinstance(given, list) and len(given) == 4:
        given = [given[:2], given[2:]]
    return kind, {**settings, "padding": given}


SIDES = ("top_pad", "bottom_pad", "left_pad", "right_pad")


def _max_relu(kind: str, settings: Config) -> tuple[str, Config]:
    return kind, {key: value for key, value in settings.items() if value is not None}


CHANGES = {
    "BatchNormalization": _batch_normalization,
    "BatchNormalizationV1": _batch_normalization,
    "BatchNormalizationV2": _batch_normalization,
    "Deconvolution2D": _transposed,
    "LeakyReLU": _leaky,
    "Merge": _merge,
    "ReLU": _max_relu,
    "SyncBatchNormalization": _batch_normalization,
    "UpSampling2D": _upsampling,
    "ZeroPadding1D": _padding,
    "ZeroPadding2D": _padding,
}
"""Functions that convert the settings of a class, beyond their names."""
