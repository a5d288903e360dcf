"""Weights of the ``.keras`` files of Keras 2.12 to 2.15, which number them under classes' names.

``layers/conv2d_1/vars/0`` is the first array of the second layer of the class Conv2D (Keras 2.13,
``saving/saving_lib.py``, `_save_container_state`); a model that is a layer has layers of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fullconv.frameworks.keras.calls import Array
from fullconv.frameworks.keras.old.building import Made
from fullconv.frameworks.keras.old.stored import StoredModel
from fullconv.frameworks.keras.old.weights import StoredWeights

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
"""Names of the group of a model's layers, today and in Keras 2.12."""

INSIDE = ("vars", "cell/vars", "layer/vars")
"""Groups of the arrays of a layer, of a recurrent one, and of one that repeats another."""


def read_numbered(model: StoredModel, made: Sequence[Made], root: Any) -> StoredWeights:
    """Read the arrays of the layers of a model.

    Raises
    ------
    KeyError, ValueError, TypeError
        If their layout is not Keras'.
    """
    places = dict(_places(model, root, ()))
    groups: dict[str, list[tuple[str, Array]]] = {}
    for one in made:
        arrays = list(_arrays(places[one.path])) if one.path in places else []
        if arrays:
            name = one.stored.name
            named = [(f"{name}/{number}", array) for number, array in enumerate(arrays)]
            groups.setdefault(one.outer, []).extend(named)
    return StoredWeights(groups, False, "tensorflow")


def _places(
    model: StoredModel, group: Any, inside: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the group of every layer that has one, by the names on the path to the layer."""
    container = next((group[name] for name in CONTAINERS if name in group), None)
    if container is None:
        return
    counts: Counter[str] = Counter()
    for layer in model.layers:
        kind = _snake_case(layer.kind)
        name = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        if name in container:
            if layer.inner is not None:
                yield from _places(layer.inner, container[name], (*inside, layer.name))
            else:
                yield (*inside, layer.name), container[name]


def _arrays(group: Mapping[str, Any]) -> Iterator[Array]:
    for place in INSIDE:
        arrays = group.get(place, {})
        for number in sorted(arrays, key=int):
            yield np.asarray(arrays[number])


def _snake_case(name: str) -> str:
    name = re.sub(r"\W+", "", name.rpartition(">")[2])
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
