"""The shape of the image that an exported program takes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, cast

import torch
from torch.export import ExportedProgram

from fullconv.errors import ModelError, WindowError
from fullconv.frameworks.bounds import LARGEST, too_large


def check_sizes(program: ExportedProgram, path: Path) -> None:
    """Refuse a program with a tensor of more than `LARGEST` numbers, by its fixed sizes alone."""
    for node in program.graph.nodes:
        value = node.meta.get("val")
        for part in value if isinstance(value, tuple | list) else [value]:
            if isinstance(part, torch.Tensor):
                fixed = [size for size in part.shape if isinstance(size, int)]
                if node.op == "call_function" and prod(fixed) > LARGEST:
                    raise too_large(f"{path}: {node.name}", fixed, LARGEST)


def image_of(program: ExportedProgram) -> Sequence[Any]:
    """Return the shape of the one image that a program takes."""
    images = [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    tensors = [value for value in images if isinstance(value, torch.Tensor)]
    if len(images) != 1 or len(tensors) != 1 or not 2 <= tensors[0].dim() <= 5:
        shapes = ", ".join(str(tuple(v.shape)) for v in tensors)
        raise ModelError(
            f"convert: expected a program with one image input (N, C, H, W); it has "
            f"{len(images)} inputs: {shapes or 'none of them a tensor'}. Export the classifier "
            f"with the image as its only input."
        )
    return cast(Sequence[Any], tensors[0].shape)


def image_size(program: ExportedProgram, dimensions: int | None) -> Sequence[Any]:
    """Return the size of a program's image along every axis.

    Where ``dimensions`` is not given, these are the axes after the channels. A vector of features
    is an image of one pixel.
    """
    shape = image_of(program)
    axes = max(1, len(shape) - 2) if dimensions is None else dimensions
    sizes = shape[len(shape) - axes :] if len(shape) > axes else ()
    if len(shape) == 2 and dimensions is None:
        return (1, 1)
    if not len(shape) - 2 <= axes <= len(shape) - 1:
        return (1,) * axes if len(shape) == 2 else _wrong_rank(shape, axes)
    return sizes


def _wrong_rank(shape: Sequence[Any], axes: int) -> Sequence[Any]:
    raise WindowError(
        f"convert: the program takes images {tuple(shape)}, of {len(shape)} axes, and a window of "
        f"{axes} was given; give {len(shape) - 2} numbers, or {len(shape) - 1} where no axis of "
        f"the image is one of channels."
    )
