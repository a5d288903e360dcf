"""The base of the layers that lifting adds to Keras: on stored maps whose sizes are free.

The layers stand in `map_layers`, `axis_layers`, `window_layers`, `sliding_layers` and
`part_layers`. They are registered for saving under the package "fullconv", and computed by
`keras.ops`, so that every backend runs them. Maps are ``(N, *cells, C)``, or ``(N, C, *cells)``
where the network takes its channels first. Sizes are read from the image, so that a model takes
any size. ``window`` and ``step`` are pixels along every axis of the image; a map may have
further axes, along which there is one window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar

import keras
from keras import ops

from fullconv.operations import Operation

Tensor = Any
"""A tensor of the backend, or several; a `keras.KerasTensor` while a model is built."""
Shape = tuple[int | None, ...]
Shapes = Any
"""The shape of one input, or those of several."""
Config = dict[str, Any]

register = keras.saving.register_keras_serializable(package="fullconv")


class OnMaps(keras.layers.Layer):
    """A layer on stored maps, with settings under the names in `settings`.

    Attributes
    ----------
    channels_last : bool
        Whether maps are ``(N, *cells, C)``.
    first : int
        The axis of a map that holds the first axis of cells.
    """

    record: ClassVar[type[Operation]]
    """The operation that the layer carries out; its fields are the layer's settings."""
    settings: ClassVar[tuple[str, ...]] = ()
    rows_and_columns: ClassVar[tuple[str, ...]] = ()
    """A setting with an entry for every axis, then the stored names of its entries for two axes."""

    def __init__(self, channels_last: bool = True, **given: Any) -> None:
        own = {name: given.pop(name) for name in self.settings}
        super().__init__(**given)
        self.channels_last = channels_last
        self.first = 1 if channels_last else 2
        for name, value in own.items():
            setattr(self, name, as_tuples(value))

    def get_config(self) -> Config:
        """Return the settings from which the layer is made."""
        own = {name: getattr(self, name) for name in self.settings}
        name, *each = self.rows_and_columns or ("",)
        if each and len(own[name]) == len(each):
            own |= dict(zip(each, own.pop(name), strict=True))
        return {**super().get_config(), "channels_last": self.channels_last, **own}

    @classmethod
    def from_config(cls, config: Config) -> OnMaps:
        """Make a layer from its settings in a file."""
        name, *each = cls.rows_and_columns or ("",)
        if each and name not in config:
            config = {**config, name: [config[axis] for axis in each]}
        return cls(**{key: value for key, value in config.items() if key not in each})

    def operation(self, shape: Sequence[Any]) -> Operation:
        """Return the operation that the layer carries out, given the shape of its result."""
        return self.record(**{each.name: getattr(self, each.name) for each in fields(self.record)})

    def _channels(self, shape: Sequence[Any]) -> Any:
        """Return the channels of a map."""
        return shape[-1 if self.channels_last else 1]

    def _cells(self, shape: Sequence[Any]) -> list[Any]:
        """Return the cells of a map along every axis; None where they are free."""
        return list(shape[1:-1] if self.channels_last else shape[2:])

    def _map(self, batch: Any, cells: Sequence[Any], channels: Any) -> tuple[Any, ...]:
        """Return the shape of a map."""
        return (batch, *cells, channels) if self.channels_last else (batch, channels, *cells)

    def _sliced(self, x: Tensor, axis: int, kept: slice) -> Tensor:
        """Keep some cells along an axis of cells."""
        return x[(slice(None),) * (self.first + axis) + (kept,)]


def as_tuples(value: Any) -> Any:
    """Return lists, as a file gives them, as tuples."""
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value


class OfWindows(OnMaps):
    """A layer that counts the windows of the image, which is its last input."""

    settings: ClassVar[tuple[str, ...]] = ("window", "step")

    def count(self, image: Tensor, axes: int) -> list[Any]:
        """Count the windows along each of the ``axes`` axes of a map."""
        return self.counted(ops.shape(image), axes)

    def counted(self, image: Sequence[Any], axes: int) -> list[Any]:
        """Count the windows of an image of a given shape; None along free axes."""
        sizes = image[self.first : self.first + len(self.window)]
        counts = [
            None if n is None else (n - window) // step + 1
            for n, window, step in zip(sizes, self.window, self.step, strict=True)
        ]
        return [*counts, *[1] * (axes - len(counts))]


def settings_of(kind: type[OnMaps], operation: Operation) -> Config:
    """Return an operation's fields that are settings of a layer that carries it out."""
    values = {each.name: getattr(operation, each.name) for each in fields(operation)}
    return {name: value for name, value in values.items() if name in kind.settings}
