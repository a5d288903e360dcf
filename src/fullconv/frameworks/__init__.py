"""The interface between the core and the frameworks: one class each, imported when needed."""

from __future__ import annotations

from fullconv.frameworks.finding import find
from fullconv.frameworks.framework import Framework

__all__ = ["Framework", "find"]
