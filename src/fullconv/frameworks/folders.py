"""Model folders of WSInfer, timm and transformers: a ``config.json`` beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fullconv.errors import ModelError, first_line
from fullconv.frameworks.beside import weights_beside

CONFIG = "config.json"
NAMES = ("torchscript_model.pt", "model.safetensors", "pytorch_model.bin")
"""Names of the weights in WSInfer's zoo and on the hubs, the preferred one first.

A folder with several of these files has the same weights in several forms.
"""

CLASSIFIES = "ForImageClassification"
"""End of the names of the image classifiers in transformers."""

FolderKind = Literal["WSInfer", "timm", "transformers"]


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a model.

    Attributes
    ----------
    path : Path
    kind : {"WSInfer", "timm", "transformers"}
        The library that the configuration is for.
    config : dict
        The content of ``config.json``.
    weights : Path
        The file of the weights.
    """

    path: Path
    kind: FolderKind
    config: Mapping[str, Any]
    weights: Path


def read_folder(path: Path) -> ModelFolder:
    """Return the description of the model in a folder; no weights are loaded.

    Raises
    ------
    ModelError
        If it holds no such model, or several files that may be the weights.
    """
    config = _config(path)
    if "pretrained_cfg" in config or {"architecture", "input_size"} <= config.keys():
        kind: FolderKind = "timm"
    elif "patch_size_pixels" in config or "spacing_um_px" in config:
        kind = "WSInfer"
    elif _classifies(config.get("architectures")):
        kind = "transformers"
    else:
        raise ModelError(
            f"{path / CONFIG} is neither of WSInfer (it has no 'spacing_um_px'), nor of timm (it "
            f"has no 'pretrained_cfg'), nor of an image classifier of transformers (its "
            f"'architectures' name none); give the model file inside the folder, or the model's "
            f"code as package.module:callable."
        )
    names = NAMES if kind == "WSInfer" else NAMES[1:]
    return ModelFolder(path, kind, config, _weights(path, kind, names))


def _classifies(architectures: Any) -> bool:
    single = isinstance(architectures, list) and len(architectures) == 1
    return single and str(architectures[0]).endswith(CLASSIFIES)


def weights_of(path: Path) -> Path:
    """Return the file of a model's weights: the file itself, or one in its folder or beside it."""
    if path.suffix.lower() == ".json" and path.is_file():
        return weights_beside(path)
    return read_folder(path).weights if path.is_dir() else path


def _config(path: Path) -> Mapping[str, Any]:
    file = path / CONFIG
    if not file.is_file():
        raise ModelError(
            f"{path} is a folder without {CONFIG}; give the model file inside it, or a folder as "
            f"WSInfer, timm and transformers keep them, with {CONFIG} beside the weights."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror or error}; check who may read it.") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{file} is not JSON ({first_line(error)}); copy or download it again."
        ) from None
    return config if isinstance(config, dict) else {}


def _weights(path: Path, kind: FolderKind, names: tuple[str, ...]) -> Path:
    for name in names:
        if (path / name).is_file():
            return path / name
    endings = tuple(Path(name).suffix for name in names)
    others = sorted(
        file
        for file in path.iterdir()
        # macOS leaves a hidden file, "._name", beside every file that it copies.
        if not file.name.startswith(".") and file.suffix.lower() in endings and file.is_file()
    )
    if len(others) == 1:
        return others[0]
    if not others:
        raise ModelError(
            f"{path} holds a {CONFIG} of {kind} and no weights; put {' or '.join(names)} beside it."
        )
    raise ModelError(
        f"{path} holds several files that may be its weights ({', '.join(p.name for p in others)}) "
        f"and none is called {' or '.join(names)}; rename the one that is meant."
    )
