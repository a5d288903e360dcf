"""Modules out of model folders: WSInfer's and timm's."""

from __future__ import annotations

import contextlib
import importlib
import json
import warnings
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.described import with_metadata
from fullconv.frameworks.folders import CONFIG, ModelFolder
from fullconv.frameworks.torch.exporting import quiet
from fullconv.frameworks.torch.state import fill, read_checkpoint, read_state
from fullconv.frameworks.torch.torchscript import load_script
from fullconv.preprocessing import Preprocessing
from fullconv.wsinfer import read_wsinfer


def build(folder: ModelFolder) -> nn.Module:
    """Return the module that a folder holds; what its configuration says goes with it.

    Raises
    ------
    InputError
        If the configuration of WSInfer is not understood.
    ModelError
        If the weights cannot be read or do not fit, or timm is needed and cannot build the network.
    """
    return _of_wsinfer(folder) if folder.kind == "WSInfer" else _of_timm(folder)


def _of_wsinfer(folder: ModelFolder) -> nn.Module:
    config = read_wsinfer(folder.path / CONFIG)
    if folder.weights.suffix.lower() == ".pt":
        model: nn.Module = load_script(folder.weights)
    else:
        timm = _import_timm(folder)
        state = read_checkpoint(folder.weights, str(folder.weights))
        with _building(folder):
            model = timm.create_model(config.architecture, num_classes=len(config.classes))
        fill(model, state, f"timm's {config.architecture}", str(folder.weights))
    return cast(
        nn.Module, with_metadata(model, config.window, config.preprocessing, config.classes)
    )


def _of_timm(folder: ModelFolder) -> nn.Module:
    """Let timm build and fill it; of the weights it is given the tensors, and reads no file."""
    timm = _import_timm(folder)
    state = dict(read_state(folder.weights, str(folder.weights)))
    given = {"source": "", "state_dict": state, "custom_load": False}
    with _building(folder):
        model = timm.create_model(
            f"local-dir:{folder.path}", pretrained=True, pretrained_cfg_overlay=given
        )
        config, count = model.pretrained_cfg, model.num_classes
        preprocessing = Preprocessing(1 / 255, tuple(config["mean"]), tuple(config["std"]))
        _, height, width = config["input_size"]
        config.pop("state_dict")
    classes = _classes(timm, model, count, folder)
    return cast(nn.Module, with_metadata(model, (height, width), preprocessing, classes))


def _classes(timm: Any, model: Any, count: int, folder: ModelFolder) -> list[str]:
    """Return the names of a network's classes, as its configuration or timm's ImageNet has them."""
    held = model.pretrained_cfg.get("label_names")
    if held is not None and held != []:
        # timm also takes names by number.
        names = [held.get(str(n)) for n in range(count)] if isinstance(held, dict) else held
        listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not listed or len(held) != count:
            raise ModelError(
                f"{folder.path / CONFIG}: expected names of {count} classes in 'label_names', a "
                f"list of strings, got {_shown(held)}; correct it, or leave 'label_names' out."
            )
        return cast(list[str], names)
    return imagenet_classes(timm, model)


def imagenet_classes(timm: Any, model: Any) -> list[str]:
    """Return the names of ImageNet's classes, of which timm knows; none for other networks."""
    subset = timm.data.infer_imagenet_subset(model)
    labels = timm.data.ImageNetInfo(subset).label_descriptions() if subset else []
    return [label.partition(",")[0] for label in labels]  # "tench, Tinca tinca"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _import_timm(folder: ModelFolder) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own parts that we do not use
            return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{folder.path}: {folder.weights.name} holds weights of a network of timm, and there "
            f"is no module {error.name!r}; install it with: pip install timm"
        ) from None
    except Exception as error:
        raise ModelError(
            f"{folder.path}: importing timm failed with {type(error).__name__}: "
            f"{first_line(error)}. Install the torchvision that was built for PyTorch "
            f"{torch.__version__}."
        ) from error


@contextlib.contextmanager
def _building(folder: ModelFolder) -> Iterator[None]:
    try:
        with quiet():
            yield
    except Exception as error:
        raise ModelError(
            f"{folder.path}: timm cannot build the network that {CONFIG} names "
            f"({type(error).__name__}: {first_line(error)}); copy or download the folder again, or "
            f"install another version of timm."
        ) from None
