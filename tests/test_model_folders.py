"""Folders of a model as WSInfer's zoo and timm keep them: config.json beside the weights."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import fullconv  # noqa: E402
from data import REPOSITORY  # noqa: E402
from fullconv.cli.group import commands  # noqa: E402
from fullconv.cli.models import open_model  # noqa: E402
from fullconv.cli.options import Conversion, ModelFlags  # noqa: E402
from fullconv.preprocessing import Preprocessing  # noqa: E402
from fullconv.scanning.heatmap import Heatmap  # noqa: E402
from oracle import assert_close, scores_of_crops, self_difference, torch_classifier  # noqa: E402
from scans import picture  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

WINDOW = (32, 32)
WSINFER: dict[str, Any] = {
    "spec_version": "1.0",
    "architecture": "test_resnet",
    "num_classes": 2,
    "class_names": ["Other", "Tumor"],
    "patch_size_pixels": 64,
    "spacing_um_px": 0.25,
    "transform": [
        {"name": "Resize", "arguments": {"size": 32}},
        {"name": "ToTensor"},
        {"name": "Normalize", "arguments": {"mean": [0.7, 0.6, 0.5], "std": [0.1, 0.2, 0.3]}},
    ],
}
PREPARED = Preprocessing(1 / 255, (0.7, 0.6, 0.5), (0.1, 0.2, 0.3), um_per_pixel=0.5)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def timm() -> Any:
    sys.path.insert(0, str(REPOSITORY / "benchmarks/zoo"))
    libraries = pytest.importorskip("libraries", reason="benchmarks/zoo/ is not beside the tests")
    try:
        return libraries.import_libraries()[1]
    except ModuleNotFoundError as missing:
        pytest.skip(f"no {missing.name}; pip install --no-deps -r benchmarks/zoo/requirements.txt")


@pytest.fixture(scope="module")
def model(timm: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=2).eval()


class Small(nn.Sequential):
    """Takes windows of 32x32; no timm needed."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))


def wsinfer(folder: Path, **changed: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(WSINFER | changed))
    return folder


def with_script(folder: Path, model: nn.Module | None = None) -> Path:
    wsinfer(folder)
    torch.jit.save(torch.jit.script(model or Small()), folder / "torchscript_model.pt")
    return folder


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(commands, [str(a) for a in arguments])


def assert_scores(fcn: Any, model: nn.Module, images: Any) -> None:
    classify = torch_classifier(model)
    unit = self_difference(classify, images[..., : fcn.grid.window[0], : fcn.grid.window[1]])
    expected = scores_of_crops(classify, images, fcn.grid.window, fcn.grid.step)
    assert_close(fcn(images), expected, unit, 16)


@pytest.mark.parametrize(
    "name", ["torchscript_model.pt", "model.safetensors", "pytorch_model.bin", "my_weights.bin"]
)
def test_a_folder_of_wsinfer_says_window_classes_and_preprocessing(
    name: str, model: nn.Module, tmp_path: Path
) -> None:
    folder = wsinfer(tmp_path / "model")
    if name.endswith(".safetensors"):
        from safetensors.torch import save_file

        save_file(model.state_dict(), folder / name)
    elif name.endswith(".bin"):
        torch.save(model.state_dict(), folder / name)
    else:
        with_script(folder, model)
    fcn = fullconv.convert(folder, step=32)
    assert (fcn.grid.window, fcn.classes, fcn.background) == (WINDOW, ("Other", "Tumor"), "Other")
    assert fcn.preprocessing == PREPARED
    assert_scores(fcn, model, torch.rand(1, 3, 70, 64))


