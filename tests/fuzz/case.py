"""One bad input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Case:
    """Files, and a call of the command line that reads them.

    Attributes
    ----------
    kind : str
        What was mutated, by which cases are counted.
    name : str
        Tells the case from all others of its module and seed.
    files : mapping of str to bytes
        What lies in the folder where the call is made, by relative paths.
    argv : tuple of str
        The call, without the program's name.
    """

    kind: str
    name: str
    files: Mapping[str, bytes] = field(repr=False)
    argv: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Write the files into a folder."""
        for name, data in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
