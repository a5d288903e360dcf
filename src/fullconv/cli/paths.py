"""How files are named on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fullconv.files import why_not_local
from fullconv.preprocessing import KNOWN, known_preprocessing


class Local(click.Path):
    """A file or folder of this machine, there or to be made."""

    def __init__(self, *, reads: bool = False) -> None:
        super().__init__(path_type=Path)
        self.reads = reads

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text."""
        why = why_not_local(os.fspath(value), reads=self.reads)
        if why is not None:
            self.fail(why, param, ctx)
        return super().convert(value, param, ctx)


class Prepared(Local):
    """A file that says how pixels are prepared, or the name of a way that many share.

    A file of such a name wins.
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


class Named(click.ParamType[str]):
    """What names images or a model: a file, folder or pattern, or code."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read the text."""
        why = why_not_local(str(value), reads=True)
        if why is not None:
            self.fail(why, param, ctx)
        return str(value)
