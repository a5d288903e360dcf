"""Models that a library builds and trains itself: ``timm:NAME`` and ``torchvision:NAME``.

The library's own code builds the network and fetches its weights. What it knows beside them (the
size of its crops, what is done to pixels, the names of the classes) goes with the module as
`METADATA`, in the words that our model files use.
"""

from __future__ import annotations

import difflib
import importlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from fullconv.errors import InputError, MissingExtraError, ModelError, first_line
from fullconv.frameworks import METADATA
from fullconv.preprocessing import Preprocessing

NAMED = re.compile(r"(timm|torchvision):(\S+)")


def build(named: str, trained: bool) -> Any:
    """Return the module that ``timm:NAME`` or ``torchvision:NAME`` means.

    Parameters
    ----------
    trained : bool
        Whether the library's weights are loaded, and fetched where they are not there yet.

    Raises
    ------
    InputError
        If the library has no model of this name.
    ModelError
        If the library is not there, has no weights for it, or cannot fetch them.
    MissingExtraError
        If PyTorch is not installed.
    """
    library, name = NAMED.fullmatch(named).groups()  # type: ignore[union-attr]
    found = _import(named, library)
    return {"timm": _from_timm, "torchvision": _from_torchvision}[library](
        found, named, name, trained
    )


def _import(named: str, library: str) -> ModuleType:
    try:
        import torch
    except ImportError:
        raise MissingExtraError("A PyTorch model", "torch") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own parts that we do not use
            return importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{named}: there is no module {error.name!r}; install it with: pip install {library}"
        ) from None
    except Exception as error:
        raise ModelError(
            f"{named}: importing {library} failed with {type(error).__name__}: "
            f"{first_line(error)}. Install the torchvision that was built for PyTorch "
            f"{torch.__version__}."
        ) from error


def _from_timm(timm: Any, named: str, name: str, trained: bool) -> Any:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise _unknown(named, architecture, "timm", timm.list_models())
    tags = [held.partition(".")[2] for held in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise _unknown(named, name, "timm", [f"{architecture}.{held}" for held in tags])
    if trained and not tags:
        raise _no_weights(named)
    config = timm.get_pretrained_cfg(name)
    source = config.hf_hub_id and f"https://huggingface.co/{config.hf_hub_id}"
    with _fetching(named, source or config.url):
        model = timm.create_model(name, pretrained=trained)
    _, height, width = config.input_size
    subset = timm.data.infer_imagenet_subset(model)
    described = timm.data.ImageNetInfo(subset).label_descriptions() if subset else []
    classes = [names.partition(",")[0] for names in described]  # "tench, Tinca tinca"
    return _with_metadata(model, (height, width), config.mean, config.std, classes)


def _from_torchvision(torchvision: Any, named: str, name: str, trained: bool) -> Any:
    models = torchvision.models
    listed = models.list_models(module=models)
    if name not in listed:
        raise _unknown(named, name, "torchvision", listed)
    weights = models.get_model_weights(name).DEFAULT
    with _fetching(named, weights.url):
        model = models.get_model(name, weights=weights if trained else None)
    transform = weights.transforms()
    (size,) = set(transform.crop_size)
    classes = weights.meta["categories"]
    return _with_metadata(model, (size, size), transform.mean, transform.std, classes)


def _with_metadata(
    model: Any,
    window: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    classes: Sequence[str],
) -> Any:
    preprocessing = Preprocessing(1 / 255, tuple(mean), tuple(std))
    metadata = {
        "fullconv.window": json.dumps(window),
        "fullconv.classes": json.dumps(list(classes)),
        "fullconv.preprocessing": preprocessing.to_json(),
    }
    setattr(model, METADATA, metadata)
    return model


@contextmanager
def _fetching(named: str, source: str | None) -> Iterator[None]:
    """Say in one line what could not be fetched; weights are read as tensors and nothing else."""
    safely = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(safely)
    os.environ[safely] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a library says of its own initial values
            yield
    except Exception as error:
        raise ModelError(
            f"{named}: its weights could not be fetched from {source} ({type(error).__name__}: "
            f"{first_line(error)}). Try again where that address can be reached, or give a state "
            f"dict with --weights."
        ) from error
    finally:
        if before is None:
            del os.environ[safely]
        else:
            os.environ[safely] = before


def _no_weights(named: str) -> ModelError:
    return ModelError(
        f"{named}: timm has no trained weights of this model; give a state dict with --weights."
    )


def _unknown(named: str, name: str, library: str, known: Sequence[str]) -> InputError:
    near = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "check its name."
    return InputError(f"{named}: {library} has no classifier {name!r}; {hint}")
