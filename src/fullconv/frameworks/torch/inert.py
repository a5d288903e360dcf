"""Load the tensors of a pickled checkpoint; empty objects replace the settings beside them.

Training scripts store settings beside the weights, such as a `Namespace` or NumPy numbers, and
``torch.load(weights_only=True)`` then refuses the whole file. These classes are known to hold only
settings, so PyTorch is given an empty class of ours in place of each, and imports nothing. Any
other class in the file is refused, as PyTorch does.
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
"""Classes of settings, of numbers, or of objects that only training needs."""

MAPPINGS = re.compile(
    r"addict\.addict\.Dict|box\.box\.Box|easydict\.EasyDict|munch\.Munch|yacs\.config\.CfgNode"
    r"|ml_collections\.[\w.]*ConfigDict|[\w.]+\.AttributeDict|collections\.Counter"
)
"""Classes of settings that are mappings, which a pickle fills entry by entry."""

MOST = 200
"""Most classes of settings in one file."""

NAMED = re.compile(r"GLOBAL ([\w.]+)")


class Inert:
    """An empty object in place of settings; it ignores everything that it is given."""

    def __new__(cls, *_: Any, **__: Any) -> Inert:
        """Make an object, whatever the arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        """Ignore the state."""


def _mapping(*_: Any) -> OrderedDict[Any, Any]:
    return OrderedDict()


def load(path: Path) -> Any:
    """Load a pickle with ``weights_only=True``; settings in it become `Inert`.

    Raises
    ------
    pickle.UnpicklingError
        If it holds anything but tensors, plain values and settings; `refused` returns its name.
    Exception
        If it is no such file.
    """
    known: dict[str, Any] = {}
    while True:
        stand_ins: list[Any] = [(value, name) for name, value in known.items()]
        try:
            with torch.serialization.safe_globals(stand_ins):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            name = refused(error)
            stand_in = _standing_for(name) if name and len(known) < MOST else None
            if stand_in is None or name in known:
                raise
            known[name if "." in name else f"builtins.{name}"] = stand_in


def refused(error: Exception) -> str:
    """Return the name of the class that PyTorch refuses in a pickle; empty for other errors."""
    match = NAMED.search(str(error))
    return match[1] if match else ""


def _standing_for(name: str) -> Any:
    if name == "collections.defaultdict":
        return _mapping  # which is called with a class
    if MAPPINGS.fullmatch(name):
        return OrderedDict
    return Inert if INERT.fullmatch(name) else None
