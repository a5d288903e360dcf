"""The contents of PyTorch's archives: programs of ``torch.export``, and TorchScript.

They are read as archives of JSON and of arrays; PyTorch, which would unpickle parts of them, is not
imported. The names of fields are those of PyTorch 2.13, ``torch/_export/serde/schema.py``.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from fullconv.errors import ModelError
from fullconv.frameworks.archives import broken, check_archive
from fullconv.inspecting.contents import Dimension, ModelContents, TensorInfo, Weights
from fullconv.system.files import JSON_BYTES

METADATA_FILE = "extra/fullconv.json"

TYPES = {
    **{1: ("uint8", 1), 2: ("int8", 1), 3: ("int16", 2), 4: ("int32", 4), 5: ("int64", 8)},
    **{6: ("float16", 2), 7: ("float32", 4), 8: ("float64", 8)},
    **{9: ("complex32", 4), 10: ("complex64", 8), 11: ("complex128", 16)},
    **{12: ("bool", 1), 13: ("bfloat16", 2), 28: ("uint16", 2)},
}
"""The name and the bytes of the numbers in ``ScalarType``."""


def read_program(path: Path) -> ModelContents:
    """Read a ``.pt2`` file.

    Raises
    ------
    ModelError
        If it is none, or is damaged.
    """
    if not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path} is not a .pt2 file, or it is cut short; save the model again with "
            f"torch.export.save."
        )
    check_archive(path, str(path), "save the model again with torch.export.save", packed=1)
    with broken(path, "a .pt2 file"), zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        program = _json(archive, names["models/model.json"])
        metadata = _json(archive, names[METADATA_FILE]) if METADATA_FILE in names else {}
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("what it says beside the network is no text")
        weights = [
            stored["tensor_meta"]
            for kind in ("weights", "constants")
            if (config := names.get(f"data/{kind}/model_{kind}_config.json")) is not None
            for stored in _json(archive, config)["config"].values()
            if stored.get("tensor_meta")
        ]
        return ModelContents(
            "PyTorch (torch.export)",
            _versions(program),
            tuple(_values(program, "input_specs", "user_input")),
            tuple(_values(program, "output_specs", "user_output")),
            Counter(_kind(node["target"]) for node in _graph(program)["nodes"]),
            Weights.of(map(_tensor, weights)),
            metadata,
        )


def read_script(path: Path) -> ModelContents:
    """Read a TorchScript file: its operations are code, and are not listed.

    Raises
    ------
    ModelError
        If it is damaged.
    """
    check_archive(path, str(path), "save it again with torch.jit.save", packed=1)
    with broken(path, "a TorchScript file"), zipfile.ZipFile(path) as archive:
        sizes = [
            entry.file_size
            for entry in archive.infolist()
            if entry.filename.split("/")[1:2] in (["data"], ["constants"])
            and entry.filename.rpartition("/")[2].isdigit()
        ]
    return ModelContents("TorchScript", {}, (), (), {}, Weights(None, sum(sizes)), {})


def _json(archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(name) as entry:
        data = entry.read(JSON_BYTES + 1)
    if len(data) > JSON_BYTES:
        raise ValueError(f"{name} has more than {JSON_BYTES} bytes")
    return json.loads(data)


def _graph(program: Mapping[str, Any]) -> Any:
    return program["graph_module"]["graph"]


def _versions(program: Mapping[str, Any]) -> dict[str, str]:
    versions = {}
    if program.get("torch_version"):
        versions["by PyTorch"] = str(program["torch_version"])
    schema = program.get("schema_version")
    if schema:
        versions["schema"] = f"{schema['major']}.{schema['minor']}"
    return versions


def _values(program: Mapping[str, Any], specs: str, wanted: str) -> Iterator[TensorInfo]:
    tensors = _graph(program)["tensor_values"]
    for spec in program["graph_module"]["signature"][specs]:
        argument = spec.get(wanted, {}).get("arg", {}).get("as_tensor")
        if argument is not None:
            meta = tensors[argument["name"]]
            dtype, _ = _type(meta)
            yield TensorInfo(argument["name"], tuple(map(_size, meta["sizes"])), dtype)


def _size(size: Mapping[str, Any]) -> Dimension:
    return int(size["as_int"]) if "as_int" in size else None


def _type(meta: Mapping[str, Any]) -> tuple[str, int]:
    return TYPES.get(meta["dtype"], (f"type {meta['dtype']}", 1))


def _tensor(meta: Mapping[str, Any]) -> tuple[str, int, int]:
    dtype, itemsize = _type(meta)
    count = prod(int(size["as_int"]) for size in meta["sizes"])
    return dtype, count, count * itemsize


def _kind(target: str) -> str:
    """Return an operator's name without its overload: aten.conv2d."""
    parts = target.removeprefix("torch.ops.").split(".")
    return ".".join(parts[:2])
