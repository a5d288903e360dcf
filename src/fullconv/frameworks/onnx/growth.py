"""What an ONNX model computes from the number of images, which is the number of windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from fullconv.errors import ModelError
from fullconv.frameworks.onnx.infer import Inference


@dataclass(frozen=True)
class Growth:
    """The constants of a model that depend on the number of images.

    Attributes
    ----------
    per_image : dict of str to array
        Whole numbers that grow by as much with every image: by how much. Sizes are such.
    computed : dict of str to onnx_ir.Node
        What else depends on it, and the node that makes it: the places of a ScatterND, one row per
        image, or numbers that an Expand repeats. They are computed when the converted model runs.
    """

    per_image: dict[str, Any] = field(default_factory=dict)
    computed: dict[str, ir.Node] = field(default_factory=dict)

    def __contains__(self, name: object) -> bool:
        return name in self.per_image or name in self.computed


def growth(model: ir.Model, first: Inference, more: Sequence[Inference]) -> Growth:
    """Return what differs between a batch and ones of one image and of two images more.

    Raises
    ------
    ModelError
        If a size does not grow by as much with every image.
    """
    found = Growth()
    parameters = {*model.graph.initializers, *first.constants}
    for node in model.graph:
        names = [value.name for value in node.inputs if value is not None]
        name = node.outputs[0].name or ""
        if name not in first.constants:
            if any(given in found for given in names) and parameters.issuperset(names):
                results = [value.name for value in node.outputs if value.name]
                parameters.update(results)
                found.computed.update(dict.fromkeys(results, node))
            continue
        if node.op_type == "Constant":
            continue
        arrays = [known.constants[name] for known in (first, *more)]
        if all(np.array_equal(array, arrays[0]) for array in arrays):
            continue
        slope = _slope(arrays)
        if slope is not None:
            found.per_image[name] = slope
        elif node.op_type != "Shape":
            found.computed[name] = node
        else:
            raise ModelError(
                f"convert: Shape {node.name or name!r} gives sizes that do not grow in step with "
                f"the number of images, so windows cannot take the place of images; write the "
                f"model so that each image is treated by itself."
            )
    return found


def _slope(arrays: Sequence[Any]) -> Any:
    """Return by how much whole numbers grow with every image; None where it is not as much."""
    few, more, most = arrays
    if not few.shape == more.shape == most.shape or few.dtype != np.int64:
        return None
    return more - few if np.array_equal(more - few, most - more) else None
