"""Parameters of the command line that name files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fullconv.preprocessing import KNOWN, known_preprocessing
from fullconv.system.files import why_not_local


class LocalPath(click.Path):
    """A file or folder of this machine, existing or to be created."""

    def __init__(self, *, reads: bool = False) -> None:
        super().__init__(path_type=Path)
        self.reads = reads

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text."""
        why = why_not_local(os.fspath(value), reads=self.reads)
        if why is not None:
            self.fail(why, param, ctx)
        return super().convert(value, param, ctx)


class PreprocessingType(LocalPath):
    """A file that describes preprocessing, or the name of a known preprocessing.

    If a file has such a name, the file is taken.
    """

    name = "text"

    def __init__(self) -> None:
        super().__init__(reads=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text."""
        known = None if Path(value).exists() else known_preprocessing(str(value))
        if known is not None:
            return known
        path = super().convert(value, param, ctx)
        if not path.suffix and not path.exists():
            self.fail(f"{value!r} is no file, and no name of {', '.join(KNOWN)}.", param, ctx)
        return path


class NamedType(click.ParamType[str]):
    """The name of images or of a model: a file, folder or pattern, or code."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read the text."""
        why = why_not_local(str(value), reads=True)
        if why is not None:
            self.fail(why, param, ctx)
        return str(value)
