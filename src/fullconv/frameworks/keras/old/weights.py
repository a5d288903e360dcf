"""The weights of an old file, set layer by layer.

A file keeps, for every layer of the whole model, the arrays of all layers inside it: first those
that were trained, then those that were not (Keras 2.2.4, ``engine/saving.py``). Each array has a
name, which ends in its role: ``conv2d_1/kernel:0``, ``convolution2d_1_W``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fullconv.errors import ModelError
from fullconv.frameworks.keras.calls import Array
from fullconv.frameworks.keras.old import kernels
from fullconv.frameworks.keras.old.building import Made
from fullconv.frameworks.keras.old.stored import StoredLayer, StoredModel
from fullconv.wording import few

ENDINGS = {
    "W": "kernel",
    "alphas": "alpha",
    "b": "bias",
    "beta": "beta",
    "depthwise_kernel": "depthwise_kernel",
    "gamma": "gamma",
    "pointwise_kernel": "pointwise_kernel",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # in Keras 1, too, it is the variance
}
"""Roles of arrays, by the ends of their names in Keras 1."""

OF_KERAS_1 = re.compile(rf"(.+)_({'|'.join(ENDINGS)})")
OF_KERAS_2 = re.compile(r"(?:.*/)?([^/]+)/([^/]+?)(?:_\d+)?")

KNOWN = frozenset(
    [*ENDINGS.values(), "recurrent_kernel", "mean", "variance", "count", "embeddings"]
)


@dataclass(frozen=True)
class StoredWeights:
    """The stored arrays of a model's layers.

    Attributes
    ----------
    groups : dict
        Names and arrays, in order, by the name of their layer.
    is_keras_1 : bool
        Whether Keras 1 laid out the kernels.
    backend : str
        The backend that computed with them; empty where the file does not state it.
    """

    groups: Mapping[str, Sequence[tuple[str, Array]]]
    is_keras_1: bool
    backend: str


@dataclass(frozen=True)
class _Slot:
    """A variable that takes an array."""

    made: Made
    role: str
    variable: Any

    @property
    def is_trained(self) -> bool:
        return bool(self.made.stored.config.get("trainable", True)) and self.variable.trainable


def read_weights(root: Any) -> StoredWeights:
    """Read the arrays of an HDF5 file, or of the group in it that has them.

    Raises
    ------
    KeyError, ValueError, TypeError
        If its layout is not Keras'.
    """
    group = root.get("model_weights", root)
    groups = {}
    for name in _listed(group, "layer_names"):
        arrays = [
            (inner, np.asarray(group[name][inner]))
            for inner in _listed(group[name], "weight_names")
        ]
        if arrays:
            groups[name] = arrays
    version = _text(group.attrs.get("keras_version", "1"))
    backend = _text(group.attrs.get("backend", ""))
    return StoredWeights(groups, version.partition(".")[0] == "1", backend)


def with_shared_axes(model: StoredModel, weights: StoredWeights) -> StoredModel:
    """Add the shared axes of every PReLU, by its array's shape: Keras 1 does not store them."""
    alphas = {
        layer: array.shape
        for group in weights.groups.values()
        for layer, role, array in ((*parts_of(name), array) for name, array in group)
        if role == "alpha"
    }

    def completed(layer: StoredLayer) -> StoredLayer:
        if layer.inner is not None:
            return replace(layer, inner=with_shared_axes(layer.inner, weights))
        if layer.kind != "PReLU" or "shared_axes" in layer.config or layer.name not in alphas:
            return layer
        shared = [axis for axis, size in enumerate(alphas[layer.name], 1) if size == 1]
        return replace(layer, config={**layer.config, "shared_axes": shared})

    return replace(model, layers=tuple(map(completed, model.layers)))


def is_of_theano(weights: StoredWeights) -> bool:
    """Return whether Keras 1 seems to have saved kernels on Theano, without stating it.

    The names of TensorFlow's variables end in ``:0``, those of Theano's do not.
    """
    names = [name for group in weights.groups.values() for name, _ in group if parts_of(name)[1]]
    kernel = any(array.ndim > 3 for group in weights.groups.values() for _, array in group)
    return (
        weights.is_keras_1 and not weights.backend and kernel and not any(":" in n for n in names)
    )


def fill(made: Sequence[Made], weights: StoredWeights, path: Path) -> None:
    """Set the weights of layers.

    Arrays are assigned by the names of their layers. Where these names differ, as in a network
    that was built again, arrays are assigned in order, as Keras does.

    Raises
    ------
    ModelError
        If they do not fit.
    """
    slots: dict[str, list[_Slot]] = {}
    for one in made:
        own = [_Slot(one, _role(one.layer, v), v) for v in _variables(one.layer)]
        if own:
            slots.setdefault(one.outer, []).extend(own)
    if slots.keys() != weights.groups.keys():
        _check_count(slots, weights, path)
        pairs = list(zip(slots, weights.groups, strict=True))
    else:
        pairs = [(name, name) for name in slots]
    for outer, name in pairs:
        _fill(slots[outer], weights.groups[name], weights, outer, path)
    for one in made:
        if isinstance(one.layer, keras.layers.Normalization):
            one.layer.finalize_state()


