"""Mutations of what JSON says: entries lost, more, or of another kind or size."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 1 << 31, 1 << 63, 10**400, 0.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), "", "text", "\0", "NaN", "1", "../x", "/", [], [[]], {}, [None]),
    *({"a": 1}, [1], [0, 0], [-1, -1], [1, 1, 1], ["a", "b"], [1 << 62, 1 << 62], [0.5, 0.5]),
)


def changed(data: bytes, rng: np.random.Generator) -> bytes:
    """Return JSON with one value changed, at any depth."""
    return json.dumps(_inside(json.loads(data), rng)).encode()


def _inside(value: Any, rng: np.random.Generator) -> Any:
    other = VALUES[int(rng.integers(len(VALUES)))]
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return other
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key: Any = keys[int(rng.integers(len(keys)))]
    made = value.copy()
    kind = rng.random()
    if kind < 0.2:
        del made[key]
    elif kind < 0.3 and isinstance(made, dict):
        made["more"] = other
    elif kind < 0.3:
        made.extend(value)
    else:
        made[key] = _inside(value[key], rng)
    return made
