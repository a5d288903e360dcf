"""Build image classifiers from folders of Hugging Face's transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.described import with_metadata
from fullconv.frameworks.folders import CLASSIFIES, CONFIG, ModelFolder
from fullconv.frameworks.torch.importing import building, library_of
from fullconv.frameworks.torch.state import read_state
from fullconv.preprocessing import Preprocessing
from fullconv.wording import few

PREPARES = "preprocessor_config.json"
"""File with the size of crops and the preprocessing of pixels."""

UNNAMED = re.compile(r"LABEL_\d+")


class Logits(nn.Module):
    """A classifier of transformers that returns its scores alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores ``(N, K)`` of images ``(N, C, H, W)``."""
        logits: Tensor = self.model(pixel_values=images).logits
        return logits


def of_transformers(folder: ModelFolder) -> Any:
    """Let transformers build and fill the network; it gets the tensors, and reads no weights.

    Raises
    ------
    ModelError
        If transformers is not installed or does not have the network, the weights do not fit it, or
        the preprocessing of pixels is not known.
    """
    name = str(folder.config["architectures"][0])
    prepared = _prepared(folder.path)
    window, preprocessing = _window(prepared, folder.path), _preprocessing(prepared, folder.path)
    transformers = library_of(folder, "transformers")
    network = getattr(transformers, name, None) if name.endswith(CLASSIFIES) else None
    if network is None:
        raise ModelError(
            f"{folder.path / CONFIG}: transformers {transformers.__version__} has no {name!r}; "
            f"install a version that has, or name the model's code: package.module:callable."
        )
    state = dict(read_state(folder.weights, str(folder.weights)))
    with building(folder, "transformers"):
        local = {"local_files_only": True, "trust_remote_code": False}
        config = transformers.AutoConfig.from_pretrained(folder.path, **local)
        model, info = network.from_pretrained(
            None,
            config=config,
            state_dict=state,
            output_loading_info=True,
            attn_implementation="eager",  # torch.export can trace it
        )
    _check(info, folder, name)
    classes = _classes(folder.config.get("id2label"))
    return with_metadata(Logits(model.eval()), window, preprocessing, classes)


def _check(info: Mapping[str, Any], folder: ModelFolder, name: str) -> None:
    """Refuse weights if some are missing, left over, or of another size."""
    missing, others = (sorted(map(repr, info[key])) for key in ("missing_keys", "unexpected_keys"))
    faults = [f"it lacks {few(missing)}"] if missing else []
    faults += [f"the model has no {few(others)}"] if others else []
    if info["mismatched_keys"]:
        faults.append(f"other sizes have {few(sorted(map(str, info['mismatched_keys'])))}")
    if faults:
        raise ModelError(
            f"{folder.weights} does not fit {name}: {'; '.join(faults)}. Copy or download the "
            f"folder again."
        )


def _prepared(path: Path) -> Mapping[str, Any]:
    file = path / PREPARES
    if not file.is_file():
        raise ModelError(
            f"{path} holds a model of transformers and no {PREPARES}, which says how large its "
            f"crops are and what is done to pixels; copy it from where the model is from."
        )
    try:
        settings = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{file} cannot be read ({first_line(error)}); copy or download it again."
        ) from None
    return settings if isinstance(settings, dict) else {}


def _window(prepared: Mapping[str, Any], path: Path) -> tuple[int, int]:
    """Return the size of the network's crops: of the center crop, or of the resized image."""
    key = "crop_size" if prepared.get("do_center_crop") and "crop_size" in prepared else "size"
    size = prepared.get(key)
    if isinstance(size, dict):
        side = size.get("shortest_edge")
        size = [size.get("height", side), size.get("width", side)]
    sides: list[Any] = size if isinstance(size, list) and len(size) == 2 else [size, size]
    if not all(type(side) is int and side > 0 for side in sides):
        raise ModelError(
            f"{path / PREPARES}: expected a height and width in {key!r}, got "
            f"{str(prepared.get(key))[:60]}; correct it."
        )
    return int(sides[0]), int(sides[1])


def _preprocessing(prepared: Mapping[str, Any], path: Path) -> Preprocessing:
    """Return ``(pixel * rescale_factor - image_mean) / image_std``, as image processors compute."""
    scale = prepared.get("rescale_factor", 1 / 255) if prepared.get("do_rescale", True) else 1.0
    normalizes = prepared.get("do_normalize", True)
    mean, std = (prepared.get(f"image_{key}", 0.5) for key in ("mean", "std"))
    if prepared.get("rescale_offset") or prepared.get("include_top"):
        raise ModelError(
            f"{path / PREPARES}: its pixels are moved or divided once more (rescale_offset, "
            f"include_top), which fullconv does not know; build the model in Python, and give "
            f"fullconv.convert its preprocessing."
        )
    order = "BGR" if prepared.get("do_flip_channel_order") else "RGB"
    if not normalizes:
        return Preprocessing(scale, channel_order=order)  # type: ignore[arg-type]
    return Preprocessing(scale, mean, std, order)  # type: ignore[arg-type]


def _classes(labels: Any) -> list[str]:
    """Return the names of classes by number; an empty list where they are generated or missing."""
    if not isinstance(labels, dict):
        return []
    names = [str(labels.get(str(n), "")) for n in range(len(labels))]
    made_up = all(UNNAMED.fullmatch(name) for name in names)
    return [] if made_up or not all(names) else names
