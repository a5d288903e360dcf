"""Checks of a TorchScript file that must hold before it is loaded, so that it runs no foreign code.

Note [When TorchScript runs]: ``torch.jit.load`` runs no Python, but parts of the file's own
program: ``__setstate__`` methods, the default values of arguments, and the constants of classes. An
operator of PyTorch can write files (``save``), map them into memory (``from_file``), or come from
another library. So the program is checked as text before it is loaded, and its compiled operators
before it is run (torch 2.13, ``torch/csrc/jit/serialization``).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fullconv.errors import UnsafeModelError
from fullconv.frameworks.archives import check_archive

GAP = rb"(?:\s|#[^\n]*\n)*"
CPP_CLASS = re.compile(rb"torch" + GAP + rb"\." + GAP + rb"classes\b|torch\nclasses\b")
FAULTS = {
    re.compile(rb"__setstate__"): "a __setstate__ method",
    CPP_CLASS: "objects of C++ classes, as quantized models do",
    re.compile(rb"from_file|\bsave\b|\brpc_\w+"): "a call that reaches files or other machines",
    # PyTorch itself writes getattr(self, "0"), without spaces. Other forms could compute a name.
    re.compile(rb"getattr(?!\((?!torch\b|ops\b)\w)"): "an operator whose name is looked up",
    re.compile(rb"(?<![.\w])ops\b(?!\.(?:prim|aten|profiler)\.)"): "operators of other libraries",
}
OPERATOR = re.compile(
    r"aten::(?!save$|from_file$)\w+|profiler::_record_function_\w+"
    r"|prim::(?!rpc_|CallMethod$|CallFunction$|PythonOp$|IgnoredPythonOp$)\w+"
)
ENDS_QUOTES = re.compile(r'["\\\x00-\x1f]')
"""Characters that may not be in a name that PyTorch writes into Python code, between quotes."""


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, by the names in it; nothing is loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile, ValueError):  # names that are not text
        return False
    return "constants.pkl" in names and any(name.startswith("code/") for name in names)


def is_cut(path: Path) -> bool:
    """Whether a file begins as an archive but does not end as one."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04" and not zipfile.is_zipfile(path)
    except OSError:
        return False


def check_script(path: Path) -> None:
    """Refuse a TorchScript archive that would run code when it is loaded.

    Raises
    ------
    UnsafeModelError
        If loading it would run code; see Note [When TorchScript runs].
    ModelError
        If it is damaged, or unpacks to far more than its own size.
    """
    import torch

    check_archive(path, str(path), "save it again with torch.jit.save", packed=1)
    # PyTorch's own reader is used, as it ignores upper and lower case in the names of entries.
    reader = torch._C.PyTorchFileReader(str(path))
    for name in reader.get_all_records():
        fault = _fault(name.lower(), reader)
        if fault is not None:
            raise unsafe(path, fault)


def _fault(name: str, reader: Any) -> str | None:
    if name == "model.json":
        return "the form of PyTorch before 1.4"
    if name.endswith(".pkl") and CPP_CLASS.search(reader.get_record(name)):
        return FAULTS[CPP_CLASS]
    if name.endswith(".py"):
        text = reader.get_record(name)
        return next((fault for word, fault in FAULTS.items() if word.search(text)), None)
    return None


def check_operators(path: Path, model: Any) -> None:
    """Refuse a loaded module whose forward calls an operator that reaches beyond its tensors.

    Raises
    ------
    UnsafeModelError
        If it does, or if the name of a layer would end the quotes around it in the Python code
        that PyTorch makes of a converted module.
    """
    for node in _nodes(model.forward.inlined_graph):
        kind = node.kind()
        if not OPERATOR.fullmatch(kind):
            raise unsafe(path, f"a call of {kind}")
        if kind in ("prim::GetAttr", "prim::SetAttr") and ENDS_QUOTES.search(node.s("name")):
            raise unsafe(path, f"the name {node.s('name')[:60]!r}, which is code")


def _nodes(block: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, of its branches and loops, and of graphs in its attributes."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
        for name in node.attributeNames():
            if node.kindOf(name) == "g":
                yield from _nodes(node.g(name))


def unsafe(path: Path, fault: str) -> UnsafeModelError:
    """Return the error for a file that could run code."""
    return UnsafeModelError(
        f"{path}: it holds {fault}, and loading that could run code from the file; fullconv does "
        f"not. Export the model with torch.export.save, or as .onnx."
    )
