"""Small changes of bytes, text and JSON values, drawn by a seeded generator."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

EDGES = (0, 1, 0x7F, 0x80, 0xFF)
WIDE = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2.5, 10**30, -(10**30), 1e308, float("nan"), float("inf")),
    *("", "x", "\0", "é\u2028\ud7ff", "../x", "/etc/passwd", "http://127.0.0.1:9/x", "A" * 5000),
    *([], {}, [[]], [None], [0, 0], [-1, 2], [2**40, 2**40], [[1, 2], [3]], {"a": 1}, [1] * 2000),
)
"""What a value of JSON may be where another was meant."""

WORDS = (
    *("0", "-1", "1e999", "nan", "99999999999999999999", "4294967296", "2147483648", "", "\0"),
    *("<", ">", "&", "&a;", "]]>", '"', "../../x", "/etc/passwd", "%s%n", "é" * 300),
)
"""What a number or word of a text may be."""


def bytes_changed(data: bytes, chance: Random) -> bytes:
    """Return bytes that are changed in one to eight places."""
    held = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        chance.choice(BYTES)(held, chance)
    return bytes(held)


def _place(held: bytearray, chance: Random) -> int:
    # Headers are small, and decide more than pixels do.
    end = min(len(held), 512) if chance.random() < 0.6 else len(held)
    return chance.randrange(max(1, end))


def _flip(held: bytearray, chance: Random) -> None:
    if held:
        held[_place(held, chance)] ^= 1 << chance.randrange(8)


def _edge(held: bytearray, chance: Random) -> None:
    if held:
        held[_place(held, chance)] = chance.choice(EDGES)


def _wide(held: bytearray, chance: Random) -> None:
    at, size = _place(held, chance), chance.choice((2, 4, 4, 8))
    value = chance.choice(WIDE) & (256**size - 1)
    held[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))


def _cut(held: bytearray, chance: Random) -> None:
    del held[_place(held, chance) :]


def _drop(held: bytearray, chance: Random) -> None:
    at = _place(held, chance)
    del held[at : at + chance.choice((1, 2, 4, 16, 256))]


def _repeat(held: bytearray, chance: Random) -> None:
    at, size = _place(held, chance), chance.choice((1, 4, 16, 256, 4096))
    held[at:at] = held[at : at + size]


def _noise(held: bytearray, chance: Random) -> None:
    at, size = _place(held, chance), chance.choice((1, 4, 16, 64))
    held[at : at + size] = chance.randbytes(size)


BYTES: tuple[Callable[[bytearray, Random], None], ...] = (
    *(_flip, _flip, _edge, _wide, _wide, _cut, _drop, _repeat, _noise),
)


def text_changed(data: bytes, chance: Random) -> bytes:
    """Return text of which one to four numbers or words are others."""
    words = re.split(rb"([\w.+-]+)", data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        places = range(1, len(words), 2)
        if not places:
            return bytes_changed(data, chance)
        words[chance.choice(places)] = chance.choice(WORDS).encode()
    return b"".join(words)


def json_changed(data: bytes, chance: Random) -> bytes:
    """Return JSON of which one to three values are others, or missing."""
    held = json.loads(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(held, []))
        if not places:
            return json.dumps(chance.choice(VALUES)).encode()
        *way, last = chance.choice(places)
        inner = held
        for step in way:
            inner = inner[step]
        if chance.random() < 0.15:
            del inner[last]
        else:
            inner[last] = copy.deepcopy(chance.choice(VALUES))
    return json.dumps(held).encode("utf-8", "surrogatepass")


def _places(held: Any, way: list[Any]) -> Any:
    """Yield the way to every value."""
    pairs = held.items() if isinstance(held, dict) else enumerate(held)
    for step, value in list(pairs):
        yield [*way, step]
        if isinstance(value, dict | list):
            yield from _places(value, [*way, step])
