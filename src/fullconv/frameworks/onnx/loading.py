"""Checks of converted ONNX models in files, which are trusted no more than any other."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from fullconv.conversion.embedded import Embedded
from fullconv.errors import FullconvError, ModelError, TooLargeError
from fullconv.frameworks.onnx.channels import image_of, is_last
from fullconv.frameworks.onnx.infer import Inference
from fullconv.frameworks.onnx.preparing import prepared
from fullconv.geometry.images import ImageShape


def check_converted(model: onnx.ModelProto, shape: ImageShape) -> None:
    """Check that a file's model takes the images of its metadata, and no more memory than needed.

    Raises
    ------
    TooLargeError
        If a tensor of one window is larger than any such model needs.
    ModelError
        If the model contradicts its metadata, or is damaged.
    """
    image = image_of(model)
    prepares = Embedded.of({entry.key: entry.value for entry in model.metadata_props})
    if prepares.preprocessing is not None and (
        image.type.tensor_type.elem_type != onnx.TensorProto.UINT8
    ):
        raise ModelError(
            "load: the metadata says that the model takes bytes, and it does not; the file is "
            "damaged: convert the original model again."
        )
    sizes = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    window = shape.grid.window
    free = [window[axis] if axis in shape.fixed else 0 for axis in range(len(window))]
    wanted, one = ([0, *_native(shape, size, model)] for size in (free, window))
    if sizes != wanted:
        raise ModelError(
            f"load: the model takes images of the sizes {_named(sizes)}, and its metadata says "
            f"{_named(wanted)}; the file is damaged: convert the original model again."
        )
    one[0] = 1
    try:
        Inference(prepared(model).whole(), {image.name: tuple(one)}, window)
    except TooLargeError:
        raise
    except FullconvError as error:
        raise ModelError(
            f"load: the converted model is damaged ({error}); convert the original model again."
        ) from None


def _native(shape: ImageShape, size: Sequence[int], model: onnx.ModelProto) -> list[int]:
    """Return the sizes of one image, in the order in which the model takes its axes."""
    if shape.takes == "cells":
        return [*size]
    return [*size, shape.channels] if is_last(model) else [shape.channels, *size]


def _named(sizes: list[int]) -> str:
    return "(" + ", ".join(str(n) if n else "any" for n in sizes) + ")"
