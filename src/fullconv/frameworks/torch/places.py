"""Find the place in the user's code where a trace failed."""

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
    """Return the last line of the model's own code in an error's traceback; empty for none."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if not os.path.abspath(frame.filename).startswith(LIBRARIES) and frame.name != "<lambda>"
    ]
    # Frames before the first one of PyTorch are the caller's, not the model's.
    begun = next((n for n, f in enumerate(frames) if f.filename.startswith(LIBRARIES[0])), None)
    if begun is None or not own or frames.index(own[-1]) < begun:
        return ""
    last = own[-1]
    text = f", {first_line(ValueError(last.line))!r}" if last.line else ""
    return f"{last.filename}:{last.lineno}, in {last.name}{text}"


def depends_on_pixels(error: Exception) -> bool:
    """Whether a trace failed because the model branches on the values of pixels."""
    kind = type(error).__name__
    return kind.startswith("GuardOnDataDependent") or "data-dependent" in str(error)
