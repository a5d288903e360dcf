"""What lifting adds to Keras: layers on stored maps with free height and width.

Here is what they have in common; they stand in `map_layers`, `window_layers` and `sliding_layers`.
They are registered for saving under the package "fullconv", and computed by `keras.ops`, so that
every backend runs them. Maps are ``(N, Y, X, C)``, or ``(N, C, Y, X)`` where the network takes its
channels first. Sizes are taken from the image, so that a model answers for any size. ``window`` and
``step`` are pixels, (rows, columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

Shape = tuple[int | None, ...]
Pair = Sequence[int]

register = keras.saving.register_keras_serializable(package="fullconv")


class OnMaps(keras.layers.Layer):
    """A layer on stored maps, with settings under the names in `settings`.

    Attributes
    ----------
    channels_last : bool
        Whether maps are ``(N, Y, X, C)``.
    rows : int
        The axis of the rows; the columns are the next.
    """

    settings: tuple[str, ...] = ()

    def __init__(self, channels_last: bool = True, **given: Any) -> None:
        held = {name: given.pop(name) for name in self.settings}
        super().__init__(**given)
        self.channels_last = channels_last
        self.rows = 1 if channels_last else 2
        for name, value in held.items():
            setattr(self, name, as_tuples(value))

    def get_config(self) -> dict[str, Any]:
        """Return what the layer is made of."""
        held = {name: getattr(self, name) for name in self.settings}
        return {**super().get_config(), "channels_last": self.channels_last, **held}

    def _map(self, batch: int | None, cells: Sequence[int | None], channels: int | None) -> Shape:
        """Return the shape of a map."""
        return (batch, *cells, channels) if self.channels_last else (batch, channels, *cells)

    def _sizes(self, shape: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Return the rows, columns and channels of a map; None where they are free."""
        return (*shape[self.rows : self.rows + 2], shape[-1 if self.channels_last else 1])

    def _sliced(self, x: Any, axis: int, kept: slice) -> Any:
        """Keep some cells of the rows (axis 0) or the columns (1)."""
        return x[(slice(None),) * (self.rows + axis) + (kept,)]


def as_tuples(value: Any) -> Any:
    """Return lists, as a file gives them, as tuples."""
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value


class OfWindows(OnMaps):
    """A layer that counts the windows of the image, which is its last input."""

    settings: tuple[str, ...] = ("window", "step")

    def count(self, image: Any) -> tuple[Any, Any]:
        """Count the windows, as (rows, columns)."""
        rows, columns = self.counted(ops.shape(image))
        return rows, columns

    def counted(self, image: Sequence[Any]) -> list[Any]:
        """Count the windows of an image of some shape; None where it is free."""
        return [
            None if n is None else (n - window) // step + 1
            for n, window, step in zip(
                image[self.rows : self.rows + 2], self.window, self.step, strict=True
            )
        ]
