"""The outputs of the network over all windows, ``(N, K, *windows)``."""

from __future__ import annotations

from fullconv.errors import ModelError
from fullconv.geometry.grid import Sizes
from fullconv.lift.arranging import fold_axes, store
from fullconv.lift.field import Field
from fullconv.lift.lifting import Lifting
from fullconv.lift.windows import GatheredWindows
from fullconv.operations import Cells, FoldWindows, Keep, SplitChannels


def scores(lifting: Lifting, windows: GatheredWindows, name: str) -> str:
    """Write the scores of all windows for an output of the classifier; return their name.

    Raises
    ------
    ModelError
        If the output does not depend on the image.
    """
    if name not in lifting.values:
        raise ModelError(
            "convert: an output of the model does not depend on the image, so there is "
            "nothing to answer per window. Check the model's outputs."
        )
    value = lifting.values[name]
    if isinstance(value, Field) and not any(a.spatial for x in value.layout.axes for a in x):
        return _window_map(lifting, name, lifting.blocks.on_grid(value))
    x = windows.gather(name)
    if not x.leads:
        x = windows.stand(x, None)
    shape = _shape(lifting, name, lifting.grid.dimensions)
    return lifting.out.helper(x.value, FoldWindows(shape), image=True)


def _shape(lifting: Lifting, name: str, axes: int) -> Sizes:
    """Return the shape of one window's scores; a map of one cell counts as its channels."""
    shape, batch = list(lifting.graph.shapes[name]), lifting.graph.batch
    if batch > 1:
        inner = shape.pop(0) // batch
        shape[:0] = [inner] if inner > 1 else []
    elif 1 in shape:
        shape.remove(1)  # the axis of the images: the first of size 1
    if len(shape) == 1 + axes and all(size == 1 for size in shape[1:]):
        shape = shape[:1]
    return tuple(shape)


def _window_map(lifting: Lifting, name: str, x: Field) -> str:
    """Write a field of one number per window as a map of the windows alone."""
    out, beyond = lifting.out, len(x.axes)
    x = fold_axes(lifting, x)
    x = store(lifting, x, x.layout.in_order())
    (value,) = x.parts.values()
    axes, grid = x.axes, lifting.grid
    strides = tuple(
        1 if axis.fixed else axis.middle.stride(step)
        for axis, step in zip(axes, grid.step, strict=True)
    )
    if any(stride != 1 for stride in strides):
        none = (0,) * len(strides)
        value = out.helper(value, Cells(none, none, strides))
    per_window = [
        axis.fixed or axis.middle.reach == window or (axis.middle.kept == 1 and stride == 1)
        for axis, window, stride in zip(axes, grid.window, strides, strict=True)
    ]
    if not all(per_window):
        value = out.helper(value, Keep(((1, 1),) * len(axes)), image=True)
    shape = _shape(lifting, name, beyond)
    return value if shape == (x.layout.channels,) else out.helper(value, SplitChannels(shape))
