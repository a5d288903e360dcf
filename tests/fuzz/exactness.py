"""Whether a converted ONNX model that says it is exact gives the scores of single crops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

import fullconv
from oracle import leaves, onnx_classifier, scores_of_crops

OFF = 1e-3
"""Far more than rounding, as a share of the largest score."""

FEW = 0.1
"""A share of the scores that may be off: a number that lies on the border of two, for a model that
rounds inside, may fall to either side."""


def wrong(folder: Path, call: list[str]) -> str | None:
    """Say where scores that claim to be the crops' are others; None also where none can be had."""
    if call[0] != "convert":
        return None
    fcn = fullconv.load(folder / call[call.index("-o") + 1])
    channels, (h, w), (sy, sx) = fcn.shape.channels, fcn.grid.window, fcn.grid.step
    if not fcn.report.exact:
        return None
    noise = np.random.default_rng(0).standard_normal((1, channels, h + 2 * sy, w + 3 * sx))
    images: Any = 3 * noise.astype(np.float32)
    try:
        classify = onnx_classifier(onnx.load(folder / call[1]))
        expected = scores_of_crops(classify, images, (h, w), (sy, sx), batch=1)
    except Exception:  # ONNX Runtime refuses the original, or it takes other images
        return None
    for (name, mine), (_, theirs) in zip(leaves(fcn(images)), leaves(expected), strict=True):
        if mine.shape != theirs.shape:
            return f"{name}: shape {mine.shape} in place of {theirs.shape}"
        known = np.isfinite(theirs)
        if not np.array_equal(np.isfinite(mine), known):
            return f"{name}: NaN or infinite in other places"
        apart = np.abs(mine[known].astype(float) - theirs[known].astype(float))
        if apart.size and (apart > OFF * np.abs(theirs[known]).max()).mean() > FEW:
            return f"{name}: off by {apart.max():.3g} where it claims to be exact"
    return None
