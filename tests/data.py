"""Real data for tests: where it lies, and the skip that says why it is not there.

The folder is named by the environment variable FULLCONV_DATA; else it is shared/data beside the
repository. It is no part of the product, and a test that needs it skips without it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def data_root() -> Path:
    """Return the folder where real data is looked for, whether it exists or not."""
    named = os.environ.get("FULLCONV_DATA")
    return Path(named) if named else REPOSITORY.parent / "shared/data"


def data_file(name: str) -> Path:
    """Return the path of a data file, or skip the test and say what is missing."""
    path = data_root() / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {data_root()}; FULLCONV_DATA names another folder")
    return path


def mosaic(pictures: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return ``rows * columns`` pictures ``(N, C, h, w)`` as one image ``(1, C, H, W)``."""
    _, channels, height, width = pictures.shape
    tiles = pictures.reshape(rows, columns, channels, height, width)
    return tiles.transpose(2, 0, 3, 1, 4).reshape(1, channels, rows * height, columns * width)
