"""Mutations of ``.pt2``, TorchScript, pickled and safetensors weights, ``.keras`` and ``.h5``.

Bytes are changed in the file as it lies, and in the entries of an archive, which is then put
together again, so that its checksums are right.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from fuzz import Cases
from fuzz.bytes_of import mutated
from fuzz.model_metadata import _inside
from fuzz.seeds import WINDOW, keras_files, torch_files

SIZE = f"{WINDOW[1]}x{WINDOW[0]}"


def _rezipped(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Change one entry of an archive, by its bytes or, of JSON, by its values."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as held, zipfile.ZipFile(made, "w") as new:
        entries = held.namelist()
        small = [name for name in entries if held.getinfo(name).file_size]
        chosen = small[int(rng.integers(len(small)))]
        kind = "lose"
        for name in entries:
            content = held.read(name)
            if name == chosen:
                if rng.random() < 0.08:
                    continue
                kind, content = _entry(content, rng)
            new.writestr(name, content)
    return f"{kind}-{chosen.rpartition('/')[2]}", made.getvalue()


def _entry(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    try:
        value: Any = json.loads(content)
    except ValueError:
        value = None
    if isinstance(value, dict | list) and rng.random() < 0.7:
        return "json", json.dumps(_inside(value, rng)).encode()
    return mutated(content, rng)


def _cases(files: Mapping[str, bytes], seed: int, count: int) -> Cases:
    rng = np.random.default_rng(seed)
    for number in range(count):
        name = list(files)[int(rng.integers(len(files)))]
        data = files[name]
        if zipfile.is_zipfile(io.BytesIO(data)) and rng.random() < 0.6:
            what, data = _rezipped(data, rng)
        else:
            what, data = mutated(data, rng)
        stem, _, ending = name.rpartition(".")
        file = f"{seed}-{number:04}-{what}-{stem}.{ending}"
        given = [file, "--window", SIZE]
        if stem == "state":
            given = ["fuzz.seeds:_network", "--weights", file, "--window", SIZE]
        yield file, data, ["explain", *given]


def torch_cases(seed: int, count: int = 150) -> Cases:
    """Yield damaged files of PyTorch."""
    return _cases(torch_files(), seed, count)


def keras_cases(seed: int, count: int = 100) -> Cases:
    """Yield damaged files of Keras."""
    return _cases(keras_files(), seed, count)


def cases(seed: int, count: int = 200) -> Cases:
    """Yield damaged files of PyTorch and Keras, half of each."""
    yield from torch_cases(seed, count // 2)
    yield from keras_cases(seed, count - count // 2)
