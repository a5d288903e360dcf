"""One word per concept, in plain sentences: what the sources may not say."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[1] / "src/fullconv"
ALL_PURPOSE = {"held", "told"}
"""Names that say nothing of what they stand for."""


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(SOURCES.rglob("*.py")):
        yield path.relative_to(SOURCES), ast.parse(path.read_text(encoding="utf-8"))


def room(path: Path) -> str:
    """Return the room in which a name has one meaning; every framework is one of its own.

    The layers of Keras bear the names of the operations that they are.
    """
    if path.parts[0] == "frameworks" and len(path.parts) > 2:
        return "/".join(path.parts[:2])
    return "operations" if path.parts[0] == "operations" else "fullconv"


def ambiguous(classes: dict[str, list[Path]]) -> dict[str, list[Path]]:
    """Return the names that stand for several classes of one room, or of rooms that meet."""
    found = {}
    for name, paths in classes.items():
        rooms = [room(path) for path in paths]
        frameworks = [one for one in rooms if "/" in one]
        mirrors = set(rooms) <= {"operations", "frameworks/keras"}
        seams = set(rooms) == {*frameworks} or (len(frameworks) > 1 and name == "Writing")
        if len(paths) > 1 and not (len(set(rooms)) == len(rooms) and (mirrors or seams)):
            found[name] = paths
    return found


def test_a_class_name_means_one_thing() -> None:
    classes: dict[str, list[Path]] = defaultdict(list)
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(path)
    assert len(classes) > 200
    assert ambiguous(classes) == {}


def opens_with_what(tree: ast.Module) -> list[str]:
    """Return the names of what is documented by a sentence that opens with "What"."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [
        getattr(node, "name", "module")
        for node in ast.walk(tree)
        if isinstance(node, documented) and (ast.get_docstring(node) or "").startswith("What ")
    ]


def all_purpose(tree: ast.Module) -> set[str]:
    """Return the all-purpose names that are given to variables and parameters."""
    names = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    names |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return names & ALL_PURPOSE


def test_docstrings_begin_with_their_subject() -> None:
    assert {str(path): found for path, tree in trees() if (found := opens_with_what(tree))} == {}


def test_variables_say_what_they_stand_for() -> None:
    assert {str(path): found for path, tree in trees() if (found := all_purpose(tree))} == {}


def test_the_checks_can_fail() -> None:
    tree = ast.parse('def f(told):\n    """What is told."""\n    held = told\n')
    assert opens_with_what(tree) == ["f"]
    assert all_purpose(tree) == {"held", "told"}
    twice = {"A": [Path("scanning/a.py"), Path("sources/a.py")]}
    framework = {"A": [Path("frameworks/onnx/a.py"), Path("frameworks/torch/a.py")]}
    assert (ambiguous(twice), ambiguous(framework)) == (twice, {})
