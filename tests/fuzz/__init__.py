"""Seeded mutations of all that fullconv is given, for the command line, in child processes.

Every module of mutations has ``cases(seed, count)``: it yields a name, the content, and the
arguments of ``fullconv``. The content is the bytes of the file of that name; or files by their
paths; or a folder to copy them from. The arguments name them relative to the folder that they are
written to. The same seed yields the same cases. `run` lists the modules, and counts what comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

Content = bytes | Mapping[str, bytes] | Path
Case = tuple[str, Content, list[str]]
"""A name, the content, and the arguments of ``fullconv``."""
Cases = Iterator[Case]
