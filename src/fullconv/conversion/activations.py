"""Functions that turn scores into probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def softmax(scores: NDArray[Any], axis: int) -> NDArray[np.float64]:
    """Return the chances of classes that lie along an axis, in double precision.

    An infinite score gives no chances: NaN.
    """
    import numpy as np

    values = scores.astype(np.float64)
    with np.errstate(invalid="ignore"):
        powers = np.exp(values - values.max(axis=axis, keepdims=True))
    chances: NDArray[np.float64] = powers / powers.sum(axis=axis, keepdims=True)
    return chances


def sigmoid(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return the chance of every class by itself, in double precision."""
    import numpy as np

    # Without overflow: exp is taken of negative numbers only.
    small = np.exp(-np.abs(scores.astype(np.float64)))
    chances: NDArray[np.float64] = np.where(scores < 0, small, 1) / (1 + small)
    return chances
