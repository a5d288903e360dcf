"""The contents of Keras' files: layers from their configuration, weights from HDF5, without Keras.

Arrays are not read, nor links to other files followed.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from fullconv.errors import ModelError
from fullconv.frameworks.archives import broken, check_archive
from fullconv.frameworks.keras.hdf5 import WEIGHTS_FILE, check_ends
from fullconv.inspecting.contents import ModelContents, TensorInfo, Weights
from fullconv.system.files import json_of

METADATA_FILE = "fullconv.json"
CONFIG_FILE = "config.json"
VERSION_FILE = "metadata.json"


def read_keras(path: Path) -> ModelContents:
    """Read a ``.keras``, ``.h5`` or ``.hdf5`` file, or the ``.json`` of an architecture.

    Raises
    ------
    ModelError
        If it is none, is damaged, or is HDF5 and the package for that is not installed.
    """
    if path.suffix.lower() == ".keras":
        return _read_archive(path)
    if path.suffix.lower() == ".json":
        config = json_of(path)
        if config is None or "config" not in config:
            raise ModelError(
                f"{path} holds no architecture of Keras; write it with model.to_json()."
            )
        return _contents(config, config.get("keras_version"), None, {})
    return _read_hdf5(path)


def _read_archive(path: Path) -> ModelContents:
    if zipfile.is_zipfile(path):
        check_archive(path, str(path), "save it again, with model.save('model.keras')")
    with broken(path, "a Keras model"), ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        names = archive.namelist()
        config = json.loads(archive.read(CONFIG_FILE))
        version = json.loads(archive.read(VERSION_FILE)) if VERSION_FILE in names else {}
        metadata = json.loads(archive.read(METADATA_FILE)) if METADATA_FILE in names else {}
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("what it says beside the network is no text")
        weights = None
        if WEIGHTS_FILE in names and find_spec("h5py"):
            import h5py

            check_ends(path)
            entry = stack.enter_context(archive.open(WEIGHTS_FILE))
            weights = _weights(stack.enter_context(h5py.File(entry, "r")))
        return _contents(config, version.get("keras_version"), weights, metadata)


def _read_hdf5(path: Path) -> ModelContents:
    if not find_spec("h5py"):
        raise ModelError(
            f"inspect {path}: an HDF5 file is read by h5py, which is not installed; pip install "
            f"'fullconv[keras]'."
        )
    import h5py

    with broken(path, "an HDF5 file"):
        check_ends(path)
        with h5py.File(path, "r") as file:
            text = file.attrs.get("model_config")
            config = {} if text is None else json.loads(text)
            version = file.attrs.get("keras_version")
            if isinstance(version, bytes):
                version = version.decode()
            return _contents(config, version, _weights(file), {})


def _contents(
    config: Any, version: Any, weights: Weights | None, metadata: dict[str, str]
) -> ModelContents:
    layers = list(_layers(config))
    inputs = [layer for layer in layers if layer["class_name"] == "InputLayer"]
    shapes = [shape for layer in inputs or layers[:1] if (shape := _given(layer)) is not None]
    return ModelContents(
        "Keras" if layers else "HDF5, weights without an architecture",
        {"by Keras": str(version)} if version else {},
        tuple(shapes),
        (),
        Counter(str(layer["class_name"]) for layer in layers),
        weights,
        metadata,
    )


def _layers(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every layer that holds no others, at any depth."""
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner.get("layers") if isinstance(inner, dict) else inner
    for layer in layers if isinstance(layers, list) else ():
        if not isinstance(layer, dict) or "class_name" not in layer:
            continue
        below = list(_layers(layer))
        yield from below or [layer]


def _given(layer: dict[str, Any]) -> TensorInfo | None:
    """Return what a layer says of the images that it is given."""
    config = layer.get("config")
    if not isinstance(config, dict):
        return None
    sizes = config.get("batch_shape") or config.get("batch_input_shape")
    if not isinstance(sizes, list):
        return None
    shape = tuple(size if isinstance(size, int) else None for size in sizes)
    dtype = config.get("dtype")
    name = config.get("name") or layer.get("name") or "input"
    return TensorInfo(str(name), shape, dtype if isinstance(dtype, str) else "")


def _weights(file: Any) -> Weights:
    """Add up the arrays of a file, but for those of an optimizer."""
    import h5py

    arrays: list[tuple[str, int, int]] = []

    def note(name: str, value: Any) -> None:
        if isinstance(value, h5py.Dataset) and "optimizer" not in name.split("/")[0]:
            count = prod(value.shape or ())
            arrays.append((value.dtype.name, count, count * value.dtype.itemsize))

    file.visititems(note)
    return Weights.of(arrays)
