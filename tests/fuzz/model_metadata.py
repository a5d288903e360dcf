"""What a model file says of itself, with other types, sizes and numbers."""

from __future__ import annotations

import io
import json
from functools import cache
from random import Random

import numpy as np
import onnx
from PIL import Image

from fuzz.case import Case, Cases
from fuzz.mutating import value_changed
from fuzz.sound_models import onnx_files

TEXTS = (
    *("", "{", "nul", "-", "true", "NaN", "1e999", "\0", "\u0661", "\ufeff[]", "[1,]", "[[[[]]]]"),
    *("[8, 8]x", "'[8, 8]'", "[NaN, Infinity]", '{"scale": 1, "scale": 2}', "1" * 5000),
    *("[" * 100_000, '{"a":' * 100_000, '"' + "x" * 1_000_000 + '"', "[" + "1," * 200_000 + "1]"),
)

SETTINGS = ("fullconv.window", "fullconv.classes", "fullconv.preprocessing")
"""What may also stand in a classifier that is not converted yet."""


def cases(seed: int, count: int) -> Cases:
    """Yield converted models and classifiers with odd metadata, to be used."""
    chance, sound = Random(seed), onnx_files()
    converted = onnx.load_from_string(sound["converted"])
    stored = {entry.key: entry.value for entry in converted.metadata_props}
    for number in range(count):
        whole = chance.random() < 0.6
        model = onnx.load_from_string(sound["converted" if whole else "plain"])
        if not whole:
            for key in SETTINGS:
                model.metadata_props.add(key=key, value=stored[key])
            model.metadata_props.add(key="fullconv.background", value="background")
        names = _change(model, chance)
        scanned = ("model.onnx", "image.png", "--image-um-per-pixel", "0.5", "-o")
        call: tuple[str, ...] = ("detect", *scanned, "boxes.json")
        if chance.random() < 0.3:
            call = ("scan", *scanned, "heat.zarr")
        elif not whole and chance.random() < 0.6:
            call = ("convert", "model.onnx", "-o", "out.onnx")
        files = {"model.onnx": model.SerializeToString(), "image.png": _image()}
        yield Case(f"{number}-{'converted' if whole else 'plain'}-{names}", call, files)


@cache
def _image() -> bytes:
    """Return an image of two channels, larger than the window."""
    made = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 36, 2), np.uint8)
    Image.fromarray(pixels, "LA").save(made, "PNG")
    return made.getvalue()


def _change(model: onnx.ModelProto, chance: Random) -> str:
    """Change one entry or two; return their names."""
    names, entries = [], model.metadata_props
    for _ in range(min(chance.randint(1, 2), len(entries))):
        entry = chance.choice(entries)
        names.append(entry.key.partition(".")[2] or "other")
        draw = chance.random()
        if draw < 0.08:
            entries.remove(entry)
        elif draw < 0.12:
            entries.add(key=entry.key, value=entry.value)
        else:
            entry.value = _text(entry.value, chance).encode("utf-8", "replace").decode()
    return "-".join(names)


def _text(held: str, chance: Random) -> str:
    if chance.random() < 0.25:
        return chance.choice(TEXTS)
    try:
        value = json.loads(held)
    except (ValueError, RecursionError):  # it was changed before
        value = held
    return json.dumps(value_changed(value, chance))
