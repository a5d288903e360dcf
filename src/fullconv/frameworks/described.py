"""The window, preprocessing and class names of a classifier, as our model files store them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fullconv.frameworks.framework import METADATA
from fullconv.preprocessing import Preprocessing


def with_metadata(
    model: Any, window: tuple[int, int], preprocessing: Preprocessing, classes: Sequence[str]
) -> Any:
    """Attach window, preprocessing and class names to a model, and return it."""
    metadata = {
        "fullconv.window": json.dumps(window),
        "fullconv.classes": json.dumps(list(classes)),
        "fullconv.preprocessing": preprocessing.to_json(),
    }
    setattr(model, METADATA, metadata)
    return model
