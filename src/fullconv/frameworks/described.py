"""What is known of a classifier beside its network, in the words that our model files use."""

from __future__ import annotations

import json
from collections.abc import Sequence

from fullconv.preprocessing import Preprocessing


def described(
    window: tuple[int, int], preprocessing: Preprocessing, classes: Sequence[str]
) -> dict[str, str]:
    """Return metadata that say a classifier's window, preprocessing and class names."""
    return {
        "fullconv.window": json.dumps(window),
        "fullconv.classes": json.dumps(list(classes)),
        "fullconv.preprocessing": preprocessing.to_json(),
    }
