"""The device that PyTorch trains on, and reproducible results on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fullconv.errors import InputError


def device_of(name: str | None) -> torch.device:
    """Return the device to train on: the one named, else CUDA if available, else the CPU.

    Raises
    ------
    InputError
        If PyTorch has no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda"):
        raise InputError(f"train(device={name!r}): expected 'cpu' or 'cuda'.")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "train --device cuda: PyTorch sees no CUDA device here; leave the device out, or "
            "install a build of PyTorch for your GPU's driver."
        )
    return torch.device(name)


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """Make random numbers depend on the seed alone; the caller's generators are left untouched."""
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    # cuBLAS reads this when it starts. Without it, sums may differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[device]):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
