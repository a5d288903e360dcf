"""How files are named on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from fullconv.files import why_not_local


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


class Named(click.ParamType[str]):
    """What names images or a model: a file, folder or pattern, or code."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Read the text."""
        why = why_not_local(str(value), reads=True)
        if why is not None:
            self.fail(why, param, ctx)
        return str(value)
