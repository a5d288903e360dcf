"""fullconv: a trained window classifier becomes fully convolutional, exactly, and proves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each verb lives. Nothing is imported until it is asked for: the frameworks, and even
# NumPy, are heavier than what `fullconv --help` should cost. No file bears the name of a verb: the
# import of a file would put the module in the verb's place.
_HOMES = {
    "Change": "report",
    "Detections": "detections.found",
    "Evaluation": "detections.evaluation",
    "FullconvError": "errors",
    "FullyConvolutional": "converted",
    "Grid": "geometry",
    "Heatmap": "scanning.heatmap",
    "Preprocessing": "preprocessing",
    "Reason": "report",
    "Report": "report",
    "Trained": "training.trainer",
    "Verification": "judging",
    "convert": "conversion",
    "dense_to_conv": "dense",
    "detect": "detections.detecting",
    "evaluate": "detections.evaluation",
    "explain": "conversion",
    "load": "converted",
    "scan": "scanning.scanner",
    "train": "training.trainer",
    "verify": "verification",
}

# Written out, because type checkers read it.
__all__ = [
    "Change",
    "Detections",
    "Evaluation",
    "FullconvError",
    "FullyConvolutional",
    "Grid",
    "Heatmap",
    "Preprocessing",
    "Reason",
    "Report",
    "Trained",
    "Verification",
    "__version__",
    "convert",
    "dense_to_conv",
    "detect",
    "evaluate",
    "explain",
    "load",
    "scan",
    "train",
    "verify",
]

if TYPE_CHECKING:
    from fullconv.conversion import convert as convert
    from fullconv.conversion import explain as explain
    from fullconv.converted import FullyConvolutional as FullyConvolutional
    from fullconv.converted import load as load
    from fullconv.dense import dense_to_conv as dense_to_conv
    from fullconv.detections.detecting import detect as detect
    from fullconv.detections.evaluation import Evaluation as Evaluation
    from fullconv.detections.evaluation import evaluate as evaluate
    from fullconv.detections.found import Detections as Detections
    from fullconv.errors import FullconvError as FullconvError
    from fullconv.geometry import Grid as Grid
    from fullconv.judging import Verification as Verification
    from fullconv.preprocessing import Preprocessing as Preprocessing
    from fullconv.report import Change as Change
    from fullconv.report import Reason as Reason
    from fullconv.report import Report as Report
    from fullconv.scanning.heatmap import Heatmap as Heatmap
    from fullconv.scanning.scanner import scan as scan
    from fullconv.training.trainer import Trained as Trained
    from fullconv.training.trainer import train as train
    from fullconv.verification import verify as verify


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fullconv' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"fullconv.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