def test_a_folder_of_timm_says_window_classes_and_preprocessing(timm: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3, in_chans=1, global_pool="max").eval()
    model.pretrained_cfg |= {"input_size": (1, 48, 40), "mean": (0.5,), "std": (0.25,)}
    labels = {"label_names": ["a", "b", "c"]}
    timm.models._hub.save_config_for_hf(model, str(tmp_path / "config.json"), labels)
    held = json.loads((tmp_path / "config.json").read_text())
    arguments = {"num_classes": 3, "in_chans": 1, "global_pool": "max"}
    (tmp_path / "config.json").write_text(json.dumps(held | {"model_args": arguments}))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    fcn = fullconv.convert(tmp_path, step=32)
    assert (fcn.grid.window, fcn.classes) == ((48, 40), ("a", "b", "c"))
    assert fcn.preprocessing == Preprocessing(1 / 255, (0.5,), (0.25,))
    assert_scores(fcn, model, torch.rand(1, 1, 80, 72))


LABELLED = [
    (["a", "b"], ("a", "b")),
    ({"1": "b", "0": "a"}, ("a", "b")),  # as timm writes them where numbers are left out
    (None, ()),
    ([], ()),
]
MISLABELLED: list[tuple[Any, str]] = [
    (5, "5"),
    (True, "true"),
    ("abc", '"abc"'),
    ("ab", '"ab"'),
    ({"0": "a"}, '{"0": "a"}'),
    ({"0": "a", "2": "b"}, '{"0": "a", "2": "b"}'),
    (["a"], '["a"]'),
    (["a", 1], '["a", 1]'),
    (["a" * 99, "b", "c"], f'["{"a" * 75}...'),
]


def labelled(folder: Path, model: nn.Module, labels: Any) -> None:
    """Write a folder of timm with such labels."""
    folder.mkdir()
    config = {
        "input_size": [3, 32, 32],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "label_names": labels,
    }
    held = {"architecture": "test_resnet", "num_classes": 2, "pretrained_cfg": config}
    (folder / "config.json").write_text(json.dumps(held))
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


@pytest.mark.parametrize(("labels", "classes"), LABELLED)
def test_labels_are_the_names_of_classes(
    labels: Any, classes: tuple[str, ...], timm: Any, model: nn.Module, tmp_path: Path
) -> None:
    labelled(tmp_path / "model", model, labels)
    assert fullconv.convert(tmp_path / "model", step=32).classes == classes


