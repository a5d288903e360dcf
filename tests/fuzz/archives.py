"""Mutations of ``.pt2``, TorchScript, pickled and safetensors weights, ``.keras`` and ``.h5``.

Bytes are changed in the file as it lies, and in the entries of an archive, which is then put
together again, so that its checksums are right.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from random import Random

from fuzz.case import Case, Cases
from fuzz.mutating import bytes_changed, json_changed
from fuzz.sound_archives import WINDOW, keras_files, torch_files

SIZE = f"{WINDOW[1]}x{WINDOW[0]}"


def cases(seed: int, count: int) -> Cases:
    """Yield damaged files of PyTorch and Keras, of one kind after the other."""
    chance, sound = Random(seed), {**torch_files(), **keras_files()}
    for number in range(count):
        name = list(sound)[number % len(sound)]
        yield _case(f"{number}-{name}", name, sound, chance)


def _case(title: str, name: str, sound: Mapping[str, bytes], chance: Random) -> Case:
    if zipfile.is_zipfile(io.BytesIO(sound[name])) and chance.random() < 0.6:
        what, data = _rezipped(sound[name], chance)
    else:
        what, data = bytes_changed(sound[name], chance)
    return Case(f"{title}-{what}", explained(name), {name: data})


def explained(name: str) -> tuple[str, ...]:
    """Return the call that reads a model of this name, or weights."""
    window = ("--window", SIZE)
    if name.endswith(".safetensors") or "state" in name:
        return ("explain", "fuzz.sound_archives:network", "--weights", name, *window)
    return ("explain", name, *window)


def _rezipped(data: bytes, chance: Random) -> tuple[str, bytes]:
    """Change one entry of an archive, by its bytes or, of JSON, by its values."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as held, zipfile.ZipFile(made, "w") as new:
        entries = held.namelist()
        chosen = chance.choice([name for name in entries if held.getinfo(name).file_size])
        what = "lose"
        for name in entries:
            content = held.read(name)
            if name == chosen:
                if chance.random() < 0.08:
                    continue
                what, content = _entry(content, chance)
            new.writestr(dated(name), content)
    return f"{what} of {chosen.rpartition('/')[2]}", made.getvalue()


def _entry(content: bytes, chance: Random) -> tuple[str, bytes]:
    if chance.random() < 0.7:
        try:
            is_nested = isinstance(json.loads(content), dict | list)
        except ValueError:
            is_nested = False
        if is_nested:
            return "json", json_changed(content, chance)
    return bytes_changed(content, chance)


def dated(name: str, packing: int = zipfile.ZIP_STORED) -> zipfile.ZipInfo:
    """Return an entry of an archive that is the same at all times."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = packing
    return entry
