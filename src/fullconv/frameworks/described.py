"""What is known of a classifier beside its network, in the words that our model files use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fullconv.frameworks.framework import METADATA
from fullconv.preprocessing import Preprocessing


def with_metadata(
    model: Any, window: tuple[int, int], preprocessing: Preprocessing, classes: Sequence[str]
) -> Any:
    """Return the model, which now carries its window, preprocessing and class names."""
    metadata = {
        "fullconv.window": json.dumps(window),
        "fullconv.classes": json.dumps(list(classes)),
        "fullconv.preprocessing": preprocessing.to_json(),
    }
    setattr(model, METADATA, metadata)
    return model
