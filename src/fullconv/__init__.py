"""fullconv: a trained window classifier becomes fully convolutional, exactly, and proves it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each verb lives. Nothing is imported until it is asked for: the frameworks, and even
# NumPy, are heavier than what `fullconv --help` should cost.
_HOMES = {
    "Change": "report",
    "FullconvError": "errors",
    "FullyConvolutional": "converted",
    "Grid": "geometry",
    "Preprocessing": "images",
    "Reason": "report",
    "Report": "report",
    "Verification": "verify",
    "convert": "convert",
    "dense_to_conv": "dense",
    "explain": "convert",
    "load": "converted",
    "verify": "verify",
}

# Written out, because type checkers read it.
__all__ = [
    "Change",
    "FullconvError",
    "FullyConvolutional",
    "Grid",
    "Preprocessing",
    "Reason",
    "Report",
    "Verification",
    "__version__",
    "convert",
    "dense_to_conv",
    "explain",
    "load",
    "verify",
]

if TYPE_CHECKING:
    from fullconv.convert import convert as convert
    from fullconv.convert import explain as explain
    from fullconv.converted import FullyConvolutional as FullyConvolutional
    from fullconv.converted import load as load
    from fullconv.dense import dense_to_conv as dense_to_conv
    from fullconv.errors import FullconvError as FullconvError
    from fullconv.geometry import Grid as Grid
    from fullconv.images import Preprocessing as Preprocessing
    from fullconv.report import Change as Change
    from fullconv.report import Reason as Reason
    from fullconv.report import Report as Report
    from fullconv.verify import Verification as Verification
    from fullconv.verify import verify as verify


class _Package(ModuleType):
    """The package itself, whose verbs stay verbs.

    Importing ``fullconv.convert``, the file, sets the attribute ``convert`` of the package to
    that module, and would hide the verb of the same name from then on.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if _HOMES.get(name) == name and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fullconv' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"fullconv.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
