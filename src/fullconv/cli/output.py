"""What commands print: text for people, or one JSON object."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from typing import Any

import click


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """Keep stdout for the JSON object: what the user's own code prints goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def print_json(value: dict[str, Any]) -> None:
    """Print one object; NaN and infinity, which JSON does not have, become null."""
    click.echo(json.dumps(_finite(value), indent=2, allow_nan=False))


def note(line: str, as_json: bool) -> None:
    """Print a remark: among the text, or on stderr beside JSON."""
    click.echo(f"note     {line}", err=as_json)


def megabytes(size_bytes: int) -> str:
    """Return a file's size as people read it."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
