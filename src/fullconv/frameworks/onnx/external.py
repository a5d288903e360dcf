"""Weights of an ONNX model that lie in files beside it.

They are read for every tensor of the model, from its own folder and nowhere else. A path that leads
out of the folder is refused before it is opened, and one to no ordinary file before it is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import onnx
from onnx import TensorProto

from fullconv.errors import ModelError, UnsafeModelError, first_line
from fullconv.frameworks.onnx.tensors import needed_bytes, tensors_of

LARGEST = (1 << 31) - 1
"""Bytes of a model in one piece: protobuf, and so ONNX Runtime, takes no more."""

CAREFULLY = os.O_RDONLY
"""Flags that open a file: without them, a pipe would wait for a writer, a link lead elsewhere."""
for _flag in ("O_NONBLOCK", "O_NOFOLLOW", "O_BINARY"):
    CAREFULLY |= getattr(os, _flag, 0)

SHARED = 1 << 26
"""The most bytes that tensors may read more than once, all together."""


def load_external(
    model: onnx.ModelProto, folder: Path, label: str, real: Path | None = None
) -> None:
    """Read all external data of a model into it.

    Parameters
    ----------
    folder : Path
        The folder of the model and of its data.
    label : str
        The name of the model in messages.
    real : Path, optional
        The folder of the file that the model's own path is a link to: caches of hubs keep a model
        and its data under other names, side by side, and link to both.

    Raises
    ------
    UnsafeModelError
        If data would come from anywhere else, or from anything but an ordinary file.
    ModelError
        If it cannot be read, is too short, or is claimed more than once.
    """
    External(folder, label, real or folder).load(model)


def has_external(model: onnx.ModelProto) -> str | None:
    """Return the name of a tensor whose data lies in another file; None where none does."""
    for tensor in tensors_of(model):
        if tensor.data_location == TensorProto.EXTERNAL:
            return tensor.name
    return None


class External:
    """The files beside one model."""

    def __init__(self, folder: Path, label: str, real: Path) -> None:
        self.folder, self.label = folder, label
        self.allowed = {folder.resolve(), real.resolve()}
        self.files: dict[Path, tuple[BinaryIO, int]] = {}
        self.claimed = 0

    def load(self, model: onnx.ModelProto) -> None:
        """Read every tensor; see `load_external`."""
        wanted = [t for t in tensors_of(model) if t.data_location == TensorProto.EXTERNAL]
        if not wanted:
            return
        own = model.ByteSize()
        with ExitStack() as opened:
            places = [(tensor, *self._place(tensor, opened, own)) for tensor in wanted]
            for tensor, file, offset, length in places:
                file.seek(offset)
                data = file.read(length)
                if len(data) != length:
                    raise self._unreadable("it became shorter while it was read")
                tensor.ClearField("external_data")
                tensor.ClearField("data_location")
                tensor.raw_data = data

    def _place(self, tensor: TensorProto, opened: ExitStack, own: int) -> tuple[BinaryIO, int, int]:
        """Return the file, offset and length of a tensor's data; nothing of it is read yet."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        try:
            needed = needed_bytes(tensor)
            offset, length = (
                self._number(entries, "offset", 0),
                self._number(entries, "length", needed),
            )
        except ValueError as error:
            raise self._wrong(tensor, str(error)) from None
        file, size = self._file(tensor, entries.get("location", ""), opened)
        if length != needed:
            raise self._wrong(tensor, f"takes {needed} bytes, and {length} are given")
        if offset + length > size:
            raise self._wrong(tensor, f"ends at byte {offset + length} of a file of {size} bytes")
        self.claimed += length
        if own + self.claimed > LARGEST:
            raise ModelError(
                f"{self.label}: its weights take more than {LARGEST} bytes, which ONNX Runtime "
                f"cannot be given in one piece; export it in half precision, or convert the "
                f"model from PyTorch."
            )
        if self.claimed > SHARED + sum(size for _, size in self.files.values()):
            raise self._wrong(tensor, "shares its bytes with too many other weights")
        return file, offset, length

    def _number(self, entries: Mapping[str, str], key: str, usual: int) -> int:
        text = entries.get(key, "")
        if not text:
            return usual
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise ValueError(f"has the {key} {text[:40]!r}, which is no whole number")
        return int(text)

    def _file(self, tensor: TensorProto, location: str, opened: ExitStack) -> tuple[BinaryIO, int]:
        target = self._target(tensor, location)
        if target in self.files:
            return self.files[target]
        try:
            file = opened.enter_context(os.fdopen(os.open(target, CAREFULLY), "rb"))
            status = os.fstat(file.fileno())
        except OSError as error:
            reason = error.strerror or first_line(error)
            raise self._unreadable(f"{location[:60]}: {reason}") from None
        if not stat.S_ISREG(status.st_mode):
            raise UnsafeModelError(
                f"{self.label}: its weight {tensor.name!r} points to {location!r}, which is no "
                f"ordinary file; put the data file beside the model."
            )
        self.files[target] = file, status.st_size
        return self.files[target]

    def _target(self, tensor: TensorProto, location: str) -> Path:
        try:
            target = (self.folder / location).resolve()
            inside = bool(location) and any(
                target.is_relative_to(folder) for folder in self.allowed
            )
        except (OSError, ValueError, RuntimeError):
            raise self._unreadable(f"{location[:60]!r} is the name of no file") from None
        if not location:
            raise self._wrong(tensor, "does not say where its data lies")
        # A path with steps upwards may lead back in; it still says where the folder lies.
        if not inside or Path(location).is_absolute() or ".." in Path(location).parts:
            raise UnsafeModelError(
                f"{self.label}: its weight {tensor.name!r} points to {location!r}, outside the "
                f"model's own folder; fullconv does not follow it. Put the data file beside the "
                f"model."
            )
        return target

    def _unreadable(self, why: str) -> ModelError:
        return ModelError(
            f"{self.label}: its external data cannot be read ({why}); keep the data file beside "
            f"the model."
        )

    def _wrong(self, tensor: TensorProto, fault: str) -> ModelError:
        return ModelError(
            f"{self.label}: its weight {tensor.name!r}, of "
            f"{'x'.join(map(str, tensor.dims)) or 'one number'}, {fault}; export the model again, "
            f"or copy it with its data file."
        )
