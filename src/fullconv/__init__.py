"""fullconv: a trained window classifier becomes fully convolutional, exactly, and proves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each verb lives. Nothing is imported until it is asked for: the frameworks, and even
# NumPy, are heavier than what `fullconv --help` should cost. No file bears the name of a verb: the
# import of a file would put the module in the verb's place.
_HOMES = {
    "Agreement": "quantizing.agreement",
    "Change": "conversion.report",
    "ClassEvaluation": "detections.curves",
    "Cost": "conversion.report",
    "Damage": "scanning.damage",
    "DamagedError": "errors",
    "Detection": "detections.found",
    "Detections": "detections.found",
    "DifferenceError": "errors",
    "Embedded": "conversion.embedded",
    "Engine": "scanning.engine",
    "Evaluation": "detections.evaluation",
    "ExportError": "errors",
    "FullconvError": "errors",
    "FullyConvolutional": "conversion.converted",
    "Georeference": "geometry.placement",
    "Grid": "geometry.grid",
    "Heatmap": "scanning.heatmap",
    "HeatmapWarning": "errors",
    "ImageError": "errors",
    "ImageWarning": "errors",
    "InputError": "errors",
    "Inspection": "inspecting.inspection",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "ModelWarning": "errors",
    "OutputError": "errors",
    "Preprocessing": "preprocessing",
    "Probe": "verification.probing",
    "Progress": "scanning.progress",
    "Quantized": "quantizing.quantized",
    "Reason": "conversion.report",
    "Report": "conversion.report",
    "ScanOptions": "keywords",
    "Source": "sources",
    "TooLargeError": "errors",
    "TrainOptions": "keywords",
    "Trained": "training.trained",
    "UnsafeModelError": "errors",
    "Verification": "verification.verified",
    "WindowError": "errors",
    "convert": "conversion.converting",
    "dense_to_conv": "conversion.dense",
    "detect": "detections.detecting",
    "evaluate": "detections.evaluation",
    "explain": "conversion.converting",
    "inspect": "inspecting.reading",
    "load": "conversion.loading",
    "open_source": "sources",
    "quantize": "quantizing.quantized",
    "scan": "scanning.scanner",
    "train": "training.trainer",
    "verify": "verification.verifying",
}

# Written out, because type checkers read it.
__all__ = [
    "Agreement",
    "Change",
    "ClassEvaluation",
    "Cost",
    "Damage",
    "DamagedError",
    "Detection",
    "Detections",
    "DifferenceError",
    "Embedded",
    "Engine",
    "Evaluation",
    "ExportError",
    "FullconvError",
    "FullyConvolutional",
    "Georeference",
    "Grid",
    "Heatmap",
    "HeatmapWarning",
    "ImageError",
    "ImageWarning",
    "InputError",
    "Inspection",
    "MissingExtraError",
    "ModelError",
    "ModelWarning",
    "OutputError",
    "Preprocessing",
    "Probe",
    "Progress",
    "Quantized",
    "Reason",
    "Report",
    "ScanOptions",
    "Source",
    "TooLargeError",
    "TrainOptions",
    "Trained",
    "UnsafeModelError",
    "Verification",
    "WindowError",
    "__version__",
    "convert",
    "dense_to_conv",
    "detect",
    "evaluate",
    "explain",
    "inspect",
    "load",
    "open_source",
    "quantize",
    "scan",
    "train",
    "verify",
]

if TYPE_CHECKING:
    from fullconv.conversion.converted import FullyConvolutional as FullyConvolutional
    from fullconv.conversion.converting import convert as convert
    from fullconv.conversion.converting import explain as explain
    from fullconv.conversion.dense import dense_to_conv as dense_to_conv
    from fullconv.conversion.embedded import Embedded as Embedded
    from fullconv.conversion.loading import load as load
    from fullconv.conversion.report import Change as Change
    from fullconv.conversion.report import Cost as Cost
    from fullconv.conversion.report import Reason as Reason
    from fullconv.conversion.report import Report as Report
    from fullconv.detections.curves import ClassEvaluation as ClassEvaluation
    from fullconv.detections.detecting import detect as detect
    from fullconv.detections.evaluation import Evaluation as Evaluation
    from fullconv.detections.evaluation import evaluate as evaluate
    from fullconv.detections.found import Detection as Detection
    from fullconv.detections.found import Detections as Detections
    from fullconv.errors import DamagedError as DamagedError
    from fullconv.errors import DifferenceError as DifferenceError
    from fullconv.errors import ExportError as ExportError
    from fullconv.errors import FullconvError as FullconvError
    from fullconv.errors import HeatmapWarning as HeatmapWarning
    from fullconv.errors import ImageError as ImageError
    from fullconv.errors import ImageWarning as ImageWarning
    from fullconv.errors import InputError as InputError
    from fullconv.errors import MissingExtraError as MissingExtraError
    from fullconv.errors import ModelError as ModelError
    from fullconv.errors import ModelWarning as ModelWarning
    from fullconv.errors import OutputError as OutputError
    from fullconv.errors import TooLargeError as TooLargeError
    from fullconv.errors import UnsafeModelError as UnsafeModelError
    from fullconv.errors import WindowError as WindowError
    from fullconv.geometry.grid import Grid as Grid
    from fullconv.geometry.placement import Georeference as Georeference
    from fullconv.inspecting.inspection import Inspection as Inspection
    from fullconv.inspecting.reading import inspect as inspect
    from fullconv.keywords import ScanOptions as ScanOptions
    from fullconv.keywords import TrainOptions as TrainOptions
    from fullconv.preprocessing import Preprocessing as Preprocessing
    from fullconv.quantizing.agreement import Agreement as Agreement
    from fullconv.quantizing.quantized import Quantized as Quantized
    from fullconv.quantizing.quantized import quantize as quantize
    from fullconv.scanning.damage import Damage as Damage
    from fullconv.scanning.engine import Engine as Engine
    from fullconv.scanning.heatmap import Heatmap as Heatmap
    from fullconv.scanning.progress import Progress as Progress
    from fullconv.scanning.scanner import scan as scan
    from fullconv.sources import Source as Source
    from fullconv.sources import open_source as open_source
    from fullconv.training.trained import Trained as Trained
    from fullconv.training.trainer import train as train
    from fullconv.verification.probing import Probe as Probe
    from fullconv.verification.verified import Verification as Verification
    from fullconv.verification.verifying import verify as verify
else:
    # Hidden from type checkers: with it they would accept any name.
    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'fullconv' has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"fullconv.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
