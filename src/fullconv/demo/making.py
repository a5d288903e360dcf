"""Train the packaged dress classifier as `fullconv train` would, on drawn crops."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from fullconv.choices import Flips
from fullconv.demo.crops import Drawn
from fullconv.errors import MissingExtraError
from fullconv.training.telling import Listener, unheard

if TYPE_CHECKING:
    from fullconv.training.trained import Trained

MODEL = "dress.onnx"

FLIPS: Flips = "h"
"""The mirror image of a street is a street."""

EPOCHS = 6
"""Drawn dresses are learnt quickly."""


def require_training() -> None:
    """Check before drawing that training is possible.

    Raises
    ------
    MissingExtraError
        If PyTorch, safetensors or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401
        import safetensors  # noqa: F401
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("demo --train", "train") from None


def command_line(drawn: Drawn, model: Path) -> str:
    """Return the command line that is equivalent to `make_classifier`."""
    return shlex.join(
        [
            *("fullconv", "train", str(drawn.crops), "-o", str(model)),
            *("--negatives", str(drawn.photos), "--flips", FLIPS, "--epochs", str(EPOCHS)),
        ]
    )


def make_classifier(drawn: Drawn, model: Path, progress: Listener = unheard) -> Trained:
    """Train the dress classifier on drawn crops and write it; an older model is replaced.

    Raises
    ------
    FullconvError
        As `fullconv.training.trainer.train` does.
    """
    from fullconv.training.trainer import train

    return train(
        drawn.crops,
        model,
        negatives=drawn.photos,
        flips=FLIPS,
        epochs=EPOCHS,
        overwrite=True,
        progress=progress,
    )