def _check_count(slots: Mapping[str, Any], weights: StoredWeights, path: Path) -> None:
    if len(slots) == len(weights.groups):
        return
    missing = [repr(name) for name in slots if name not in weights.groups]
    others = [repr(name) for name in weights.groups if name not in slots]
    faults = [f"it lacks {few(missing)}"] if missing else []
    faults += [f"the network has no {few(others)}"] if others else []
    raise ModelError(
        f"{path}: its weights are of other layers than its network's: {'; '.join(faults)}. Give "
        f"the weights that were saved from this network."
    )


def _fill(
    slots: list[_Slot],
    arrays: Sequence[tuple[str, Array]],
    weights: StoredWeights,
    name: str,
    path: Path,
) -> None:
    for by_name in (True, False):
        for order in _orders(slots):
            arranged = _arranged(order, arrays, weights, by_name, path)
            if arranged is not None:
                for slot, array in zip(order, arranged, strict=True):
                    slot.variable.assign(array)
                return
    wanted = few([f"{slot.role} {_size(slot.variable.shape)}" for slot in slots])
    got = few([f"{inner.rpartition('/')[2]} {_size(array.shape)}" for inner, array in arrays])
    raise ModelError(
        f"{path}: the weights of its layer {name!r} do not fit it: expected {wanted}; got {got}. "
        f"Give the weights that were saved from this network."
    )


def _orders(slots: list[_Slot]) -> Iterator[list[_Slot]]:
    """Yield the orders in which Keras has written the arrays of one layer of a model.

    Trained arrays come first. Only the order shows whether a layer was frozen, or the model that
    contains it. Later versions of tf.keras wrote layer by layer.
    """
    yield sorted(slots, key=lambda slot: not slot.is_trained)
    yield sorted(slots, key=lambda slot: not slot.variable.trainable)
    yield slots


def _arranged(
    slots: list[_Slot],
    arrays: Sequence[tuple[str, Array]],
    weights: StoredWeights,
    by_name: bool,
    path: Path,
) -> list[Array] | None:
    """Return the arrays for variables in this order; None where one does not fit."""
    if len(slots) != len(arrays):
        return None
    arranged = []
    for slot, (name, array) in zip(slots, arrays, strict=True):
        layer, role = parts_of(name)
        if role not in (None, slot.role) or (by_name and not _is_of(layer, slot.made)):
            return None
        try:
            laid = kernels.today(
                array,
                slot.role,
                _inner(slot.made.layer),
                weights.is_keras_1,
                weights.backend == "theano",
            )
        except ValueError as error:
            raise ModelError(
                f"{path}: its layer {slot.made.stored.name!r}: {error}; save the model again with "
                f"the TensorFlow backend of the Keras that wrote it."
            ) from None
        if laid.shape != tuple(slot.variable.shape):
            return None
        arranged.append(laid)
    return arranged


def parts_of(name: str) -> tuple[str | None, str | None]:
    """Return the layer and the role in an array's name; None for each that it does not state."""
    name = name.partition(":")[0]
    if "/" not in name:
        match = OF_KERAS_1.fullmatch(name)
        return (match[1], ENDINGS[match[2]]) if match else (None, None)
    match = OF_KERAS_2.fullmatch(name)
    if match is None:
        return None, None
    layer, role = match.groups()
    return layer, role if role in KNOWN else None


def _is_of(layer: str | None, made: Made) -> bool:
    return (
        layer is not None
        and re.fullmatch(rf"{re.escape(made.stored.name)}(_\d+)?", layer) is not None
    )


def _variables(layer: keras.Layer) -> list[Any]:
    """Return a layer's variables in Keras' order, without states of random numbers."""
    both = [*layer.trainable_variables, *layer.non_trainable_variables]
    return [v for v in both if v.name != "seed_generator_state"]


def _role(layer: keras.Layer, variable: Any) -> str:
    separate = isinstance(
        _inner(layer), keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D
    )
    return "depthwise_kernel" if separate and variable.name == "kernel" else str(variable.name)


def _inner(layer: keras.Layer) -> keras.Layer:
    """Return the layer that a TimeDistributed repeats, or the layer itself."""
    return layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer


def _listed(group: Any, key: str) -> list[str]:
    """Return a list of names; Keras splits those too long for one attribute of HDF5."""
    if key in group.attrs:
        return [_text(name) for name in group.attrs[key]]
    parts = itertools.takewhile(
        group.attrs.__contains__, map(f"{key}{{}}".format, itertools.count())
    )
    return [_text(name) for part in parts for name in group.attrs[part]]


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"
