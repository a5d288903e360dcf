"""Pickles of checkpoints, of which tensors alone are loaded: settings beside them stay unmade.

Training scripts store what they were called with beside the weights, a `Namespace` or numbers of
NumPy, and ``torch.load(weights_only=True)`` refuses the whole file for it. Their classes are known
to hold nothing but settings, so PyTorch is given an empty class of ours in place of each: it makes
that, and imports nothing. Whatever else a file names is refused, as PyTorch does.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

INERT = re.compile(
    r"argparse\.Namespace|types\.SimpleNamespace|decimal\.Decimal|uuid\.UUID"
    r"|(builtins\.)?(bool|bytes|complex|dict|float|int|list|object|set|slice|str|tuple|type)"
    r"|(datetime|enum|numpy|omegaconf|pathlib|typing)\.[\w.]+"
    r"|(lightning|lightning_fabric|pytorch_lightning|torchmetrics)\.[\w.]+"
    r"|torch\.(optim|nn\.modules\.loss|utils\.data)\.[\w.]+"
)
"""Classes that hold settings, numbers, or what only training needs."""

MAPPINGS = re.compile(
    r"addict\.addict\.Dict|box\.box\.Box|easydict\.EasyDict|munch\.Munch|yacs\.config\.CfgNode"
    r"|ml_collections\.[\w.]*ConfigDict|[\w.]+\.AttributeDict|collections\.Counter"
)
"""Settings that are mappings: a pickle fills them entry by entry."""

MOST = 200
"""Classes of settings in one file."""

NAMED = re.compile(r"GLOBAL ([\w.]+)")


class Inert:
    """Stands for settings that are not made; whatever it is given, it leaves."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        """Make one of any arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        """Leave what it would hold."""


def _mapping(*_: Any) -> OrderedDict[Any, Any]:
    return OrderedDict()


def load(path: Path) -> Any:
    """Load a pickle with ``weights_only=True``; settings in it become `Inert`.

    Raises
    ------
    pickle.UnpicklingError
        If it holds anything else than tensors, plain values and settings; `refused` says what.
    Exception
        If it is no such file.
    """
    known: dict[str, Any] = {}
    while True:
        held: list[Any] = [(value, name) for name, value in known.items()]
        try:
            with torch.serialization.safe_globals(held):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            name = refused(error)
            stands = _standing_for(name) if name and len(known) < MOST else None
            if stands is None or name in known:
                raise
            known[name if "." in name else f"builtins.{name}"] = stands


def refused(error: Exception) -> str:
    """Return the name of what PyTorch refuses in a pickle; empty for other errors."""
    found = NAMED.search(str(error))
    return found[1] if found else ""


def _standing_for(name: str) -> Any:
    if name == "collections.defaultdict":
        return _mapping  # which is called with a class
    if MAPPINGS.fullmatch(name):
        return OrderedDict
    return Inert if INERT.fullmatch(name) else None
