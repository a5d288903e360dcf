"""Mutations of bytes that know nothing of what the bytes mean."""

from __future__ import annotations

import numpy as np

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 62, (1 << 64) - 1)
"""Whole numbers at which sizes overflow."""


def mutated(data: bytes, rng: np.random.Generator, other: bytes = b"") -> tuple[str, bytes]:
    """Return what was done to the bytes, in a word, and the changed ones."""
    kinds = (*["flip"] * 4, *["number"] * 2, "random", "cut", "drop", "repeat", "insert", "splice")
    kind = str(rng.choice(kinds))
    held = bytearray(data)
    at = int(rng.integers(len(held)))
    length = int(rng.integers(1, 1 + min(16, len(held))))
    if kind == "flip":
        for _ in range(int(rng.integers(1, 4))):
            held[int(rng.integers(len(held)))] ^= 1 << int(rng.integers(8))
    elif kind == "random":
        held[at : at + length] = rng.bytes(length)
    elif kind == "number":
        number = int(rng.choice(np.array(NUMBERS, dtype=np.uint64)))
        size = int(rng.choice([1, 2, 4, 8]))
        held[at : at + size] = (number % (1 << 8 * size)).to_bytes(size, "little")
    elif kind == "cut":
        del held[at:]
    elif kind == "drop":
        del held[at : at + length]
    elif kind == "repeat":
        held[at:at] = held[at : at + length] * int(rng.integers(1, 9))
    elif kind == "insert":
        held[at:at] = rng.bytes(length)
    else:
        source = other or data
        start = int(rng.integers(len(source)))
        held[at : at + length] = source[start : start + length]
    return kind, bytes(held)
