"""The lines of a ledger: each says that a tile is finished, and proves that it is itself whole.

A line is ``tile windows odd digest pixels checksum``: the tile's number, how many of its windows
were to be scored, how many of these hold NaN pixels, the digest of its scores, a checksum of the
pixels that were read ("-" where none is kept), and a CRC-32 of all before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

HEADER = b"fullconv: finished tiles, form 2\n"
"""The first line, by which the folder is known for one of ours."""

CUT = b"#\n"
"""Ends a line that a killed process has left without its end."""

LONGEST = 100
"""No line has more bytes."""

_LINE = re.compile(rb"((\d{1,18}) (\d{1,18}) (\d{1,18}) ([\w-]{16}) ([0-9a-f]{8}|-)) ([0-9a-f]{8})")


@dataclass(frozen=True)
class Line:
    """A finished tile.

    Attributes
    ----------
    tile : int
        Its number.
    windows, odd : int
        How many of its windows were to be scored, and how many of these hold NaN pixels.
    digest : str
        Of its scores.
    pixels : int or None
        A checksum of the pixels that were read, where one is kept.
    """

    tile: int
    windows: int
    odd: int
    digest: str
    pixels: int | None = None

    def to_bytes(self) -> bytes:
        """Return the line as it is written."""
        pixels = "-" if self.pixels is None else f"{self.pixels:08x}"
        held = f"{self.tile} {self.windows} {self.odd} {self.digest} {pixels}".encode()
        return b"%s %08x\n" % (held, crc32(held))


def parsed(line: bytes) -> Line | None:
    """Return what a line says; None where it is damaged."""
    found = _LINE.fullmatch(line)
    if found is None or int(found[7], 16) != crc32(found[1]):
        return None
    pixels = None if found[6] == b"-" else int(found[6], 16)
    return Line(int(found[2]), int(found[3]), int(found[4]), found[5].decode(), pixels)


def read(held: bytes, tiles: int) -> tuple[dict[int, Line], int]:
    """Return the finished tiles that a ledger lists, of so many, and how many lines are damaged.

    Of two lines for a tile the later one counts: it was computed again. What a killed process has
    cut short is no damage.
    """
    first, rest = (HEADER, held[len(HEADER) :]) if held.startswith(HEADER) else (b"", held)
    *whole, last = rest.split(b"\n")
    found: dict[int, Line] = {}
    damaged = (not first) + (len(last) > LONGEST)
    for text in whole:
        line = parsed(text)
        if line is not None and line.tile < tiles and line.odd <= line.windows:
            found[line.tile] = line
        elif text and not text.endswith(CUT.strip()):
            damaged += 1
    return found, damaged
