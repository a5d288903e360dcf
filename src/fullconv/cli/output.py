"""What commands print: text for people, or one JSON object."""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any

import click

from fullconv.names import as_text

_HALVES = re.compile("[\ud800-\udfff]")


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """Keep stdout for the JSON object: what the user's own code prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
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
