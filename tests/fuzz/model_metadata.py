"""Hostile metadata: what a model file says of itself, with other types, sizes, and numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx

from fuzz import Cases
from fuzz.seeds import onnx_files

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1 << 31, 1 << 63, 10**400, 0.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), "", "text", "\x00", "NaN", "1", [], [[]], {}, {"a": 1}, [None]),
    *([1], [0, 0], [-1, -1], [1, 1, 1], ["a", "b"], [1 << 62, 1 << 62], [0.5, 0.5], ["\ud800"]),
    *([float("nan")] * 2, [[1, 2], [3, 4]], [[-9, 9], [1 << 40, 1]], [[1e9] * 7] * 7),
    *({"window": [8, 8]}, {"x": [{}]}),
)
TEXTS = (
    *(
        "",
        "{",
        "nul",
        "[" * 100_000,
        '{"a":' * 100_000,
        "1" * 5000,
        "1e999",
        "-",
        "\ufeff[]",
        "[1,]",
    ),
    *('"' + "x" * 1_000_000 + '"', "[" + "1," * 200_000 + "1]", "NaN", "[NaN, Infinity]", "\x00"),
    *('{"scale": 1, "scale": 2}', "[8, 8]x", "'[8, 8]'", "\u0661", "true", "[[[[]]]]"),
)


def _inside(value: Any, rng: np.random.Generator) -> Any:
    """Change one part of a value, at any depth."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = list(value)[int(rng.integers(len(value)))]
        kind = rng.random()
        if kind < 0.2:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.3:
            return {**value, "more": VALUES[int(rng.integers(len(VALUES)))]}
        return {**value, key: _inside(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = int(rng.integers(len(value)))
        kind = rng.random()
        if kind < 0.2:
            return value[:place] + value[place + 1 :]
        if kind < 0.3:
            return value * 3
        return [*value[:place], _inside(value[place], rng), *value[place + 1 :]]
    return VALUES[int(rng.integers(len(VALUES)))]


def _text(held: str, rng: np.random.Generator) -> str:
    if rng.random() < 0.25:
        return TEXTS[int(rng.integers(len(TEXTS)))]
    try:
        value = json.loads(held)
    except ValueError:
        value = held
    return json.dumps(_inside(value, rng))


def changed(model: onnx.ModelProto, rng: np.random.Generator) -> str:
    """Change one entry or two; return their names."""
    names = []
    for _ in range(int(rng.integers(1, 3))):
        entries = model.metadata_props
        if not entries:
            break
        entry = entries[int(rng.integers(len(entries)))]
        names.append(entry.key.partition(".")[2] or "other")
        kind = rng.random()
        if kind < 0.08:
            entries.remove(entry)
        elif kind < 0.12:
            entries.add(key=entry.key, value=entry.value)
        else:
            text = _text(entry.value, rng)
            entry.value = text.encode("utf-8", "replace").decode()
    return "-".join(names)


def cases(seed: int, count: int = 200) -> Cases:
    """Yield converted models and classifiers with odd metadata, to be explained and scanned with.

    Every folder of the cases needs an image ``image.png``, larger than the window.
    """
    rng = np.random.default_rng(seed)
    files = onnx_files()
    converted = onnx.load_from_string(files["converted"])
    stored = {entry.key: entry.value for entry in converted.metadata_props}
    settings = ("fullconv.window", "fullconv.classes", "fullconv.preprocessing")
    for number in range(count):
        whole = rng.random() < 0.6
        if whole:
            model = onnx.load_from_string(files["converted"])
        else:
            model = onnx.load_from_string(files["plain"])
            for key in settings:
                model.metadata_props.add(key=key, value=stored[key])
            model.metadata_props.add(key="fullconv.background", value="background")
        names = changed(model, rng)
        file = f"{seed}-{number:04}-{'converted' if whole else 'plain'}-{names}.onnx"
        verb = ["detect", file, "image.png", "-o", "boxes.json"]
        if rng.random() < 0.3:
            verb = ["scan", file, "image.png", "-o", "heat.zarr"]
        elif not whole and rng.random() < 0.6:
            verb = ["convert", file, "-o", "out.onnx"]
        yield file, model.SerializeToString(), verb
