"""Models that a library builds and trains itself: ``timm:NAME``, ``torchvision:``, ``keras:``.

The library's own code builds the network and fetches its weights. The size of crops, preprocessing
and class names that the library states go with the model as `METADATA`, under the keys of our model
files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fullconv.errors import MissingExtraError

NAMED = re.compile(r"(timm|torchvision|keras):(\S+)")


def build(named: str, trained: bool) -> Any:
    """Return the module, or the `keras.Model`, that ``LIBRARY:NAME`` means.

    Parameters
    ----------
    trained : bool
        Whether the library's weights are loaded; they are fetched if they are not yet on the disk.

    Raises
    ------
    InputError
        If the library has no model of this name.
    ModelError
        If the library is not installed, has no weights for the model, or cannot fetch them.
    MissingExtraError
        If PyTorch, or Keras, is not installed.
    """
    library, name = NAMED.fullmatch(named).groups()  # type: ignore[union-attr]
    if library == "keras":
        from fullconv.cli.zoos import keras

        return keras.build(named, name, trained)
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("A PyTorch model", "torch") from None
    from fullconv.cli.zoos import timm, torchvision
    from fullconv.frameworks.torch.importing import import_library

    of = {"timm": timm, "torchvision": torchvision}[library]
    return of.build(import_library(named, library), named, name, trained)


def takes_state_dict(named: str) -> bool:
    """Return whether the weights of ``LIBRARY:NAME`` are a state dict of PyTorch."""
    return not named.startswith("keras:")


def load_weights(model: Any, named: str, weights: Path) -> None:
    """Load a file of Keras' weights into a model that `build` returned for ``keras:NAME``.

    Raises
    ------
    InputError
        If the file's ending is not one that Keras writes.
    ModelError
        If it is no such file, is truncated, or does not fit the model.
    UnsafeModelError
        If the file refers to weights outside itself.
    """
    from fullconv.cli.zoos import keras

    keras.load_weights(model, named, weights)