@pytest.mark.parametrize(("labels", "shown"), MISLABELLED)
def test_labels_that_do_not_name_every_class_are_refused(
    labels: Any,
    shown: str,
    timm: Any,
    model: nn.Module,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    labelled(Path("model"), model, labels)
    done = run("explain", "model")
    assert (done.exit_code, done.stderr) == (
        3,
        f"fullconv: error: model/config.json: expected names of 2 classes in 'label_names', a list "
        f"of strings, got {shown}; correct it, or leave 'label_names' out.\n",
    )


def test_labels_of_imagenet_are_known_to_timm(timm: Any, tmp_path: Path) -> None:
    model = timm.create_model("test_resnet").eval()
    timm.models._hub.save_config_for_hf(model, str(tmp_path / "config.json"))
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    found = open_model(
        "scan", ModelFlags(str(tmp_path), step=(32, 32), approximate=True), Conversion()
    )
    assert found.fcn.classes[:2] == ("tench", "goldfish")


def pyramid(path: Path) -> list[np.ndarray]:
    """Write an OME-TIFF of two levels, of 0.25 and 0.5 um per pixel; return their pixels."""
    levels = [picture(160, 144), picture(80, 72, seed=1)]
    with tifffile.TiffWriter(path, ome=True) as tiff:
        options: dict[str, Any] = {"tile": (32, 32), "photometric": "rgb", "compression": "zlib"}
        size = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
        tiff.write(levels[0], subifds=1, metadata=size, **options)
        tiff.write(levels[1], subfiletype=1, **options)
    return levels


def test_a_slide_is_scanned_at_the_resolution_of_the_folder(
    model: nn.Module, tmp_path: Path
) -> None:
    folder, slide, heat = tmp_path / "model", tmp_path / "slide.ome.tif", tmp_path / "heat.zarr"
    with_script(folder, model)
    level = pyramid(slide)[1]
    done = run("scan", folder, slide, "-o", heat, "--step", "8")
    assert done.exit_code == 0, done.stderr
    heatmap = Heatmap.open(heat)
    assert heatmap.classes == ("Other", "Tumor")
    assert heatmap.metadata["um_per_pixel"] == [0.5, 0.5]
    assert heatmap.box(0, 1) == (16, 0, 80, 64)
    images = torch.from_numpy(PREPARED.apply(np.moveaxis(level, -1, 0)))[None]
    classify = torch_classifier(model)
    unit = self_difference(classify, images[..., :32, :32])
    expected = scores_of_crops(classify, images, WINDOW, (8, 8))[0]
    assert_close(np.asarray(heatmap), expected.numpy(), unit, 16)


def test_a_preprocessing_file_beside_a_folder_wins(tmp_path: Path) -> None:
    folder = with_script(tmp_path / "model")
    other = wsinfer(tmp_path / "other", spacing_um_px=0.5, class_names=["no", "yes"])
    out = tmp_path / "fcn.onnx"
    done = run("convert", folder, "--preprocessing", other / "config.json", "-o", out)
    assert done.exit_code == 0, done.stderr
    fcn = fullconv.load(out)
    assert fcn.classes == ("no", "yes")
    assert fcn.preprocessing is not None
    assert fcn.preprocessing.um_per_pixel == 1


def test_every_command_takes_a_folder_and_a_heatmap_knows_its_weights(tmp_path: Path) -> None:
    folder, slide, heat = tmp_path / "model", tmp_path / "slide.ome.tif", tmp_path / "heat.zarr"
    with_script(folder)
    pyramid(slide)
    for arguments in (
        ("explain", folder),
        ("convert", folder, "-o", tmp_path / "fcn.onnx"),
        ("verify", folder, slide),
        ("scan", folder, slide, "-o", heat),
        ("verify", heat),
        ("detect", folder, slide, "-o", tmp_path / "boxes.csv"),
        ("bench", folder, slide, "--rounds", "1"),
    ):
        done = run(*arguments)
        assert done.exit_code == 0, (arguments, done.stderr, done.exception)
    weights = folder / "torchscript_model.pt"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert Heatmap.open(heat).metadata["origin"] == {"model": str(folder), "sha256": digest}
    weights.write_bytes(weights.read_bytes() + b"\0")
    done = run("verify", heat)
    assert (done.exit_code, done.stderr) == (
        2,
        f"fullconv: error: verify {heat}: {folder} has changed or moved since the heatmap was "
        f"made; name the classifier as it was then, --original MODEL.\n",
    )


def test_weights_are_not_given_for_a_folder(tmp_path: Path) -> None:
    folder = with_script(tmp_path / "model")
    done = run("explain", folder, "--weights", "x.pt")
    assert (done.exit_code, done.stderr) == (
        2,
        f"fullconv: error: --weights x.pt: {folder} is a folder and holds its own weights; leave "
        f"--weights out, or name the model's code: package.module:callable.\n",
    )


def test_weights_are_found_by_their_ending_in_any_case_and_hidden_files_are_not(
    tmp_path: Path,
) -> None:
    folder = with_script(tmp_path / "model")
    (folder / "torchscript_model.pt").rename(folder / "M.PT")
    (folder / "._M.PT").write_bytes(b"what macOS leaves beside a file that it copies")
    assert fullconv.convert(folder, step=32).classes == ("Other", "Tumor")


# What is refused, in a folder called "model".

NEITHER = (
    "model/config.json is neither of WSInfer (it has no 'spacing_um_px'), nor of timm (it has no "
    "'pretrained_cfg'), nor of an image classifier of transformers (its 'architectures' name "
    "none); give the model file inside the folder, or the model's code as package.module:callable."
)
TIMM = {"architecture": "resnet18", "num_classes": 2, "pretrained_cfg": {}}
REFUSED = [
    (
        None,
        [],
        "model is a folder without config.json; give the model file inside it, or a folder as "
        "WSInfer, timm and transformers keep them, with config.json beside the weights.",
    ),
    (
        "{",
        [],
        "model/config.json is not JSON (Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1)); copy or download it again.",
    ),
    ('{"model_type": "bert"}', ["model.safetensors"], NEITHER),
    ("[]", ["model.safetensors"], NEITHER),
    (
        json.dumps(WSINFER),
        ["readme.md"],
        "model holds a config.json of WSInfer and no weights; put torchscript_model.pt or "
        "model.safetensors or pytorch_model.bin beside it.",
    ),
    (
        json.dumps(TIMM),
        ["torchscript_model.pt"],
        "model holds a config.json of timm and no weights; put model.safetensors or "
        "pytorch_model.bin beside it.",
    ),
    (
        json.dumps(WSINFER),
        ["a.pt", "b.bin"],
        "model holds several files that may be its weights (a.pt, b.bin) and none is called "
        "torchscript_model.pt or model.safetensors or pytorch_model.bin; rename the one that is "
        "meant.",
    ),
]


@pytest.mark.parametrize(("config", "files", "said"), REFUSED)
def test_a_folder_that_holds_no_model_is_told_in_one_line(
    config: str | None,
    files: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("model")
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(config)
    for name in files:
        (folder / name).write_bytes(b"")
    for command in (("explain", folder), ("scan", folder, "a.tif", "-o", "heat.zarr")):
        done = run(*command)
        assert (done.exit_code, done.stderr) == (3, f"fullconv: error: {said}\n")


def test_a_configuration_that_is_not_understood_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with_script(Path("model"))
    wsinfer(Path("model"), num_classes=3)
    done = run("explain", "model")
    assert (done.exit_code, done.stderr) == (
        2,
        "fullconv: error: model/config.json: expected 3 different names in 'class_names', got "
        '["Other", "Tumor"]; give the config.json of a WSInfer model, or --scale, --mean, --std '
        "and --um-per-pixel.\n",
    )


def in_folder(folder: Path, name: str, state: Any, **changed: Any) -> str:
    """Write a folder with a state dict; return what ``explain`` says of it."""
    wsinfer(folder, **changed)
    torch.save(state, folder / name)
    done = run("explain", folder)
    assert done.exit_code == 3, done.exception
    return done.stderr.removeprefix("fullconv: error: ")


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("RAN",)


def test_weights_that_do_not_fit_or_are_none_are_told(
    timm: Any, model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, folder = "pytorch_model.bin", Path("model")
    weights = folder / name
    assert in_folder(folder, name, {"a": torch.zeros(1)}).startswith(
        f"{weights} does not fit timm's test_resnet: it lacks 'conv1.0.weight', "
    )
    assert in_folder(folder, name, Evil()) == (
        f"{weights}: it holds more than tensors ({os.mkdir.__module__}.mkdir), and loading that "
        f"would run code from the file; fullconv does not. Save the state dict alone, with "
        f"torch.save(model.state_dict(), ...), or as .safetensors.\n"
    )
    assert not Path("RAN").exists()
    state = model.state_dict()
    assert in_folder(folder, name, state, architecture="vgg16mod") == (
        "model: timm cannot build the network that config.json names (RuntimeError: Unknown model "
        "(vgg16mod)); copy or download the folder again, or install another version of timm.\n"
    )
    (folder / "config.json").write_text(json.dumps(TIMM))
    done = run("explain", folder)
    assert done.exit_code == 3
    assert done.stderr.startswith("fullconv: error: model: timm cannot build the network that ")


def test_without_timm_its_networks_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)
    said = in_folder(Path("model"), "pytorch_model.bin", {"a": torch.zeros(1)})
    assert said == (
        "model: pytorch_model.bin holds weights of a network of timm, and there is no module "
        "'timm'; install it with: pip install timm\n"
    )
    shutil.copy(with_script(Path("other")) / "torchscript_model.pt", "model")
    assert run("explain", "model").exit_code == 0, "TorchScript needs no timm"
