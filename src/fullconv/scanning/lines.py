"""The lines of a ledger: each lists a finished tile, and has a checksum of itself.

A line is ``tile windows unscored digest pixels checksum``: the tile's number, the number of its
windows to be scored, the number of these that hold NaN pixels, the digest of its scores, a checksum
of the pixels that were read ("-" where none is kept), and a CRC-32 of all before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

HEADER = b"fullconv: finished tiles, form 2\n"
"""The first line, by which the folder is recognised as one of ours."""

CUT = b"#\n"
"""The end that is added to a line which a killed process left incomplete."""

LONGEST = 100
"""Most bytes of a line."""

_LINE = re.compile(rb"((\d{1,18}) (\d{1,18}) (\d{1,18}) ([\w-]{16}) ([0-9a-f]{8}|-)) ([0-9a-f]{8})")


@dataclass(frozen=True)
class Line:
    """A finished tile.

    Attributes
    ----------
    tile : int
        Number of the tile.
    windows, unscored : int
        Number of its windows to be scored, and number of these that hold NaN pixels.
    digest : str
        Digest of its scores.
    pixels : int or None
        A checksum of the pixels that were read, where one is kept.
    """

    tile: int
    windows: int
    unscored: int
    digest: str
    pixels: int | None = None

    def to_bytes(self) -> bytes:
        """Return the line as it is written."""
        pixels = "-" if self.pixels is None else f"{self.pixels:08x}"
        content = f"{self.tile} {self.windows} {self.unscored} {self.digest} {pixels}".encode()
        return b"%s %08x\n" % (content, crc32(content))


def parsed(line: bytes) -> Line | None:
    """Return the tile that a line lists; None where the line is damaged."""
    fields = _LINE.fullmatch(line)
    if fields is None or int(fields[7], 16) != crc32(fields[1]):
        return None
    pixels = None if fields[6] == b"-" else int(fields[6], 16)
    return Line(int(fields[2]), int(fields[3]), int(fields[4]), fields[5].decode(), pixels)


def read(data: bytes, tiles: int) -> tuple[dict[int, Line], int]:
    """Return the finished ones of ``tiles`` tiles in a ledger, and the number of damaged lines.

    Of two lines for a tile the later one counts, since the tile was computed again. A line that a
    killed process has cut short is no damage.
    """
    first, rest = (HEADER, data[len(HEADER) :]) if data.startswith(HEADER) else (b"", data)
    *whole, last = rest.split(b"\n")
    finished: dict[int, Line] = {}
    damaged = (not first) + (len(last) > LONGEST)
    for text in whole:
        line = parsed(text)
        if line is not None and line.tile < tiles and line.unscored <= line.windows:
            finished[line.tile] = line
        elif text and not text.endswith(CUT.strip()):
            damaged += 1
    return finished, damaged
