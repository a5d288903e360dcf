"""The output of commands: text for people, or one JSON object."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

import click

from fullconv.errors import HeatmapWarning, ImageWarning, ModelWarning
from fullconv.sources.names import as_text

REMARKS = (HeatmapWarning, ImageWarning, ModelWarning)
"""Warnings that are printed as notes."""

_HALVES = re.compile("[\ud800-\udfff]")


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """Keep stdout for the JSON object: output of the user's own code goes to stderr.

    Warnings about models and images are printed as notes.
    """
    aside = contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext()
    with aside, remarks_told(wanted):
        yield


def print_json(value: dict[str, Any]) -> None:
    """Print one object that every reader takes.

    NaN and infinity, which JSON does not have, become null, and names that are no text are written
    as Note [Names in files] says.
    """
    click.echo(json.dumps(_plain(value), indent=2, allow_nan=False))


def note(line: str, as_json: bool) -> None:
    """Print a remark: among the text, or on stderr beside JSON."""
    click.echo(f"note     {line}", err=as_json)


@contextlib.contextmanager
def remarks_told(as_json: bool) -> Iterator[None]:
    """Print our warnings, which do not stop the work, as notes, each once."""
    printed: set[str] = set()
    context = click.get_current_context(silent=True)
    # A model may be opened twice: once to be converted, and once to be compared.
    of_models = context.meta.setdefault(__name__, set()) if context else printed
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, REMARKS):
                others(message, category, filename, lineno, file, line)
                return
            before = of_models if issubclass(category, ModelWarning) else printed
            if str(message) not in before:
                before.add(str(message))
                note(str(message).rstrip("."), as_json)

        for category in REMARKS:
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield


def megabytes(size_bytes: int) -> str:
    """Return a file's size as people read it."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and not value.isascii() and _HALVES.search(value):
        return as_text(value)
    return value
