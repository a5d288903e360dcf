"""No module of the package imports one that imports it, at the top of a file or when it runs."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import fullconv

SOURCES = Path(fullconv.__file__).parents[1]


def modules(root: Path) -> dict[str, ast.Module]:
    """Return the modules below a folder, by their names."""
    found = {}
    for path in root.rglob("*.py"):
        *packages, name = path.relative_to(root).with_suffix("").parts
        dotted = ".".join(packages if name == "__init__" else [*packages, name])
        found[dotted] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports when it runs, in functions too: not what type checkers read."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        for node in tree.orelse:
            yield from imports(node)
        return
    if isinstance(tree, ast.Import):
        yield from (name.name for name in tree.names)
    if isinstance(tree, ast.ImportFrom):
        yield from (f"{tree.module}.{name.name}" for name in tree.names)
    for node in ast.iter_child_nodes(tree):
        yield from imports(node)


def circle(root: Path) -> list[str]:
    """Return modules each of which imports the one before it, the last one the first."""
    known = modules(root)
    arrows = {}
    for name, tree in known.items():
        named = {whole if whole in known else whole.rpartition(".")[0] for whole in imports(tree)}
        arrows[name] = (named & set(known)) - {name}
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_module_imports_one_that_imports_it() -> None:
    assert circle(SOURCES) == []


def test_a_circle_by_way_of_a_function_is_found(tmp_path: Path) -> None:
    inner = "from inner.b import f\nif TYPE_CHECKING:\n    import inner.c\n"
    files = {
        "a": inner,
        "b": "def f():\n    from inner import a\n",
        "c": "import inner.a\n",
        "__init__": "",
    }
    folder = tmp_path / "inner"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    assert sorted(set(circle(tmp_path))) == ["inner.a", "inner.b"]
    (folder / "b.py").write_text("", encoding="utf-8")
    assert circle(tmp_path) == []
