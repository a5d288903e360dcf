"""Converted models in PyTorch, on the CPU or CUDA."""

from __future__ import annotations

import contextlib
import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils import _pytree as pytree

from fullconv.errors import InputError
from fullconv.runtimes.runtime import Runtime

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""The layouts in which channels lie last, by the axes of a tensor."""


class InTorch(Runtime):
    """A module as it is; or a copy of it, for another precision or device."""

    name = "torch"

    def __init__(
        self, model: nn.Module, precision: str, device: str | None, lanes: int = 1
    ) -> None:
        current, dtype = _where(model)
        wanted = current if device is None else _device(device)
        # Lanes share all threads: how many there are is a setting of the process.
        super().__init__(precision, wanted.type, lanes if wanted.type == "cpu" else 1)
        double = precision == "f32" and dtype == torch.float64
        self._dtype = dtype if double else DTYPES[precision]
        # Half-precision convolutions are twice as fast with the channels last (measured, oneDNN);
        # the copy is made anyway.
        half = self._dtype not in (torch.float32, torch.float64)
        self._is_last = half
        if (current, dtype) != (wanted, self._dtype):
            model = copy.deepcopy(model).to(wanted, self._dtype)
            for weight in model.parameters() if half else ():
                if weight.dim() in CHANNELS_LAST:
                    layout = CHANNELS_LAST[weight.dim()]
                    weight.data = weight.data.contiguous(memory_format=layout)
        self._model: nn.Module | None = model
        self._evaluating = Shared(lambda: _evaluating(model))
        self._device = wanted

    def _outputs(self, images: NDArray[np.float32]) -> Sequence[NDArray[Any]]:
        if self._model is None:
            raise RuntimeError("it is closed")
        # PyTorch warns of arrays that must not be written to, and refuses views that run backward.
        tensor = torch.from_numpy(np.require(images, np.float32, ["C", "W"]))
        layout = torch.contiguous_format
        if self._is_last:
            layout = CHANNELS_LAST.get(tensor.dim(), layout)
        tensor = tensor.to(self._device, self._dtype, memory_format=layout)
        with torch.inference_mode(), IN_FULL_PRECISION, self._evaluating:
            leaves = pytree.tree_leaves(self._model(tensor))
        return [_numpy(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def close(self) -> None:
        """Let go of the model."""
        self._model = None


class Shared:
    """A context that several threads are in at a time: the first enters it, the last leaves it."""

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._make, self._lock, self._inside = make, threading.Lock(), 0
        self._entered = contextlib.ExitStack()

    def __enter__(self) -> None:
        """Enter; wait while the first thread is entering."""
        with self._lock:
            if not self._inside:
                self._entered.enter_context(self._make())
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        """Leave."""
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._entered.close()


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 as float32 inside: no TF32 on CUDA, no bfloat16 in oneDNN."""
    cudnn: Any = torch.backends.cudnn
    mkldnn: Any = torch.backends.mkldnn
    backends = [cudnn.conv, torch.backends.cuda.matmul, mkldnn.conv, mkldnn.matmul]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


IN_FULL_PRECISION = Shared(full_precision)
"""One for the whole process, as these settings are."""


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Score as in use, without dropout or batch statistics, and leave the mode as it was."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def _where(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return the device and the type of a model's weights."""
    tensors = [*model.parameters(), *model.buffers()]
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    first = next(iter(floats or tensors), torch.zeros(()))
    return first.device, first.dtype if first.is_floating_point() else torch.float32


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r}: expected 'cpu' or 'cuda'.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device {name!r}: PyTorch sees no CUDA device here; leave the device out, or install "
            f"a build of PyTorch for your GPU's driver."
        )
    return device


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    tensor = tensor.cpu()
    half = tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64)
    array: NDArray[Any] = (tensor.float() if half else tensor).numpy()
    return array
