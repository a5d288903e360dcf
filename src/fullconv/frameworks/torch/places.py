"""Where in somebody's code a trace ended."""

from __future__ import annotations

import os
import traceback

import torch

import fullconv
from fullconv.errors import first_line

LIBRARIES = tuple(
    os.path.join(os.path.dirname(os.path.abspath(module.__file__ or "")), "")
    for module in (torch, fullconv)
)


def where(error: Exception) -> str:
    """Return the last line of the model's own code that an error came through; empty for none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not os.path.abspath(frame.filename).startswith(LIBRARIES) and frame.name != "<lambda>"
    ]
    # Ahead of the first frame of PyTorch lies who called us, and not the model.
    begun = next((n for n, f in enumerate(frames) if f.filename.startswith(LIBRARIES[0])), None)
    if begun is None or not own or frames.index(own[-1]) < begun:
        return ""
    last = own[-1]
    text = f", {first_line(ValueError(last.line))!r}" if last.line else ""
    return f"{last.filename}:{last.lineno}, in {last.name}{text}"


def depends_on_pixels(error: Exception) -> bool:
    """Whether a trace ended because the model took a decision by what the pixels are."""
    kind = type(error).__name__
    return kind.startswith("GuardOnDataDependent") or "data-dependent" in str(error)
