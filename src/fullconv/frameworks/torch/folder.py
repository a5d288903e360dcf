"""Build modules from model folders of WSInfer, timm and Hugging Face."""

from __future__ import annotations

import json
from typing import Any, cast

from torch import nn

from fullconv.errors import ModelError
from fullconv.frameworks.described import with_metadata
from fullconv.frameworks.folders import CONFIG, ModelFolder
from fullconv.frameworks.torch.importing import building, library_of
from fullconv.frameworks.torch.state import fill, read_checkpoint, read_state
from fullconv.frameworks.torch.torchscript import load_script
from fullconv.frameworks.torch.transformers import of_transformers
from fullconv.frameworks.wsinfer import read_wsinfer
from fullconv.preprocessing import Preprocessing


def build(folder: ModelFolder) -> nn.Module:
    """Return the module in a folder, with the metadata of its configuration attached.

    Raises
    ------
    InputError
        If a configuration of WSInfer is invalid.
    ModelError
        If the weights cannot be read or do not fit, or timm or transformers is needed and cannot
        build the network.
    """
    of = {"WSInfer": _of_wsinfer, "timm": _of_timm, "transformers": of_transformers}[folder.kind]
    return cast(nn.Module, of(folder))


def _of_wsinfer(folder: ModelFolder) -> nn.Module:
    config = read_wsinfer(folder.path / CONFIG)
    if folder.weights.suffix.lower() == ".pt":
        model: nn.Module = load_script(folder.weights)
    else:
        timm = library_of(folder, "timm")
        state = read_checkpoint(folder.weights, str(folder.weights))
        with building(folder, "timm"):
            model = timm.create_model(config.architecture, num_classes=len(config.classes))
        fill(model, state, f"timm's {config.architecture}", str(folder.weights))
    return cast(
        nn.Module, with_metadata(model, config.window, config.preprocessing, config.classes)
    )


def _of_timm(folder: ModelFolder) -> nn.Module:
    """Let timm build and fill the network; it gets the tensors, and reads no file of weights."""
    timm = library_of(folder, "timm")
    state = dict(read_state(folder.weights, str(folder.weights)))
    given = {"source": "", "state_dict": state, "custom_load": False}
    with building(folder, "timm"):
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
    """Return the names of a network's classes, from its configuration or timm's ImageNet."""
    given = model.pretrained_cfg.get("label_names")
    if given is not None and given != []:
        # timm also takes a dict from the number of a class to its name.
        names = [given.get(str(n)) for n in range(count)] if isinstance(given, dict) else given
        listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not listed or len(given) != count:
            raise ModelError(
                f"{folder.path / CONFIG}: expected names of {count} classes in 'label_names', a "
                f"list of strings, got {_shown(given)}; correct it, or leave 'label_names' out."
            )
        return cast(list[str], names)
    return imagenet_classes(timm, model)


def imagenet_classes(timm: Any, model: Any) -> list[str]:
    """Return the names of ImageNet's classes, from timm; an empty list for other networks."""
    subset = timm.data.infer_imagenet_subset(model)
    labels = timm.data.ImageNetInfo(subset).label_descriptions() if subset else []
    return [label.partition(",")[0] for label in labels]  # "tench, Tinca tinca"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
