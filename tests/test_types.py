"""The public surface as type checkers see it: right files pass, and every mistake is an error."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")

REPOSITORY = Path(__file__).resolve().parents[1]
TYPED = REPOSITORY / "tests" / "typed"


def errors(name: str) -> list[tuple[int, str]]:
    """Return the lines at which mypy finds errors in a user's file, and their codes."""
    said, trouble, _ = api.run(
        [
            *("--config-file", str(REPOSITORY / "pyproject.toml")),
            *("--cache-dir", str(REPOSITORY / ".mypy_cache")),
            *("--python-executable", sys.executable),
            str(TYPED / name),
        ]
    )
    assert not trouble, trouble
    found = re.findall(rf"{re.escape(name)}:(\d+): error: .*\[([\w-]+)\]", said)
    assert said.count("error:") == len(found), said
    return [(int(line), code) for line, code in found]


def test_what_a_user_writes_is_accepted() -> None:
    assert errors("right.py") == []


def test_what_a_user_mistypes_is_refused() -> None:
    lines = (TYPED / "wrong.py").read_text(encoding="utf-8").splitlines()
    marked = [(n, line.split("  # ")) for n, line in enumerate(lines, 1)]
    expected = [(n, parts[1]) for n, parts in marked if len(parts) == 2]
    assert len(expected) == 21
    assert errors("wrong.py") == expected
