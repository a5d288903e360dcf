"""Which file holds what kind of model, and what is read of each: structure, never code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fullconv.errors import InputError
from fullconv.frameworks import find
from fullconv.frameworks.finding import KERAS
from fullconv.frameworks.framework import TORCHSCRIPT
from fullconv.frameworks.torch.script_archive import is_torchscript
from fullconv.inspecting.contents import ModelContents
from fullconv.inspecting.inspection import Inspection
from fullconv.system.files import check_local


def inspect(path: str | Path) -> Inspection:
    """Say what a model file holds: a converted one, or a classifier.

    Nothing is run or unpickled, and neither PyTorch nor Keras is needed.

    Parameters
    ----------
    path : str or Path
        An ``.onnx``, ``.pt2``, ``.keras``, ``.h5``, ``.hdf5``, TorchScript ``.pt``, or ``.json``
        file of Keras' architecture.

    Raises
    ------
    InputError
        If it is a folder.
    UnsafeModelError
        If it is a pickle.
    ModelError
        If there is no such file, it is of another kind, or it is broken.
    """
    path = check_local("inspect(path)", path, reads=True)
    if path.is_dir():
        raise InputError(
            f"inspect {path}: it is a folder, and what is inspected is a file; name the model's "
            f"file in it, or read what a conversion would do with 'fullconv explain {path}'."
        )
    return Inspection.of(path, _reader(path)(path))


def _reader(path: Path) -> Callable[[Path], ModelContents]:
    suffix = path.suffix.lower()
    if path.is_file():
        if suffix == ".pt2":
            from fullconv.inspecting.program_file import read_program

            return read_program
        if suffix in KERAS:
            from fullconv.inspecting.keras_file import read_keras

            return read_keras
        if suffix in TORCHSCRIPT and is_torchscript(path):
            from fullconv.inspecting.program_file import read_script

            return read_script
    find(path)  # refuses all but .onnx: what is no file, is a pickle, or is of another kind
    from fullconv.inspecting.onnx_file import read_onnx

    return read_onnx
