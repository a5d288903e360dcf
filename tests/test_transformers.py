"""Folders of Hugging Face's image classifiers convert, and equal their crops."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch")

import fullconv  # noqa: E402
from fullconv.cli.group import commands  # noqa: E402
from fullconv.preprocessing import Preprocessing  # noqa: E402
from oracle import assert_close, scores_of_crops, self_difference, windows_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

PREPARED = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.25, 0.5],
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 32, "width": 32},
}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet": ("ResNetConfig", {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}),
    "convnext": ("ConvNextConfig", {"hidden_sizes": [8, 16, 16, 16], "depths": [1, 1, 1, 1]}),
    "vit": (
        "ViTConfig",
        {
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "image_size": 32,
            "patch_size": 8,
        },
    ),
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(a) for a in arguments])


def saved(kind: str, folder: Path, **prepared: Any) -> Any:
    """Let transformers make a small network and save it; return it."""
    transformers = pytest.importorskip("transformers")
    name, settings = SMALL[kind]
    torch.manual_seed(0)
    labels = {"id2label": {0: "cat", 1: "dog", 2: "dress"}}
    config = getattr(transformers, name)(**settings, **labels, initializer_range=0.5)
    model = transformers.AutoModelForImageClassification.from_config(config).eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARED | prepared))
    return model


@pytest.mark.parametrize("kind", SMALL)
def test_a_folder_converts_and_equals_its_crops(kind: str, tmp_path: Path) -> None:
    model, step = saved(kind, tmp_path), 16
    fcn = fullconv.convert(tmp_path, step=step)

    def classify(crops: Any) -> Any:
        with torch.no_grad():
            return model(pixel_values=crops).logits

    images = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (1, 3, 64, 48))).float()
    expected = scores_of_crops(classify, images, (32, 32), (step, step))
    unit = self_difference(classify, windows_of(images, (32, 32), (step, step)))
    assert fcn.grid.window == (32, 32)
    assert fcn.classes == ("cat", "dog", "dress")
    assert fcn.preprocessing == Preprocessing(1 / 255, (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))
    assert fcn.report.exact
    assert_close(fcn(images), expected, unit, 16)


def test_a_folder_is_scanned_in_one_command(tmp_path: Path) -> None:
    from PIL import Image

    saved("resnet", tmp_path / "model", do_center_crop=True, crop_size=32, size=36)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    done = run("scan", tmp_path / "model", tmp_path / "photo.png", "-o", tmp_path / "heat.zarr")
    assert done.exit_code == 0, done.output
    assert "windows of 32x32" in done.output
    assert "equal: the scores are the crops' own" in done.output


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    saved("vit", tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["vit.other"] = state.pop("vit.embeddings.cls_token")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    done = run("explain", tmp_path)
    assert done.exit_code == 3
    assert done.stderr.endswith(
        f"{tmp_path}/model.safetensors does not fit ViTForImageClassification: it lacks "
        f"'vit.embeddings.cls_token'; the model has no 'vit.other'. Copy or download the folder "
        f"again.\n"
    )


def described(folder: Path, architecture: str, prepared: Any) -> Path:
    """Write a folder by hand; transformers is not needed."""
    from safetensors.torch import save_file

    folder.mkdir()
    config = {"architectures": [architecture], "model_type": "vit"}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"a": torch.zeros(1)}, folder / "model.safetensors")
    if prepared is not None:
        (folder / "preprocessor_config.json").write_text(prepared)
    return folder


VIT = "ViTForImageClassification"


@pytest.mark.parametrize(
    ("prepared", "words"),
    [
        (None, "holds a model of transformers and no preprocessor_config.json, which says how "),
        ("{", "preprocessor_config.json cannot be read (Expecting property name"),
        ("{}", "preprocessor_config.json: expected a height and width in 'size', got None"),
        (
            json.dumps(PREPARED | {"rescale_offset": True}),
            "preprocessor_config.json: its pixels are moved or divided once more (rescale_offset",
        ),
    ],
)
def test_what_is_done_to_pixels_must_be_known(prepared: Any, words: str, tmp_path: Path) -> None:
    done = run("explain", described(tmp_path / "model", VIT, prepared))
    assert done.exit_code == 3
    assert words in done.stderr


def test_without_transformers_its_networks_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    folder = described(tmp_path / "model", VIT, json.dumps(PREPARED))
    done = run("explain", folder)
    assert done.exit_code == 3
    assert done.stderr == (
        f"fullconv: error: {folder}: model.safetensors holds weights of a network of transformers, "
        f"and there is no module 'transformers'; install it with: pip install transformers\n"
    )


def test_a_folder_of_another_task_is_refused(tmp_path: Path) -> None:
    done = run("explain", described(tmp_path / "model", "BertForMaskedLM", None))
    assert done.exit_code == 3
    assert "nor of an image classifier of transformers (its 'architectures' name none)" in (
        done.stderr
    )
