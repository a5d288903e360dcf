"""Damaged images of every kind that is read, to be scanned and to be found objects in."""

from __future__ import annotations

from random import Random

from fuzz.case import Case, Cases
from fuzz.mutating import bytes_changed, json_changed, text_changed
from fuzz.scenes import classifier
from fuzz.sound_images import sound_images


def cases(seed: int, count: int) -> Cases:
    """Yield damaged images, of one kind after the other."""
    chance, kinds = Random(seed), list(sound_images())
    for number in range(count):
        kind = kinds[number % len(kinds)]
        files = dict(sound_images()[kind])
        name = chance.choice(list(files))
        what, files[name] = _changed(name, files[name], chance)
        image = next(iter(files)).split("/")[0]
        call: tuple[str, ...] = ("scan", "model.onnx", image, "-o", "heat.zarr", "--check", "4")
        if chance.random() < 0.2:
            call = ("detect", "model.onnx", image, "-o", "boxes.csv", "--step", "8")
        yield Case(f"{number}-{kind}-{what}", call, {**files, "model.onnx": classifier()})


def _changed(name: str, data: bytes, chance: Random) -> tuple[str, bytes]:
    is_json = name.endswith((".json", ".zarray", ".zattrs", ".zgroup"))
    is_text = is_json or name.endswith((".vrt", ".hdr", ".asc", ".xml"))
    draw = chance.random()
    if is_json and draw < 0.8:
        return "json", json_changed(data, chance)
    if (is_text and draw < 0.9) or (b"<OME" in data and draw < 0.5):
        return "text", text_changed(data, chance)
    return bytes_changed(data, chance)
