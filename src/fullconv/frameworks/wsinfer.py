"""The ``config.json`` that WSInfer keeps beside every model of its zoo.

Source: the zoo's own schema, ``model-config.schema.json``, specification 1.0. WSInfer cuts patches
of ``patch_size_pixels`` at ``spacing_um_px``, and its transforms resize each to the input of the
network. Here the image is resized once instead: the window is the resized patch, and the resolution
is as much coarser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from sys import float_info
from typing import Any

from fullconv.errors import InputError, first_line
from fullconv.geometry.grid import HeightWidth
from fullconv.preprocessing import Preprocessing

TRANSFORMS = {"Resize": {"size"}, "ToTensor": set(), "Normalize": {"mean", "std"}}
"""The supported transforms with their arguments, in the only order that makes sense."""


@dataclass(frozen=True)
class WsinferConfig:
    """The WSInfer configuration of a model.

    Attributes
    ----------
    architecture : str
        The network's name in timm.
    classes : tuple of str
        Class names, in the order of the scores.
    window : (int, int)
        Height and width of the network's input, in pixels.
    preprocessing : Preprocessing
        Scale, mean, std, and the resolution of the window.
    """

    architecture: str
    classes: tuple[str, ...]
    window: HeightWidth
    preprocessing: Preprocessing


def read_wsinfer(path: str | Path) -> WsinferConfig:
    """Read a WSInfer ``config.json``.

    Raises
    ------
    InputError
        If the file is missing or no such configuration, or asks for a transform that fullconv does
        not know.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not JSON ({first_line(error)}); give the config.json of a WSInfer model."
        ) from None
    try:
        return _read(_Fields("", entries))
    except _WrongError as wrong:
        raise InputError(
            f"{path}: {wrong}; give the config.json of a WSInfer model, or --scale, --mean, --std "
            f"and --um-per-pixel."
        ) from None


class _WrongError(Exception):
    """A short reason; `read_wsinfer` says where."""


class _Fields:
    """The fields of one JSON object, each checked when it is asked for."""

    def __init__(self, name: str, entries: Any) -> None:
        if not isinstance(entries, Mapping):
            raise _WrongError(f"expected an object{name and ' in '}{name}, got {_shown(entries)}")
        self.name = name
        self.entries = entries

    def get(self, key: str) -> Any:
        if key not in self.entries:
            raise _WrongError(f"{key!r} is missing{self.name and ' in '}{self.name}")
        return self.entries[key]

    def text(self, key: str) -> str:
        value = self.get(key)
        if not isinstance(value, str):
            raise _WrongError(f"expected text in {key!r}, got {_shown(value)}")
        return value

    def number(self, key: str) -> float:
        value = self.get(key)
        if not _is_number(value) or value <= 0:
            raise _WrongError(f"expected a number above 0 in {key!r}, got {_shown(value)}")
        return float(value)

    def count(self, key: str) -> int:
        value = self.number(key)
        if value != int(value):
            shown = _shown(self.entries[key])
            raise _WrongError(f"expected a whole number in {key!r}, got {shown}")
        return int(value)

    def list_of(self, key: str, kind: str) -> list[Any]:
        value = self.get(key)
        fits = _is_number if kind == "numbers" else lambda item: isinstance(item, str)
        if not isinstance(value, list) or not value or not all(map(fits, value)):
            raise _WrongError(f"expected a list of {kind} in {key!r}, got {_shown(value)}")
        return value


def _read(fields: _Fields) -> WsinferConfig:
    version = fields.entries.get("spec_version", "1.0")
    if version != "1.0":
        raise _WrongError(f"expected 'spec_version' 1.0, got {_shown(version)}")
    classes = fields.list_of("class_names", "names")
    if len(classes) != fields.count("num_classes") or len(set(classes)) < len(classes):
        raise _WrongError(
            f"expected {fields.entries['num_classes']} different names in 'class_names', got "
            f"{_shown(classes)}"
        )
    patch, spacing = fields.count("patch_size_pixels"), fields.number("spacing_um_px")
    steps = _transforms(fields.get("transform"))
    size = _size(steps["Resize"]) if "Resize" in steps else patch
    mean, std = [0.0], [1.0]
    if "Normalize" in steps:
        mean = steps["Normalize"].list_of("mean", "numbers")
        std = steps["Normalize"].list_of("std", "numbers")
    return WsinferConfig(
        fields.text("architecture"),
        tuple(classes),
        (size, size),
        Preprocessing(
            1 / 255,  # what ToTensor does
            tuple(map(float, mean)),
            tuple(map(float, std)),
            um_per_pixel=spacing * patch / size,
        ),
    )


def _transforms(listed: Any) -> dict[str, _Fields]:
    """Return the arguments of each transform, by name."""
    if not isinstance(listed, list):
        raise _WrongError(f"expected a list in 'transform', got {_shown(listed)}")
    steps: dict[str, _Fields] = {}
    for item in listed:
        name = _Fields("'transform'", item).text("name")
        if name not in TRANSFORMS:
            raise _WrongError(f"the transform {name!r} is not known here")
        arguments = _Fields(f"{name!r}", item.get("arguments") or {})
        for argument in arguments.entries:
            if argument not in TRANSFORMS[name]:
                raise _WrongError(f"the argument {argument!r} of {name!r} is not known here")
        if name in steps:
            raise _WrongError(f"the transform {name!r} comes twice")
        steps[name] = arguments
    if list(steps) != [name for name in TRANSFORMS if name in steps] or "ToTensor" not in steps:
        raise _WrongError(
            f"expected the transforms Resize, ToTensor, Normalize in this order, with ToTensor "
            f"among them; got {', '.join(steps) or 'none'}"
        )
    return steps


def _size(resize: _Fields) -> int:
    """Return the size that patches are resized to; they are square."""
    value = resize.get("size")
    if isinstance(value, list) and len(set(map(str, value))) == 1 and len(value) <= 2:
        return _Fields("'Resize'", {"size": value[0]}).count("size")
    return resize.count("size")


def _is_number(value: Any) -> bool:
    # A whole number may be too large for a float.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < float_info.max and isfinite(value)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
