"""Keras files that would run code, read other files, or are broken: one line each, and no code."""

from __future__ import annotations

import base64
import json
import marshal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fullconv
from fullconv.errors import ModelError, UnsafeModelError
from keras_models import QUIETLY, keras

pytestmark = QUIETLY

layers = keras.layers

CLASS = "import the code that registers it (@keras.saving.register_keras_serializable), and "
CLASS += "convert the model in Python."
OTHER = "fullconv does not load that. Write that part of the model with Keras' own layers, or as a "
OTHER += "registered class, and save it again."


def model() -> Any:
    return keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(2, activation="relu", name="head")]
    )


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Write a good model with another configuration."""
    good = path.with_name("good.keras")
    model().save(good)
    with zipfile.ZipFile(good) as held, zipfile.ZipFile(path, "w") as made:
        for name in held.namelist():
            data = held.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            made.writestr(name, data)


def last_layer(config: dict[str, Any]) -> dict[str, Any]:
    layer: dict[str, Any] = config["config"]["layers"][-1]
    return layer


def trap(marker: Path) -> str:
    """Return marshalled code that leaves a mark when it is called or loaded."""
    code = compile(f"open({str(marker)!r}, 'w').close()", "trap", "eval")
    return base64.b64encode(marshal.dumps(code)).decode()


def marshalled(marker: Path) -> dict[str, Any]:
    code = {"code": trap(marker), "defaults": None, "closure": None}
    return {"class_name": "__lambda__", "config": code}


def refused(path: Path, kind: type[Exception] = UnsafeModelError) -> str:
    with pytest.raises(kind) as caught:
        fullconv.convert(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_lambda_in_a_keras_file_is_refused_before_keras_sees_it(tmp_path: Path) -> None:
    path, marker = tmp_path / "model.keras", tmp_path / "ran"

    def change(config: dict[str, Any]) -> None:
        given = {"name": "head", "function": marshalled(marker), "output_shape": [2]}
        last_layer(config).update(class_name="Lambda", config=given)

    changed(path, change)
    assert refused(path) == (
        f"{path}: it holds 'Lambda', and loading that would run code from the file; {OTHER}"
    )
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_lambda_in_an_older_file_is_refused_before_keras_sees_it(tmp_path: Path) -> None:
    import h5py

    path, marker = tmp_path / "model.h5", tmp_path / "ran"
    model().save(path)
    with h5py.File(path, "a") as held:
        config = json.loads(held.attrs["model_config"])
        given = {"name": "head", "function": [trap(marker), None, None], "function_type": "lambda"}
        config["config"]["layers"][-1] = {"class_name": "Lambda", "config": given}
        held.attrs["model_config"] = json.dumps(config)
    assert refused(path) == (
        f"{path}: it holds 'Lambda', and loading that would run code from the file; {OTHER}"
    )
    assert not marker.exists()


def test_marshalled_code_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    path, marker = tmp_path / "model.keras", tmp_path / "ran"
    changed(path, lambda c: last_layer(c)["config"].update(activation=marshalled(marker)))
    assert refused(path) == (
        f"{path}: it holds '__lambda__', and loading that would run code from the file; {OTHER}"
    )
    assert not marker.exists()


@pytest.mark.parametrize(
    ("module", "name", "words"),
    [
        ("keras.utils", "get_file", "of the module 'keras.utils', which is no layer of a model"),
        (
            "keras.config",
            "enable_unsafe_deserialization",
            "of the module 'keras.config', which is no layer of a model",
        ),
        ("keras.layers", "TFSMLayer", "which reads other files"),
        ("keras.layers", "StringLookup", "which reads other files"),
        (
            "keras.layers",
            "TorchModuleWrapper",
            "and loading that would run code from the file",
        ),
        ("keras.src.saving.saving_lib", "load_model", "of the module 'keras.src.saving."),
        ("builtins", "eval", "of the module 'builtins', which is no layer of a model"),
    ],
)
def test_what_is_no_layer_is_refused(module: str, name: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    changed(path, lambda c: last_layer(c).update(module=module, class_name=name, config={}))
    assert refused(path).startswith(f"{path}: it holds {name!r}, {words}")


def test_a_module_of_the_file_s_own_choice_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, marker = tmp_path / "model.keras", tmp_path / "ran"
    (tmp_path / "trapdoor.py").write_text(f"open({str(marker)!r}, 'w').close()\nclass Head: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    named = {"module": "trapdoor", "class_name": "Head", "registered_name": "Head", "config": {}}
    changed(path, lambda c: last_layer(c).update(named))
    assert refused(path, ModelError) == (
        f"{path}: its 'Head' is not one of Keras' own, and no such class is registered; {CLASS}"
    )
    assert not marker.exists()


def test_a_function_that_is_no_activation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    function = {"class_name": "function", "module": "builtins", "config": "system"}
    changed(path, lambda c: last_layer(c)["config"].update(activation=function))
    assert refused(path) == (
        f"{path}: it holds 'function', a function that is not Keras' own; {OTHER}"
    )


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    import h5py

    other, weights = tmp_path / "other.h5", tmp_path / "model.weights.h5"
    with h5py.File(other, "w") as held:
        held["secret"] = np.zeros(3)
    with h5py.File(weights, "w") as held:
        held["layers"] = h5py.ExternalLink(str(other), "/secret")
    good, path = tmp_path / "good.keras", tmp_path / "model.keras"
    model().save(good)
    with zipfile.ZipFile(good) as held, zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", held.read("config.json"))
        made.writestr("metadata.json", held.read("metadata.json"))
        made.write(weights, "model.weights.h5")
    assert refused(path) == (
        f"{path}: its weights '//layers' point to another place or file; fullconv does not follow "
        f"them. Save the model again, with model.save('model.keras')."
    )


def test_weights_that_may_be_pickled_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("config.json", "{}")
        made.writestr("model.weights.npz", b"")
    assert refused(path) == (
        f"{path}: its weights are not in model.weights.h5, and other kinds of weights may hold "
        f"code; save the model again, with model.save('model.keras')."
    )


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_a_broken_file_is_one_line(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{ending}"
    path.write_bytes(b"not a model")
    message = refused(path, ModelError)
    assert message.startswith(f"{path} is not a Keras model, or it is cut short (")
    assert message.endswith("); save or copy it again.")


def test_weights_alone_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    model().save_weights(path)
    assert refused(path, ModelError) == (
        f"{path} holds weights alone, without the model; put its architecture beside it, as "
        f"model.json from model.to_json(), or save the whole model: model.save('model.keras')."
    )


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5", "model.weights.h5"])
def test_a_file_of_which_hdf5_finds_no_end_is_damaged(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import h5py

    from fullconv.frameworks.keras import archive, hdf5

    path = tmp_path / name
    with h5py.File(path, "w") as held:
        held.attrs["model_config"] = "{}"
    data = bytearray(path.read_bytes())
    size = data.find(b"GCOL") + 24  # of the text, in the heap that holds it
    assert data[size] == len("{}")
    data[size] = 0
    path.write_bytes(data)
    monkeypatch.setattr(hdf5, "SECONDS", 1)
    with pytest.raises(ModelError) as caught:
        archive.check_weights(path)
    assert str(caught.value) == (
        f"{path} is damaged: HDF5 does not come to its end; copy it again, or save the model "
        f"again, with model.save('model.keras')."
    )
