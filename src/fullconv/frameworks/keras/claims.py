"""Checks of the sizes that a Keras file claims, and that its weights lie in no other file."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path
from typing import Any

import keras

from fullconv.errors import ModelError, UnsafeModelError
from fullconv.frameworks.archives import may_unpack_to
from fullconv.frameworks.keras.private import model_of_old_config, waiting_variables

FEW = 1 << 22
"""Numbers that a model may have beside its weights: states of dropout, of normalization."""


def check_held(root: Any, path: Path) -> int:
    """Check a file of weights, and return its count of numbers.

    Raises
    ------
    UnsafeModelError
        If weights lie in other files, or several links lead to one place.
    ModelError
        If they claim far more bytes than the file has: HDF5 stores no chunk that was never
        written.
    """
    sizes = list(_sizes(root, path, set()))
    claimed, limit = sum(size for size, _ in sizes), may_unpack_to(path.stat().st_size)
    if claimed > limit:
        raise ModelError(
            f"{path}: its weights claim {claimed} bytes, far more than a file of its size holds; "
            f"save the model again, with model.save('model.keras')."
        )
    return sum(count for _, count in sizes)


def _sizes(group: Any, path: Path, seen: set[int]) -> Iterator[tuple[int, int]]:
    """Yield the bytes and numbers of every array, each of which lies in one place."""
    import h5py

    place = h5py.h5o.get_info(group.id).addr
    if place in seen:
        raise _leaves_file(path, group.name)
    seen.add(place)
    for name in group:
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise _leaves_file(path, f"{group.name}/{name}")
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _sizes(item, path, seen)
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise _leaves_file(path, item.name)
            count = prod(item.shape or ())
            yield count * item.dtype.itemsize, count


def _leaves_file(path: Path, name: str) -> UnsafeModelError:
    return UnsafeModelError(
        f"{path}: its weights {name!r} point to another place or file; fullconv does not follow "
        f"them. Save the model again, with model.save('model.keras')."
    )


def check_size(make: Callable[[], Any], numbers: int, path: Path) -> None:
    """Refuse layers that have far more weights than the file.

    The layers are made without numbers, and only the sizes of their weights are added up. Keras
    itself would fill all weights with random numbers before it misses them in the file.

    Parameters
    ----------
    make : callable
        Makes the layers. Its errors are ignored: they come again when the model is loaded.
    numbers : int
        The count of numbers in the file.
    """
    claimed = _claimed(make)
    if claimed > numbers + FEW:
        raise ModelError(
            f"{path}: its layers take {claimed} numbers, and the file holds {numbers}; it is "
            f"damaged: save the model again, with model.save('model.keras')."
        )


def _claimed(make: Callable[[], Any]) -> int:
    """Return the count of numbers that the layers take, up to the first that cannot be made."""
    with waiting_variables() as made:
        with contextlib.suppress(Exception):  # Keras itself reports later what it cannot make
            make()
        return sum(prod(variable.shape) for variable in made)


def made_of(config: Any) -> Any:
    """Make the model of a configuration, as Keras does when it loads one."""
    config = copy.deepcopy(config)
    if "module" in config:
        return keras.saving.deserialize_keras_object(config)
    return model_of_old_config(config)
