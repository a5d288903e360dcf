"""Notes and sections: a fact that several places need stands in one, and the others cite it."""

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


def sections(text: str) -> list[tuple[str, str]]:
    """Return the pages and sections that a text cites as ``docs/page.md, "Section"``."""
    plain = re.sub(r"\n[ \t]*(?:#:? ?)?", " ", text)
    return re.findall(r"(docs/[\w/]+\.md), \"([^\"]+)\"", plain)


def test_every_section_that_is_cited_stands_on_its_page() -> None:
    cited = [
        pair
        for path in sorted((REPOSITORY / "src").rglob("*.py"))
        for pair in sections(path.read_text(encoding="utf-8"))
    ]
    assert len(cited) >= 8
    for page, section in cited:
        headings = re.findall(r"^#+ (.+)$", (REPOSITORY / page).read_text(), re.MULTILINE)
        assert section in headings, f"{page} has no section {section!r}"


def test_no_page_is_cited_that_is_not_there() -> None:
    for path in sorted((REPOSITORY / "src").rglob("*.py")):
        for page in re.findall(r"\bdocs/[\w/]+\.md", path.read_text(encoding="utf-8")):
            assert (REPOSITORY / page).exists(), f"{path.name} cites {page}"


def test_the_checks_can_fail() -> None:
    text = "# Note [One]. It stands.\n    # see Note [Two\n    # words].\n"
    assert notes(text) == (Counter(["One"]), {"One", "Two words"})
    assert sections('(docs/a.md,\n    "One axis")') == [("docs/a.md", "One axis")]
