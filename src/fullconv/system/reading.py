"""Files that several threads read at once, each at its own position."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class PositionedFile:
    """A file open for reading, without a position that threads would share.

    Attributes
    ----------
    size_bytes : int
        Length of the file when it was opened.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - closed by close()
        self._lock = threading.Lock()
        self.size_bytes = os.fstat(self._file.fileno()).st_size

    def read(self, count: int, offset: int) -> bytes:
        """Return ``count`` bytes from ``offset`` on; fewer where the file ends before."""
        data = self._some(count, offset)
        while len(data) < count:  # one read may give less, above 2 GB or over a network
            more = self._some(count - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def _some(self, count: int, offset: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), count, offset)
        with self._lock:
            self._file.seek(offset)
            return self._file.read(count)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
