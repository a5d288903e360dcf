"""Mutations of the bytes of ``.onnx`` files."""

from __future__ import annotations

from random import Random

from fuzz.case import Case, Cases
from fuzz.mutating import bytes_changed
from fuzz.sound_models import onnx_files


def cases(seed: int, count: int) -> Cases:
    """Yield damaged ``.onnx`` files."""
    chance, sound = Random(seed), onnx_files()
    for number in range(count):
        name, other = (chance.choice(list(sound)) for _ in range(2))
        what, data = bytes_changed(sound[name], chance, sound[other])
        call = ("convert", "model.onnx", "-o", "out.onnx")
        yield Case(f"{number}-{name}-{what}", call, {"model.onnx": data}, judge="fuzz.exactness")
