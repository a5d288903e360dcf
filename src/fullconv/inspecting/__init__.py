"""The contents of a model file, read without running anything from it."""

from __future__ import annotations

from fullconv.inspecting.inspection import Inspection
from fullconv.inspecting.reading import inspect

__all__ = ["Inspection", "inspect"]
