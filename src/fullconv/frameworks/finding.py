"""Find the framework of a model or model file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from fullconv.errors import InputError, MissingExtraError, ModelError, UnsafeModelError
from fullconv.frameworks.framework import TORCHSCRIPT, Framework

KERAS = (".keras", ".h5", ".hdf5", ".json")
"""Endings of Keras' files; a ``.json`` is an architecture, with weights beside it."""

PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")


def find(model: Any) -> Framework:
    """Return the framework of a model or model file."""
    if isinstance(model, str | Path):
        if not str(model).strip():
            raise InputError("expected a model, or the path of one; got an empty name.")
        return _of_path(Path(model))
    keras = sys.modules.get("keras")
    # With the PyTorch backend, a Keras model is also a torch.nn.Module, so Keras comes first.
    if keras is not None and isinstance(model, keras.Model):
        return _keras()
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module | torch.export.ExportedProgram):
        return _torch()
    if type(model).__module__.split(".")[0] in ("onnx", "onnx_ir"):
        return _onnx()
    raise InputError(
        f"expected a torch.nn.Module, a torch.export.ExportedProgram, an onnx.ModelProto, a "
        f"keras.Model, or the path of a .pt2, .pt, .onnx, .keras, .h5 or .hdf5 file; got "
        f"{type(model).__module__}.{type(model).__qualname__}."
    )


def _of_path(path: Path) -> Framework:
    suffix = path.suffix.lower()
    if path.is_dir():
        from fullconv.frameworks.folders import read_folder

        read_folder(path)
        return _torch()
    if path.exists() and not path.is_file():
        raise ModelError(
            f"{path} is a pipe or a device, and models are read from files; save it as a file."
        )
    if suffix in TORCHSCRIPT and path.exists():
        return _of_torchscript(path)
    if suffix in PICKLES and suffix not in TORCHSCRIPT:
        raise _pickle(path)
    if suffix not in (".onnx", ".pt2", *KERAS, *TORCHSCRIPT):
        raise ModelError(
            f"{path}: the kind of model is told by its ending, and "
            f"{f'{suffix!r} is not known' if suffix else 'it has none'}. Give a .pt2 "
            f"(torch.export), .pt (TorchScript), .onnx, .keras, .h5 or .hdf5 file; or, on the "
            f"command line, code as package.module:callable."
        )
    if not path.exists():
        raise ModelError(f"{path}: no such file; check the path of the model.")
    return {".onnx": _onnx, ".pt2": _torch}.get(suffix, _keras)()


def _of_torchscript(path: Path) -> Framework:
    from fullconv.frameworks.torch.script_archive import is_cut, is_torchscript

    if is_torchscript(path):
        return _torch()
    if is_cut(path):
        raise ModelError(f"{path} is damaged or cut short; copy or save it again.")
    if path.suffix.lower() in PICKLES:
        raise _pickle(path)
    raise ModelError(
        f"{path} is no TorchScript file; save the model again with torch.jit.save, or with "
        f"torch.export.save(..., 'model.pt2')."
    )


def _pickle(path: Path) -> UnsafeModelError:
    return UnsafeModelError(
        f"{path} looks like a pickle, which runs code when it is loaded; fullconv does not "
        f"open it. Save the model with torch.export.save(..., 'model.pt2') or as .onnx; or, on "
        f"the command line, name its code, package.module:callable, and its state dict, "
        f"--weights file.safetensors or .pt."
    )


def _torch() -> Framework:
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("A PyTorch model", "torch") from None
    from fullconv.frameworks.torch.framework import TorchFramework

    return TorchFramework()


def _onnx() -> Framework:
    from fullconv.frameworks.onnx.framework import OnnxFramework

    return OnnxFramework()


def _keras() -> Framework:
    from fullconv.frameworks.keras.backend import choose_backend

    choose_backend()
    try:
        import keras  # noqa: F401
    except ImportError:
        raise MissingExtraError("A Keras model", "keras") from None
    from fullconv.frameworks.keras.framework import KerasFramework

    return KerasFramework()
