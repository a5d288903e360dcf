"""What a Keras file claims to hold: no more than it has, and no other file's."""

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


def check_held(held: Any, path: Path) -> int:
    """Look through a file of weights, and return how many numbers it holds.

    Raises
    ------
    UnsafeModelError
        If weights lie in other files, or one comes to them by more than one way.
    ModelError
        If they claim far more than the file has: HDF5 stores no chunk that was never written.
    """
    sizes = list(_sizes(held, path, set()))
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
        held = group[name]
        if isinstance(held, h5py.Group):
            yield from _sizes(held, path, seen)
        elif isinstance(held, h5py.Dataset):
            if held.external or held.is_virtual:
                raise _leaves_file(path, held.name)
            count = prod(held.shape or ())
            yield count * held.dtype.itemsize, count


def _leaves_file(path: Path, name: str) -> UnsafeModelError:
    return UnsafeModelError(
        f"{path}: its weights {name!r} point to another place or file; fullconv does not follow "
        f"them. Save the model again, with model.save('model.keras')."
    )


def check_size(make: Callable[[], Any], numbers: int, path: Path) -> None:
    """Refuse layers that have far more weights than the file.

    The layers are made without their weights, whose sizes alone are looked at: Keras fills them
    with random numbers before it finds none in the file.

    Parameters
    ----------
    make : callable
        Makes the layers; what it raises is left to those who make them again.
    numbers : int
        In the file.
    """
    claimed = _claimed(make)
    if claimed > numbers + FEW:
        raise ModelError(
            f"{path}: its layers take {claimed} numbers, and the file holds {numbers}; it is "
            f"damaged: save the model again, with model.save('model.keras')."
        )


def _claimed(make: Callable[[], Any]) -> int:
    """Return how many numbers the layers take, up to where they cannot be made."""
    with waiting_variables() as made:
        with contextlib.suppress(Exception):  # Keras itself says later what it cannot make
            make()
        return sum(prod(variable.shape) for variable in made)


def made_of(config: Any) -> Any:
    """Make the model of a configuration, as Keras does when it loads one."""
    config = copy.deepcopy(config)
    if "module" in config:
        return keras.saving.deserialize_keras_object(config)
    return model_of_old_config(config)
