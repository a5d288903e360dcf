"""Model files of PyTorch and Keras that claim what they do not hold, or run code.

Not mutations: each is made by hand, and the seed changes nothing. Every one must be refused.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from fuzz.archives import dated, explained
from fuzz.case import Case, Cases
from fuzz.sound_archives import keras_files, torch_files

Change = Callable[[str, bytes], bytes]
GIGABYTES = 3 << 30


class Evil:
    """A pickle of this makes the folder ``RAN`` when it is loaded."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("RAN",)


def repacked(
    data: bytes,
    change: Change,
    packing: int = zipfile.ZIP_STORED,
    more: dict[str, bytes] | None = None,
) -> bytes:
    """Return an archive with changed entries, whose checksums are right."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as held, zipfile.ZipFile(made, "w", packing) as new:
        for name in held.namelist():
            new.writestr(dated(name, packing), change(name, held.read(name)))
        for name, content in (more or {}).items():
            new.writestr(dated(name, packing), content)
    return made.getvalue()


def bomb(data: bytes, ending: str) -> bytes:
    """Return an archive of which one entry unpacks to gigabytes."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as held,
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new,
    ):
        for name in held.namelist():
            if not name.endswith(ending):
                new.writestr(dated(name), held.read(name))
                continue
            with new.open(dated(name, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as entry:
                for _ in range(80):
                    entry.write(bytes(1 << 20))
    # It may say that it is larger still.
    return made.getvalue()


def flipped(data: bytes, ending: str) -> bytes:
    """Return an archive with one bit of an entry changed, and its checksum not."""
    with zipfile.ZipFile(io.BytesIO(data)) as held:
        name = next(n for n in held.namelist() if n.endswith(ending))
        content = held.read(name)
    changed = bytearray(data)
    changed[data.index(content[:200]) + 100] ^= 1
    return bytes(changed)


def twice(data: bytes, ending: str) -> bytes:
    """Return an archive with two entries of one name, of which readers take either."""
    import warnings

    with zipfile.ZipFile(io.BytesIO(data)) as held:
        name = next(n for n in held.namelist() if n.endswith(ending))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return repacked(data, lambda _, content: content, more={name: b"other"})


def nested(name: str, content: bytes) -> bytes:
    return b"[" * 200_000 if name.endswith("config.json") else content


def with_config(change: Callable[[Any], None]) -> bytes:
    """Return a ``.keras`` file with a changed configuration."""

    def changed(name: str, content: bytes) -> bytes:
        if not name.endswith("config.json"):
            return content
        config = json.loads(content)
        change(config)
        return json.dumps(config).encode()

    return repacked(keras_files()["model.keras"], changed)


def many_units(config: Any) -> None:
    config["config"]["layers"][-1]["config"]["units"] = 5_000_000


def many_filters(config: Any) -> None:
    config["config"]["layers"][1]["config"].update(filters=1 << 20, kernel_size=[64, 64])


def code_in_a_lambda(config: Any) -> None:
    config["config"]["layers"][-1] = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {
            "name": "l",
            "function": {"class_name": "__lambda__", "config": {"code": "4w=="}},
        },
    }


def module_of_another(config: Any) -> None:
    config["config"]["layers"][-1].update(module="os", class_name="system")


def hdf5(write: Callable[[Any], None], model: str = "") -> bytes:
    """Return an HDF5 file with what is written to it, and the configuration of a model."""
    import h5py

    held = io.BytesIO(keras_files()["model.h5"])
    with h5py.File(held, "a") as file:
        write(file)
    return held.getvalue()


def unwritten(file: Any) -> None:
    file.create_dataset("model_weights/huge", (1 << 40,), "f4", chunks=(1 << 20,))


def packed_zeros(file: Any) -> None:
    file.create_dataset("model_weights/huge", data=np.zeros(1 << 25, "f8"), compression="gzip")


def circle(file: Any) -> None:
    file["model_weights/circle"] = file["model_weights"]


def ladder(file: Any) -> None:
    """Link every group twice to the next: two to the sixtieth ways to the last."""
    group = file.create_group("model_weights/g0")
    for number in range(1, 60):
        below = file.create_group(f"model_weights/g{number}")
        group["a"] = group["b"] = below
        group = below


def elsewhere(file: Any) -> None:
    import h5py

    file["model_weights/link"] = h5py.ExternalLink("/etc/passwd", "/")


def outside(file: Any) -> None:
    file.create_dataset("model_weights/raw", (10,), "f4", external=[("/dev/zero", 0, 40)])


def safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def files() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield the name and maker of every file."""
    torch, keras = torch_files, keras_files
    yield "bomb.pt2", lambda: bomb(torch()["program.pt2"], "model.json")
    yield "bomb.pt", lambda: bomb(torch()["script.pt"], "constants.pkl")
    yield "bomb.keras", lambda: bomb(keras()["model.keras"], "config.json")
    yield "bomb_state.pt", lambda: bomb(torch()["state.pt"], "data.pkl")
    yield "flipped.pt2", lambda: flipped(torch()["program.pt2"], "weight_0")
    yield "flipped.pt", lambda: flipped(torch()["script.pt"], "data/0")
    yield "flipped.keras", lambda: flipped(keras()["model.keras"], "weights.h5")
    yield "flipped_state.pt", lambda: flipped(torch()["state.pt"], "data/0")
    yield "twice.pt2", lambda: twice(torch()["program.pt2"], "model.json")
    yield "twice.pt", lambda: twice(torch()["script.pt"], "constants.pkl")
    yield "twice.keras", lambda: twice(keras()["model.keras"], "config.json")
    yield "nested.keras", lambda: repacked(keras()["model.keras"], nested)
    yield "units.keras", lambda: with_config(many_units)
    yield "filters.keras", lambda: with_config(many_filters)
    yield "lambda.keras", lambda: with_config(code_in_a_lambda)
    yield "module.keras", lambda: with_config(module_of_another)
    for write in (unwritten, packed_zeros, circle, ladder, elsewhere, outside):
        yield f"{write.__name__}.h5", lambda w=write: hdf5(w)
    for ending in ("pt2", "pt", "pth", "pkl", "ckpt", "onnx", "keras", "h5"):
        yield f"pickle.{ending}", lambda: pickle.dumps(Evil())
    yield "long.safetensors", lambda: struct.pack("<Q", 1 << 60) + b"{}"
    yield "nested.safetensors", lambda: safetensors(b"[" * 100_000)
    huge = {"0.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    yield "huge.safetensors", lambda: safetensors(huge)
    over = {"0.weight": {"dtype": "F32", "shape": [1 << 62, 8], "data_offsets": [0, 4]}}
    yield "overflow.safetensors", lambda: safetensors(over, bytes(4))
    for ending in ("pt2", "pt", "onnx", "keras", "h5"):
        yield f"empty.{ending}", lambda: b""


def cases(seed: int, count: int) -> Cases:
    """Yield every one of these files, whatever the seed."""
    for name, make in islice(files(), count):
        yield Case(name, explained(name), {name: make()})
