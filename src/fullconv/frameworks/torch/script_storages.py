"""Check that the records of a TorchScript file are as long as its tensors need.

``torch.jit.load`` takes the sizes of storages and tensors from the file's pickles, and trusts them:
where a record is shorter, a tensor reads memory that is not its own (torch 2.13,
``torch/csrc/jit/serialization/unpickler.cpp``). ``torch.load`` compares them itself.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fullconv.errors import FullconvError, ModelError

PICKLES = ("data", "constants")
"""The pickles that contain tensors; the records of each are in a folder of its name."""


def check_storages(path: Path) -> None:
    """Refuse a TorchScript archive in which a tensor reaches beyond its record.

    Raises
    ------
    ModelError
        If a tensor does, or a record is shorter than its storage.
    ValueError
        If its pickles cannot be read.
    """
    reader = torch._C.PyTorchFileReader(str(path))
    for name in PICKLES:
        try:
            _Layout(path, reader, name).load()
        except FullconvError:
            raise
        except Exception as error:
            raise ValueError(f"{name}.pkl: {error}") from None


def reach(start: int, size: Sequence[int], stride: Sequence[int]) -> int:
    """Return how many numbers a storage needs for a tensor in it; 0 for an empty tensor."""
    steps = zip(size, stride, strict=True)
    return start + 1 + sum((n - 1) * step for n, step in steps) if math.prod(size) else 0


@dataclass(frozen=True)
class _Storage:
    record: str
    numel: int


class _Inert:
    """An empty object in place of all others in a pickle; it ignores its arguments."""

    def __init__(self, *given: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass


class _Layout(pickle.Unpickler):
    """Reads the storages and sizes of the tensors in a pickle, and nothing else."""

    def __init__(self, path: Path, reader: Any, name: str) -> None:
        super().__init__(io.BytesIO(reader.get_record(f"{name}.pkl")))
        self.path, self.reader, self.folder = path, reader, name

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_qtensor"):
            return self._tensor
        if name.startswith("_rebuild"):
            raise ValueError(f"{name} is not known")
        # The class of a storage gives the number of bytes per number.
        return name if module == "torch" and name.endswith("Storage") else _Inert

    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, _, numel = pid
        record = f"{self.folder}/{key}"
        needed = numel * getattr(torch, kind).dtype.itemsize
        stored = self.reader.get_record_size(record) if numel else 0
        if not 0 <= needed <= stored:
            raise self._damaged(
                f"{record} in it is of {stored} bytes, and the tensors there take {needed}"
            )
        return _Storage(record, numel)

    def _tensor(
        self, storage: _Storage, start: int, size: Sequence[int], stride: Sequence[int], *_: object
    ) -> _Inert:
        end = reach(start, size, stride)
        if min((start, *size, *stride)) < 0 or end > storage.numel:
            raise self._damaged(
                f"{storage.record} in it is of {storage.numel} numbers, and a tensor there takes "
                f"{start} to {end}"
            )
        return _Inert()

    def _damaged(self, fault: str) -> ModelError:
        return ModelError(
            f"{self.path} is damaged: {fault}; copy it again, or save it again with torch.jit.save."
        )
