"""Where PyTorch computes, and how the same comes out again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fullconv.errors import InputError


def device_of(name: str | None) -> torch.device:
    """Return where to train: CUDA where there is one, unless another is named.

    Raises
    ------
    InputError
        If there is no such device.
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
    """Let the same seed give the same numbers, and leave the caller's generators alone."""
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    # cuBLAS reads this when it starts; without it its sums may differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[device]):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
