"""Command lines of every command, of options and values that make sense, or none."""

from __future__ import annotations

import io
import json
from functools import cache
from typing import Any

import click
import numpy as np
from PIL import Image

from fullconv.cli.group import commands
from fuzz import Cases
from fuzz.scenes import Files, model_and_image
from fuzz.values_of import changed
from scans import picture

SERVES = ("view",)
"""Commands that do not end by themselves."""

LEFT_OUT = ("help", "version", "train")
"""Options that do nothing of what a command is for, or take minutes (``demo --train``)."""

WORDS = (
    *("", " ", "-", "--", "0", "1", "-1", "2", "7", "64", "0.5", "1e-9", "1e400", "nan", "inf"),
    *("9" * 30, "12x9", "9x12", "0x0", "-1x4", "4x", "x", "1,2", "1,,2", ",", "a,b", "0.1,nan"),
    *("auto", "cpu", "cuda", "cuda:99", "f32", "int8", "ü", "\u2028", "a\nb", "'", '"', "%s", "{}"),
    *("../x", "/", ".", "..", "~", "*", "[", "s3://b/k", "file:///x", "C:\\x", "a:b"),
)
FILES = (
    *("model.onnx", "image.tif", "image.png", "config.json", "crops", "list.txt", "missing", "."),
    *("notes.txt", "/dev/null", "/dev/zero", "empty", "*.png", "model.onnx/x", "package.module:f"),
)
ENDINGS = (".zarr", ".tif", ".csv", ".json", ".geojson", ".onnx", ".pt2", ".png", "", ".txt")


@cache
def scene() -> Files:
    """Return files that the command lines name."""
    config = {
        "spec_version": "1.0",
        "architecture": "small",
        "num_classes": 2,
        "class_names": ["a", "b"],
        "patch_size_pixels": 12,
        "spacing_um_px": 0.5,
        "transform": [{"name": "ToTensor"}],
    }
    files = dict(model_and_image())
    files["image.png"] = _png(30, 26, 0)
    for number in range(12):
        files[f"crops/{'ab'[number % 2]}/{number}.png"] = _png(16, 16, number)
    files["config.json"] = json.dumps(config).encode()
    files["list.txt"] = b"image.png\nmissing.png\n"
    files["notes.txt"], files["empty"] = b"nothing\n", b""
    return files


def _png(height: int, width: int, seed: int) -> bytes:
    made = io.BytesIO()
    Image.fromarray(picture(height, width, seed)).save(made, "PNG")
    return made.getvalue()


def cases(seed: int, count: int = 300) -> Cases:
    """Yield command lines, with what they name."""
    rng = np.random.default_rng(seed)
    context = click.Context(commands)
    verbs = [name for name in commands.list_commands(context) if name not in SERVES]
    # Those that take seconds come less often.
    weights = np.array([0.2 if name in ("demo", "train", "bench") else 1.0 for name in verbs])
    for number in range(count):
        name = str(rng.choice(verbs, p=weights / weights.sum()))
        command = commands.get_command(context, name)
        assert command is not None
        files = dict(scene())
        if rng.random() < 0.15:
            files["config.json"] = changed(files["config.json"], rng)
        yield f"{seed}-{number:04}-{name}", files, [name, *_arguments(command, rng)]


def _arguments(command: click.Command, rng: np.random.Generator) -> list[str]:
    """Return what is mostly a right call, with some options more, and now and then a wrong word."""
    call = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            if parameter.required or rng.random() < 0.7:
                call.append(_usual(parameter.name or "", rng))
        elif isinstance(parameter, click.Option):
            most = 0.95 if parameter.required else 0.12
            if rng.random() < most and parameter.name not in LEFT_OUT:
                call += _option(parameter, rng)
    if command.name == "train":
        call += ["--epochs", "1"]
    if rng.random() < 0.1:
        call.insert(int(rng.integers(len(call) + 1)), str(rng.choice(WORDS)))
    return call


def _usual(name: str, rng: np.random.Generator) -> str:
    """Return what an argument of this name is about, mostly."""
    if rng.random() < 0.15:
        return str(rng.choice([*FILES, *WORDS]))
    usual = {"model": ["model.onnx"], "crops": ["crops"]}
    return str(rng.choice(usual.get(name, ["image.tif", "image.png"])))


def _option(option: click.Option, rng: np.random.Generator) -> list[str]:
    flag = str(rng.choice([*option.opts, *option.secondary_opts]))
    if option.is_flag or option.count:
        return [flag]
    return [flag, _value(option, rng)]


def _value(option: click.Option, rng: np.random.Generator) -> str:
    kind: Any = option.type
    if rng.random() < 0.3:
        return str(rng.choice(WORDS))
    if isinstance(kind, click.Choice):
        return str(rng.choice(list(kind.choices)))
    if isinstance(kind, click.Path):
        if option.required or option.name in ("output", "overlay"):
            return f"out{rng.choice(ENDINGS)}"
        return str(rng.choice(FILES))
    if isinstance(kind, click.types.IntParamType):
        return str(rng.choice([0, 1, 2, 5, 64, 100_000]))
    return str(rng.choice(WORDS))
