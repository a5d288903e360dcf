"""Checks of a ``.pt2`` file that must hold before it is loaded, so that it runs no code.

``torch.export.load`` trusts its file: tensors may be pickles (``use_pickle``), sizes are strings
that SymPy evaluates as Python, an operator is any dotted name below ``torch``, names are written
into Python code between quotes, and compiled libraries are loaded at once. An exported classifier
needs none of that, so a file that uses any of it is refused before PyTorch reads it (torch 2.13,
``torch/export/pt2_archive/_package.py`` and ``torch/_export/serde/serialize.py``).
"""

from __future__ import annotations

import ast
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch._export.serde.serialize import deserialize_scalar_type
from torch.export.pt2_archive._package import PT2ArchiveReader

from fullconv.errors import UnsafeModelError
from fullconv.frameworks.torch.script_archive import ENDS_QUOTES
from fullconv.frameworks.torch.script_storages import reach

OPERATOR = re.compile(
    r"torch\.ops(\.(?!__)\w+){2,3}"
    r"|torch\.sym_\w+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|pow|abs|getitem"
    r"|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|lshift|rshift)"
    r"|math\.\w+"
)
WORD = re.compile(r"\w{1,30}|[-+0-9.e]{1,40}")
NO_VARIABLE = re.compile(r"[^\w.]")
TOUCHES_FILES = re.compile(r"torch\.ops\.\w+\.(from_file|save)\b.*")


def check_archive(path: Path) -> None:
    """Refuse an archive that would run code when it is loaded.

    Raises
    ------
    UnsafeModelError
        If loading it would run code.
    Exception
        If the file is no such archive.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
    if "data.pkl" in names:
        raise UnsafeModelError(
            f"{path} is a pickle by another name, from torch.save, and loading it could run code "
            f"from the file; fullconv does not. Export the model with torch.export.save, or as "
            f".onnx."
        )
    if "archive_format" not in names:
        raise ValueError("it holds no exported program")
    reader = PT2ArchiveReader(str(path))
    for fault in _faults(reader):
        raise UnsafeModelError(
            f"{path}: it holds {fault}, and loading that could run code from the file; fullconv "
            f"does not. Export the model again with torch.export.save from plain tensors, or as "
            f".onnx."
        )


def _faults(reader: PT2ArchiveReader) -> Iterator[str]:
    for name in reader.get_file_names():
        if name.startswith("data/aotinductor"):
            yield "compiled libraries"
        elif name.startswith("data/sample_inputs/"):
            if not _is_plain(reader.read_bytes(name)):
                yield "a pickle of more than tensors among its sample inputs"
        elif re.fullmatch(r"data/(weights|constants)/.*_config\.json", name):
            yield from _payload_faults(reader, name)
            _check_sizes(reader, name)
        elif name.startswith("models/"):
            yield from _program_faults(json.loads(reader.read_string(name)))


def _is_plain(data: bytes) -> bool:
    """Whether a pickle holds tensors and plain values only."""
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception:
        return False
    return True


def _payload_faults(reader: PT2ArchiveReader, config: str) -> Iterator[str]:
    folder = config.rpartition("/")[0]
    for name, payload in json.loads(reader.read_string(config))["config"].items():
        file = str(payload["path_name"])
        if not re.fullmatch(r"(weight|tensor)_\d+", file):
            yield f"the object {name!r}, which is no tensor"
        elif payload["use_pickle"] and not _is_plain(reader.read_bytes(f"{folder}/{file}")):
            yield f"a pickle of more than tensors as {name!r}"


def _check_sizes(reader: PT2ArchiveReader, config: str) -> None:
    """Refuse a record that is shorter than its tensor; PyTorch makes zeros of an empty one."""
    folder = config.rpartition("/")[0]
    for name, payload in json.loads(reader.read_string(config))["config"].items():
        if not payload["use_pickle"]:
            meta = payload["tensor_meta"]
            size, stride = ([n["as_int"] for n in meta[key]] for key in ("sizes", "strides"))
            numbers = reach(meta["storage_offset"]["as_int"], size, stride)
            needed = numbers * deserialize_scalar_type(meta["dtype"]).itemsize
            stored = reader.archive_file.get_record_size(f"{folder}/{payload['path_name']}")
            if stored < needed:
                raise ValueError(f"it holds {stored} bytes of {name!r}, which takes {needed}")


def _program_faults(value: Any) -> Iterator[str]:
    """Yield the faults of a program's JSON: strings that PyTorch would run as code."""
    if isinstance(value, list):
        for item in value:
            yield from _program_faults(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(item, str):
                yield from _program_faults(item)
            elif key == "expr_str" and not _is_size(item):
                yield f"the expression {item[:60]!r}, which computes no size"
            elif key in ("target", "as_operator") and not _is_operator(item):
                yield f"the call {item[:60]!r}, which is no operator"
            elif _is_code(key, item):
                yield f"the name {item[:60]!r}, which is code"


def _is_code(key: str, name: str) -> bool:
    """Whether a name would become code in the Python source that PyTorch makes of a program."""
    if key == "name":
        return bool(NO_VARIABLE.search(name))
    return (key == "nn_module_stack" or key.endswith("_name")) and bool(ENDS_QUOTES.search(name))


def _is_operator(target: str) -> bool:
    return bool(OPERATOR.fullmatch(target)) and not TOUCHES_FILES.fullmatch(target)


def _is_size(text: str) -> bool:
    """Whether an expression is arithmetic on sizes: ``Add(Symbol('s0', integer=True), 1)``.

    Functions of SymPy and PyTorch that compute sizes begin with a capital; those that evaluate a
    string given to them can do no harm with one word.
    """
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return False
    arithmetic = ast.operator | ast.unaryop | ast.cmpop | ast.boolop | ast.expr_context
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if not re.fullmatch(r"[A-Z][A-Za-z]*|[a-z]{1,2}\d+|oo|zoo|int_oo", node.id):
                return False
        elif isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or not node.func.id[0].isupper():
                return False
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str) and not WORD.fullmatch(node.value):
                return False
        elif not isinstance(
            node,
            ast.Expression
            | ast.keyword
            | ast.BinOp
            | ast.UnaryOp
            | ast.Compare
            | ast.BoolOp
            | arithmetic,
        ):
            return False
    return True
