"""Notes: a fact that several places need stands in one of them, and the others cite it by name."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "tests", "benchmarks", "examples", "docs")
HEAD = r"^(?:\"\"\")?Note \[([^\]]+)\](?:$|: |\. )"
OURS = Path(__file__).name


def notes(text: str) -> tuple[Counter[str], set[str]]:
    """Return the notes that stand in a text, and those that it names.

    A note begins a line with its name, in a docstring or a comment.
    """
    plain = re.sub(r"\n[ \t]*(?:#:? ?)?", "\n", f"\n{text}")
    stand = Counter(re.findall(HEAD, plain, re.MULTILINE))
    named = {" ".join(name.split()) for name in re.findall(r"Note\s\[([^\]]+)\]", plain)}
    return stand, named


def test_every_note_that_is_cited_stands_in_one_place() -> None:
    stand: Counter[str] = Counter()
    named: set[str] = set()
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.suffix in (".py", ".md") and path.name != OURS:
                there, cited = notes(path.read_text(encoding="utf-8"))
                stand, named = stand + there, named | cited
    for name in ("README.md", "CONTRIBUTING.md"):
        named |= notes((REPOSITORY / name).read_text(encoding="utf-8"))[1]
    assert len(stand) > 20
    assert sorted(named - set(stand)) == []
    assert [name for name, count in stand.items() if count > 1] == []


def test_the_check_can_fail() -> None:
    text = "# Note [One]. It stands.\n    # see Note [Two\n    # words].\n"
    assert notes(text) == (Counter(["One"]), {"One", "Two words"})
