"""How far the scores of a network in integers are from those of crops of the classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.converted import FullyConvolutional
from fullconv.frameworks import find
from fullconv.quantizing.photos import PhotoPart
from fullconv.verification.judging import Scores
from fullconv.verification.verifying import arrays, scores_at


@dataclass(frozen=True)
class Agreement:
    """How scores compare with those of crops, scored by the classifier one at a time.

    Attributes
    ----------
    windows : int
    same_class : float
        Share of the windows with the same best class; for one score, on the same side of 0.5 where
        it is a probability, else of 0.
    mean_difference, max_difference : float
        Between scores of the same window and class.
    largest : float
        The largest score of a crop, without its sign.
    """

    windows: int
    same_class: float
    mean_difference: float
    max_difference: float
    largest: float

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"same best class in {100 * self.same_class:.1f} % of {self.windows} windows; scores "
            f"differ by {self.mean_difference:.3g} on average and {self.max_difference:.3g} at "
            f"most (the largest is {self.largest:.3g})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


def crop_scorer(fcn: FullyConvolutional, classifier: Any) -> Callable[[PhotoPart], Scores]:
    """Return a function that scores the crops of a part's windows, each alone."""
    framework = find(classifier)
    classify = framework.classifier(classifier, fcn.shape.takes)

    def scores(part: PhotoPart) -> Scores:
        found = [
            arrays(framework, classify(framework.images(classifier, fcn.shape.as_crops(crop))))
            for crop in part.crops(fcn)
        ]
        return [
            np.stack([np.reshape(row, -1) for row in rows]) for rows in zip(*found, strict=True)
        ]

    return scores


def measure(
    fcn: FullyConvolutional, parts: Sequence[PhotoPart], of_crops: Sequence[Scores]
) -> Agreement:
    """Compare a network's scores at the windows of some parts with those of their crops."""
    found = []
    for part in parts:
        maps = arrays(fcn.framework, fcn.scores(fcn.framework.images(fcn.model, part.pixels)))
        rows = [[np.reshape(row, -1) for row in scores_at(maps, 0, place)] for place in part.places]
        found.append([np.stack(own) for own in zip(*rows, strict=True)])
    given, own = (
        [np.concatenate(output).astype(np.float64) for output in zip(*scores, strict=True)]
        for scores in (found, of_crops)
    )
    gaps = np.concatenate([np.abs(a - b).ravel() for a, b in zip(given, own, strict=True)])
    return Agreement(
        len(own[0]),
        _same_class(given[0], own[0]),
        float(gaps.mean()),
        float(gaps.max()),
        float(max(np.abs(output).max() for output in own)),
    )


def _same_class(given: NDArray[np.float64], own: NDArray[np.float64]) -> float:
    if own.shape[1] > 1:
        return float(np.mean(given.argmax(axis=1) == own.argmax(axis=1)))
    side = 0.5 if (own >= 0).all() and (own <= 1).all() else 0.0
    return float(np.mean((given > side) == (own > side)))
