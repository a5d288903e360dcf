"""One bad input: the shape that every class of cases has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LONG_AGO_NS = 10**18
"""When every file of a case was changed last: an image that changes is another one."""

Files = Mapping[str, bytes]
"""Files by their paths in a case's folder."""


@dataclass(frozen=True)
class Case:
    """Files, and a call of the command line in the folder that holds them.

    Attributes
    ----------
    name : str
        Tells the case from all others of its class and seed, and what was changed.
    call : tuple of str
        The arguments of ``fullconv``.
    files : mapping of str to bytes
        What lies in the folder, by relative paths.
    ours : tuple of str
        Files and folders among them that fullconv has made, and may change or remove.
    judge : str
        A module of this package whose ``wrong(folder, call)`` says what is wrong with what the
        command has left, if it says that it is done; or empty.
    """

    name: str
    call: tuple[str, ...]
    files: Files = field(repr=False)
    ours: tuple[str, ...] = ()
    judge: str = ""

    def write(self, folder: Path) -> None:
        """Write the files into a folder of the case's own."""
        folder.mkdir(exist_ok=True)
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for path in folder.rglob("*"):
            os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


Cases = Iterator[Case]
