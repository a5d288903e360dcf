"""Small changes of bytes, text and JSON, drawn by a seeded generator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

EDGES = (0, 1, 0x7F, 0x80, 0xFF)
WIDE = (0, 1, 1 << 15, (1 << 16) - 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1)
"""Whole numbers at which sizes overflow."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 7, 1 << 31, 1 << 63, 10**30, -(10**30), 10**400),
    *(0.5, -0.0, 2.5, 1e308, 1e-320, float("nan"), float("inf"), "", "x", "NaN", "1", "\0"),
    *("é\u2028\ud7ff", "\ud800", "../x", "/", "/etc/passwd", "http://127.0.0.1:9/x", "A" * 5000),
    *([], {}, [[]], [None], [{}], [1], [0, 0], [-1, -1], [1, 1, 1], [1 << 40, 1 << 40], [0.5, 0.5]),
    *([float("nan")] * 2, ["a", "b"], [[1, 2], [3]], [[-9, 9], [1 << 40, 1]], [[1e9] * 7] * 7),
    *({"a": 1}, {"x": [{}]}, [1] * 2000),
)
"""Values of JSON that may stand where another was meant."""

WORDS = (
    *("0", "-1", "1e999", "nan", "9" * 20, "4294967296", "2147483648", "1.5", "", "\0"),
    *("<", ">", "&", "&a;", "]]>", '"', "../../x", "/etc/passwd", "%s%n", "é" * 300),
)
"""Words that may stand in a text for a number or another word."""


def bytes_changed(data: bytes, chance: Random, other: bytes = b"") -> tuple[str, bytes]:
    """Return what was done to the bytes, in words, and the changed ones.

    Some of them may be taken from the ``other`` ones.
    """
    held, kinds = bytearray(data), []
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        change = chance.choice(CHANGES)
        if change is _splice:
            _splice(held, chance, other or data)
        else:
            change(held, chance)
        kinds.append(change.__name__[1:])
    return "-".join(kinds[:2]) + ("-more" if len(kinds) > 2 else ""), bytes(held)


def _place(held: bytearray, chance: Random) -> int:
    # Headers are small, and decide more than pixels do.
    end = min(len(held), 512) if chance.random() < 0.5 else len(held)
    return chance.randrange(max(1, end))


def _length(chance: Random) -> int:
    return chance.choice((1, 2, 4, 7, 16, 64, 256))


def _flip(held: bytearray, chance: Random) -> None:
    if held:
        held[_place(held, chance)] ^= 1 << chance.randrange(8)


def _edge(held: bytearray, chance: Random) -> None:
    if held:
        held[_place(held, chance)] = chance.choice(EDGES)


def _number(held: bytearray, chance: Random) -> None:
    at, size = _place(held, chance), chance.choice((2, 4, 4, 8))
    value = chance.choice(WIDE) & (256**size - 1)
    held[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _cut(held: bytearray, chance: Random) -> None:
    del held[_place(held, chance) :]


def _drop(held: bytearray, chance: Random) -> None:
    at = _place(held, chance)
    del held[at : at + _length(chance)]


def _repeat(held: bytearray, chance: Random) -> None:
    at = _place(held, chance)
    held[at:at] = held[at : at + 8 * _length(chance)] * chance.choice((1, 1, 2, 8))


def _noise(held: bytearray, chance: Random) -> None:
    at, size = _place(held, chance), _length(chance)
    held[at : at + size] = chance.randbytes(size)


def _insert(held: bytearray, chance: Random) -> None:
    at = _place(held, chance)
    held[at:at] = chance.randbytes(_length(chance))


def _splice(held: bytearray, chance: Random, other: bytes = b"") -> None:
    at, size = _place(held, chance), _length(chance)
    start = chance.randrange(max(1, len(other)))
    held[at : at + size] = other[start : start + size]


CHANGES: tuple[Callable[[bytearray, Random], None], ...] = (
    *(_flip, _flip, _flip, _edge, _number, _number, _cut, _drop, _repeat, _noise, _insert, _splice),
)


def text_changed(data: bytes, chance: Random) -> bytes:
    """Return text of which one to four numbers or words are others."""
    words = re.split(rb"([\w.+-]+)", data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        if len(words) < 2:
            return bytes_changed(data, chance)[1]
        words[chance.randrange(1, len(words), 2)] = chance.choice(WORDS).encode()
    return b"".join(words)


def json_changed(data: bytes, chance: Random) -> bytes:
    """Return JSON of which one to three values are others, lost, or more."""
    held = json.loads(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        held = value_changed(held, chance)
    return json.dumps(held).encode("utf-8", "surrogatepass")


def value_changed(value: Any, chance: Random) -> Any:
    """Return a value of JSON that is changed in one place, at any depth."""
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return chance.choice(VALUES)
    made = value.copy()
    key: Any = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
    draw = chance.random()
    if draw < 0.2:
        del made[key]
    elif draw < 0.3 and isinstance(made, dict):
        made["more"] = chance.choice(VALUES)
    elif draw < 0.3:
        made = value * 3
    else:
        made[key] = value_changed(value[key], chance)
    return made
