"""Import libraries that build PyTorch networks, and report their errors in one line."""

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


def import_library(named: object, library: str, wanted: str = "") -> Any:
    """Import and return a library that builds PyTorch networks.

    Parameters
    ----------
    named : object
        The user's own words for the model, with which messages begin.
    wanted : str
        Why the library is needed, for the message when it is missing; ends with ``, and``.

    Raises
    ------
    ModelError
        If it is not installed, or does not fit the installed PyTorch.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own parts that are not used here
            return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{named}: {wanted}there is no module {error.name!r}; install it with: pip install "
            f"{library}"
        ) from None
    except Exception as error:
        raise ModelError(
            f"{named}: importing {library} failed with {type(error).__name__}: "
            f"{first_line(error)}. Install the torchvision that was built for PyTorch "
            f"{torch.__version__}."
        ) from error


def library_of(folder: ModelFolder, library: str) -> Any:
    """Return the library of a folder's network; raise as `import_library` does."""
    wanted = f"{folder.weights.name} holds weights of a network of {library}, and "
    return import_library(folder.path, library, wanted)


@contextlib.contextmanager
def building(folder: ModelFolder, library: str) -> Iterator[None]:
    """Turn any error while a library builds a network into a `ModelError` of one line."""
    try:
        with quiet():
            yield
    except Exception as error:
        raise ModelError(
            f"{folder.path}: {library} cannot build the network that {CONFIG} names "
            f"({type(error).__name__}: {first_line(error)}); copy or download the folder again, or "
            f"install another version of {library}."
        ) from None
