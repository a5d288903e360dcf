"""A call of a layer or operation on each window alone."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from fullconv.frameworks.keras.calls import Call, Slot, filled
from fullconv.frameworks.keras.layers import as_tuples, register


@register
class OneByOne(keras.layers.Layer):
    """Calls a layer or operation, which may mix the entries of a batch, on each window alone.

    Its inputs are tensors ``(windows, *shape)``, and so are its results.

    Attributes
    ----------
    target : keras.Layer or Keras operation
        The layer or operation that is called.
    given : tuple
        Its arguments and its named ones, with a `Slot` for each input.
    shapes : tuple of tuple of int
        The shapes of its results.
    types : tuple of str
        The types of its results.
    """

    def __init__(self, target: Any, given: Any, shapes: Any, types: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.target, self.given = target, given
        self.shapes, self.types = as_tuples(shapes), tuple(types)

    def call(self, inputs: Any) -> Any:
        """Call the target on one window after the other; return a single result without a list."""
        call = Call(self.target, *self.given)

        def on_one(window: Any) -> Any:
            args, kwargs = filled(call, window)
            results = keras.tree.flatten(self.target(*args, **kwargs))
            return [ops.convert_to_tensor(result) for result in results]

        results = ops.map(on_one, keras.tree.flatten(inputs))
        return results[0] if len(self.shapes) == 1 else results

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return the results' shapes, for a free number of windows."""
        pairs = zip(self.shapes, self.types, strict=True)
        results = [keras.KerasTensor((None, *shape), dtype=kind) for shape, kind in pairs]
        return results[0] if len(results) == 1 else results

    def get_config(self) -> dict[str, Any]:
        """Return the settings from which the layer is made."""
        target = keras.saving.serialize_keras_object(self.target)
        args, kwargs = self.given
        given = keras.tree.map_structure(_stored, [list(args), dict(kwargs)])
        settings = {"target": target, "given": given, "shapes": self.shapes, "types": self.types}
        return {**super().get_config(), **settings}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Make a layer from its settings."""
        target = keras.saving.deserialize_keras_object(config.pop("target"))
        args, kwargs = _restored(config.pop("given"))
        return cls(target, (tuple(args), kwargs), **config)


def _stored(value: Any) -> Any:
    if isinstance(value, Slot):
        return {"slot": value.index}
    return keras.saving.serialize_keras_object(value)


def _restored(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"slot"}:
        return Slot(value["slot"])
    if isinstance(value, dict) and "class_name" not in value:
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_restored(item) for item in value]
    return keras.saving.deserialize_keras_object(value)
