"""Command lines of every command, of options and values that make sense, or none."""

from __future__ import annotations

import io
import json
from functools import cache
from random import Random
from typing import Any

import click
from PIL import Image

from fullconv.cli.group import commands
from fuzz.case import Case, Cases, Files
from fuzz.mutating import json_changed
from fuzz.scenes import model_and_image, pixels

SERVES = ("view",)
"""Commands that do not end by themselves."""

LASTS = ("demo", "train", "bench")
"""Commands that take seconds, and so come less often."""

LEFT_OUT = ("help", "version", "train")
"""Options that do nothing of what a command is for, or take minutes (``demo --train``)."""

WORDS = (
    *("", " ", "-", "--", "0", "1", "-1", "2", "7", "64", "0.5", "1e-9", "1e400", "1e-400", "nan"),
    *("inf", "-inf", "x", "9" * 30, "9" * 5000, "9" * 400 + "GB", "1e9GB", "0MB", "1KB", "100TB"),
    *("12x9", "0x0", "1x1", "-1x4", "4x", "x16", "16x16x16", "4096x4097", "9" * 20 + "x1"),
    *("1,2", "1,,2", ",", "a,b", "0.1,nan", "nan,nan,nan", "0,0,nan,1", "1" + ",1" * 5000),
    *("auto", "cpu", "cuda", "cuda:99", "f32", "int8", "ü", "é\u2028", "\udce9", "a\nb", "a" * 300),
    *("'", '"', "%s", "{}", "$(ls)", "~", "[", "[!", "*", "**", "none.png", "../x", "/", ".", ".."),
    *("s3://b/k", "file:///etc/passwd", "C:\\x", "a:b", "/dev/full", "/dev/stdin"),
    "/proc/self/mem",
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
        "patch_size_pixels": 16,
        "spacing_um_px": 0.5,
        "transform": [{"name": "ToTensor"}],
    }
    crops = {f"crops/{'ab'[n % 2]}/{n}.png": _png(16, 16, n) for n in range(12)}
    return {
        **model_and_image(),
        **crops,
        "image.png": _png(30, 26),
        "config.json": json.dumps(config).encode(),
        "list.txt": b"image.png\nmissing.png\n",
        "notes.txt": b"nothing\n",
        "empty": b"",
    }


def _png(height: int, width: int, lighter: int = 0) -> bytes:
    made = io.BytesIO()
    Image.fromarray(pixels(height, width) // 2 + lighter).save(made, "PNG")
    return made.getvalue()


def cases(seed: int, count: int) -> Cases:
    """Yield command lines, with what they name."""
    chance, context = Random(seed), click.Context(commands)
    verbs = [verb for verb in commands.list_commands(context) if verb not in SERVES]
    weights = [0.2 if verb in LASTS else 1.0 for verb in verbs]
    for number in range(count):
        verb = chance.choices(verbs, weights)[0]
        command = commands.get_command(context, verb)
        assert command is not None
        files = dict(scene())
        if chance.random() < 0.15:
            files["config.json"] = json_changed(files["config.json"], chance)
        yield Case(f"{number}-{verb}", (verb, *_arguments(command, chance)), files)


def _arguments(command: click.Command, chance: Random) -> list[str]:
    """Return what is mostly a right call, with some options more, and now and then a wrong word."""
    call = []
    # Of half of the calls nothing is wrong but one word.
    wild = chance.choice((0.0, 0.3))
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            if parameter.required or chance.random() < 0.7:
                call.append(_usual(parameter.name or "", chance, wild / 2))
        elif isinstance(parameter, click.Option):
            most = 0.98 if parameter.required else 0.12
            if chance.random() < most and parameter.name not in LEFT_OUT:
                call += _option(parameter, chance, wild)
    if command.name == "train":
        call += ["--epochs", "1"]
    if chance.random() < 0.2 or not wild:
        _mistake(call, chance)
    return call


def _mistake(call: list[str], chance: Random) -> None:
    """Change, lose, add or move a word."""
    if not call:
        return
    at, draw = chance.randrange(len(call)), chance.random()
    if draw < 0.7:
        call[at] = chance.choice(WORDS)
    elif draw < 0.8:
        del call[at]
    elif draw < 0.9:
        call.insert(at, chance.choice(WORDS))
    else:
        chance.shuffle(call)


def _usual(name: str, chance: Random, wild: float) -> str:
    """Return what an argument of this name is about, mostly."""
    if chance.random() < wild:
        return chance.choice((*FILES, *WORDS))
    usual = {"model": ("model.onnx",), "crops": ("crops",)}
    return chance.choice(usual.get(name, ("image.tif", "image.png")))


def _option(option: click.Option, chance: Random, wild: float) -> list[str]:
    flag = chance.choice([*option.opts, *option.secondary_opts])
    if option.is_flag or option.count:
        return [flag]
    return [flag, _value(option, chance, wild)]


def _value(option: click.Option, chance: Random, wild: float) -> str:
    kind: Any = option.type
    if chance.random() < wild:
        return chance.choice(WORDS)
    if isinstance(kind, click.Choice):
        return str(chance.choice(list(kind.choices)))
    if isinstance(kind, click.Path):
        if option.required or option.name in ("output", "overlay"):
            return f"out{chance.choice(ENDINGS)}"
        return chance.choice(FILES)
    if isinstance(kind, click.types.IntParamType):
        return str(chance.choice((0, 1, 2, 5, 64, 100_000)))
    return chance.choice(WORDS)
