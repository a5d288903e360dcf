"""Libraries that build networks which a folder describes."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.folders import CONFIG, ModelFolder
from fullconv.frameworks.torch.exporting import quiet


def import_library(folder: ModelFolder, library: str) -> Any:
    """Return a library that a folder's network is of.

    Raises
    ------
    ModelError
        If it is not installed, or cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own parts that we do not use
            return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{folder.path}: {folder.weights.name} holds weights of a network of {library}, and "
            f"there is no module {error.name!r}; install it with: pip install {library}"
        ) from None
    except Exception as error:
        raise ModelError(
            f"{folder.path}: importing {library} failed with {type(error).__name__}: "
            f"{first_line(error)}. Install the torchvision that was built for PyTorch "
            f"{torch.__version__}."
        ) from error


@contextlib.contextmanager
def building(folder: ModelFolder, library: str) -> Iterator[None]:
    """Let whatever fails while a library builds a network be one line."""
    try:
        with quiet():
            yield
    except Exception as error:
        raise ModelError(
            f"{folder.path}: {library} cannot build the network that {CONFIG} names "
            f"({type(error).__name__}: {first_line(error)}); copy or download the folder again, or "
            f"install another version of {library}."
        ) from None
