"""Seeded mutations of model files, to be given to the command line in child processes.

Every module of mutations has ``cases(seed, count)``: it yields the file's name, its bytes (or the
path of a folder to copy the files from), and the command line that is given it, which names it
relative to the folder it is written to. The same seed yields the same cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

Case = tuple[str, bytes | Path, list[str]]
"""A file's name, its content, and the arguments of ``fullconv``."""
Cases = Iterator[Case]
