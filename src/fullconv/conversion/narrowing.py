"""A converted network in half precision, and the comparison with crops that shows what it costs."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.precision import EPSILONS, LARGEST_F16
from fullconv.errors import DifferenceError, InputError
from fullconv.frameworks import find
from fullconv.geometry.grid import unraveled
from fullconv.verification.judging import Crops, Scores, judge, judge_rounded
from fullconv.verification.probing import CONTRASTS, Probe, random_pixels
from fullconv.verification.verified import Verification
from fullconv.verification.verifying import arrays, scores_at

USUAL = CONTRASTS.index(1.0)
"""The contrast that covers just the range of what the classifier is given."""


def check_precision(precision: str | None) -> None:
    """Refuse what is no precision that networks are narrowed to.

    Raises
    ------
    InputError
    """
    if precision is not None and precision not in EPSILONS:
        raise InputError(
            f"convert(precision={precision!r}): expected {' or '.join(map(repr, EPSILONS))}; left "
            f"out, the network computes as its classifier does."
        )


def narrow(
    fcn: FullyConvolutional, precision: str, classifier: Any, check: bool = True
) -> FullyConvolutional:
    """Return a converted network in half precision, in ONNX whatever its framework was.

    Its weights and arithmetic are in that precision; it takes images and gives scores in float32.
    See Note [What half precision costs].

    Parameters
    ----------
    fcn : FullyConvolutional
    precision : {"f16", "bf16"}
    classifier
        The classifier in memory that it was converted from.
    check : bool
        Compare windows of random pixels with their crops, scored by the classifier as it is.

    Raises
    ------
    ExportError
        If a network of another framework cannot be written as ONNX.
    DifferenceError
        If the scores differ by more than roundings of that precision.
    """
    from fullconv.frameworks.onnx.narrowing import narrowed
    from fullconv.runtimes.choosing import in_onnx

    single = in_onnx(fcn)
    report = replace(
        single.report,
        exact=False,
        precision=precision,
        rounded=single.report.exact,
        warnings=fcn.report.warnings,
    )
    made = copy.copy(single)
    made.model, made.report = narrowed(single.model, precision), report
    return _compared(made, classifier) if check and not report.random else made


def _compared(fcn: FullyConvolutional, classifier: Any) -> FullyConvolutional:
    """Say in the report how a network compares with crops; refuse one that is not what it says."""
    precision = fcn.report.precision
    proof, *others = (_proof(fcn, classifier, image) for image in _images(fcn))
    if fcn.report.rounded and not proof.passed:
        numbers = f"passes numbers beyond {LARGEST_F16}, or " if precision == "f16" else ""
        other = "bf16, which has the range of f32, or f32" if precision == "f16" else "f32"
        raise DifferenceError(
            f"convert(precision={precision!r}): scores of random pixels differ from the crops' by "
            f"up to {proof.max_error:.3g}, and more than {proof.allowed:.3g} is no rounding of "
            f"{precision}: the classifier {numbers}magnifies roundings; take {other}. check=False "
            f"(--no-check) writes it all the same."
        )
    fcn.report = replace(
        fcn.report,
        check=(
            f"checked  {proof.windows} windows of random pixels in {precision}: largest difference "
            f"from their crops {proof.max_error:.3g} ({proof.allowed:.3g} is allowed), same best "
            f"class in {100 * proof.agreement:.1f} %"
        ),
    )
    if any(not other.passed for other in others):
        line = (
            f"for pixels of 0 to 255 the scores in {precision} differ from the crops' by more than "
            f"roundings; say what is done to pixels first (preprocessing), or verify it on a "
            f"picture of your own"
        )
        fcn.report = replace(fcn.report, warnings=(*fcn.report.warnings, line))
    fcn.probe = Probe(proof, alike=False, varies=False)
    return fcn


def _images(fcn: FullyConvolutional) -> list[Any]:
    """Return an image of random pixels in the range that the classifier takes, of some windows.

    Where nothing says that range, one of bytes as well.
    """
    window, two = fcn.grid.window, fcn.shape.two_windows
    more = 3 if len(window) < 3 else 1
    size = tuple(w + more * (both - w) for w, both in zip(window, two, strict=True))
    if any(map(any, fcn.halo)):
        size = window
    pixels = random_pixels(fcn, size)
    places = [USUAL, *range(len(CONTRASTS), len(pixels))]
    return [pixels[place : place + 1] for place in places]


def _proof(fcn: FullyConvolutional, classifier: Any, image: Any) -> Verification:
    """Compare all windows of an image with their crops."""
    counts = fcn.grid.shape(image.shape[2:])
    places = [unraveled(k, counts) for k in range(int(np.prod(counts)))]
    maps = arrays(fcn.framework, fcn.scores(fcn.framework.images(fcn.model, image)))
    lifted = [
        np.stack(scores)
        for scores in zip(*(scores_at(maps, 0, place) for place in places), strict=True)
    ]
    framework = find(classifier)
    classify = framework.classifier(classifier, fcn.shape.takes)
    crops = [
        framework.images(
            classifier,
            fcn.shape.as_crops(image[(slice(None), slice(None), *fcn.grid.slices(*place))]),
        )
        for place in places
    ]

    def alone(k: int) -> Scores:
        return arrays(framework, classify(crops[k]))

    def together(n: int) -> Scores:
        return arrays(framework, classify(framework.join(crops[:n], 0)))

    company = Crops(alone, together)
    if fcn.report.rounded:
        return judge_rounded(lifted, company, fcn.report.precision)
    return judge(lifted, company, exact=False)
