"""A probe at every conversion: windows of random pixels, as crops and by the converted network.

The readers know what most operations do with the images of a batch. The probe finds what no reader
foresaw: scores that depend on chance, a runtime that fails on the result, a rule that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fullconv.conversion.converted import FullyConvolutional
from fullconv.errors import ModelError, first_line
from fullconv.frameworks import Framework, find
from fullconv.geometry.grid import Sizes, unraveled
from fullconv.geometry.images import Takes
from fullconv.verification.judging import ROUNDINGS, Crops, Scores, judge
from fullconv.verification.verified import Verification
from fullconv.verification.verifying import arrays, scores_at
from fullconv.wording import extent, unit

CONTRASTS = (0.1, 1.0, 10.0)
"""Random pixels cover the range of the classifier's images this many times, image by image."""

BYTES = 255.0
"""One more contrast where that range is unknown: it may be that of bytes."""

PLACES = (((0, 1),), ((1, 0), (1, 1)), ((2, 0),), ((3, 0),))
"""For each contrast the windows that are compared, (image, window): two of them side by side."""

ALONE = (((0, 0),), ((1, 0),), ((2, 0),), ((3, 0),))
"""As `PLACES`, where each image is one window."""

SPARE = 8
"""Further crops of each contrast that show roundings, where double precision decides."""


@dataclass(frozen=True)
class Probe:
    """The result of a probe.

    Attributes
    ----------
    proof : Verification
        The comparison of the converted network with crops alone.
    alike : bool
        Whether all windows have the same scores, so that nothing was proved.
    varies : bool
        Whether a crop has other scores when it is scored again; checked where the proof failed.
    changed : tuple of str
        Names of values that the classifier overwrites when it scores a crop, or of operations that
        may do so; checked with ``varies``.
    dimensions : int
        Number of axes of the windows.
    """

    proof: Verification
    alike: bool
    varies: bool
    changed: tuple[str, ...] = ()
    dimensions: int = 2

    @property
    def reason(self) -> str:
        """Why a crop may have other scores each time."""
        if not self.changed:
            return "keeps state between calls or draws random numbers"
        named = ", ".join(self.changed[:3]) + (", ..." if len(self.changed) > 3 else "")
        return f"keeps state between calls, in {named}"

    def __str__(self) -> str:
        """Return the number of windows compared, and the largest difference."""
        things = unit(self.dimensions, many=True)
        return (
            f"{self.proof.windows} windows of random {things}: largest difference from their crops "
            f"{self.proof.max_error:.3g}, the model's own {self.proof.self_error:.3g}"
        )


def probe(fcn: FullyConvolutional, model: Any) -> Probe:
    """Compare windows of random pixels with their crops, each alone, a batch of one.

    Where a score may see beyond its window, every image is one window.

    Parameters
    ----------
    fcn : FullyConvolutional
        The converted network, which runs as it will for its user.
    model
        The classifier in memory.

    Raises
    ------
    ModelError
        If the classifier fails on a crop, or the converted network on the images.
    """
    framework = find(model)
    size = fcn.shape.two_windows if fcn.report.exact else fcn.grid.window
    pixels, counts = random_pixels(fcn, size), fcn.grid.shape(size)
    groups = (PLACES if size != fcn.grid.window else ALONE)[: len(pixels)]
    places = [(n, *unraveled(j, counts)) for group in groups for n, j in group]

    def crop(pixels: Any, n: int, place: Sequence[int]) -> Any:
        cut = pixels[(slice(n, n + 1), slice(None), *fcn.grid.slices(*place))]
        return framework.images(model, fcn.shape.as_crops(cut))

    crops = [crop(pixels, n, place) for n, *place in places]
    classifier, converted = (
        _Classifier(framework, model, crops, fcn.shape.takes, fcn.grid.dimensions),
        _Converted(fcn, pixels, places),
    )
    alone = [classifier.scores(crop) for crop in crops]
    lifted = converted.scores()
    proofs, first = [], 0
    for contrast, group in enumerate(groups):
        part = slice(first, first := first + len(group))

        def spare(k: int, contrast: int = contrast) -> Any:
            return crop(random_pixels(fcn, fcn.grid.window, 1 + k), contrast, (0,) * len(size))

        company = classifier.company(alone, part, converted, spare)
        given = [output[part] for output in lifted]
        proofs.append(judge(given, company, fcn.report.exact, epsilon=framework.epsilon(model)))
    proof, varies = _merged(proofs), False
    changed: tuple[str, ...] = ()
    if not proof.passed:
        before = framework.kept(model)
        again = [classifier.scores(crop) for crop in crops]
        pairs = zip(alone, again, strict=True)
        varies = not all(_coincide(pair) for one in pairs for pair in zip(*one, strict=True))
        changed = _changed(before, framework.kept(model)) or tuple(framework.overwriting(model))
    same = all(map(_coincide, zip(*alone, strict=True)))
    return Probe(proof, same, varies, changed, fcn.grid.dimensions)


class _Converted:
    """The converted network and windows for it, each an image and an index along every axis."""

    def __init__(self, fcn: FullyConvolutional, pixels: Any, places: Sequence[Sizes]) -> None:
        self.fcn, self.pixels, self.places = fcn, pixels, places

    def scores(self) -> Scores:
        """Return every output for these windows, ``(windows, ...)``."""
        framework = self.fcn.framework
        try:
            maps = arrays(framework, self.fcn.scores(framework.images(self.fcn.model, self.pixels)))
        except Exception as error:
            raise ModelError(
                f"convert: the converted network fails on {extent(self.pixels.shape[2:])}: "
                f"{first_line(error)}. Please report this model."
            ) from None
        windows = [scores_at(maps, n, place) for n, *place in self.places]
        return [np.stack(scores) for scores in zip(*windows, strict=True)]

    def in_double(self, window: int) -> Scores:
        """Return every output for one of these windows, in double precision."""
        (n, *place), framework = self.places[window], self.fcn.framework
        image = framework.images(self.fcn.model, self.fcn.shape.from_map(self.pixels[n : n + 1]))
        maps = arrays(framework, framework.runner_in_double(self.fcn.model)(image))
        return scores_at(maps, 0, place)


class _Classifier:
    """The classifier that was converted, and crops for it, each a batch of one."""

    def __init__(
        self,
        framework: Framework,
        model: Any,
        crops: Sequence[Any],
        takes: Takes,
        dimensions: int,
    ) -> None:
        self.framework, self.model, self.crops, self.takes = framework, model, crops, takes
        self._classify = framework.classifier(model, takes)
        self._things = unit(dimensions, many=True)

    def scores(self, crop: Any) -> Scores:
        """Return every output for a crop alone."""
        try:
            return arrays(self.framework, self._classify(crop))
        except Exception as error:
            raise ModelError(
                f"convert: the classifier itself fails on a crop of random {self._things}, a batch "
                f"of one ({first_line(error)}); check that it scores single crops."
            ) from None

    @cached_property
    def _together(self) -> Scores | None:
        """Every output for all crops in one batch; None where it takes one only."""
        try:
            return arrays(self.framework, self._classify(self.framework.join(self.crops, 0)))
        except Exception:  # of any framework
            return None

    @cached_property
    def _in_double(self) -> Callable[[Any], Any]:
        return self.framework.in_double(self.model, self.takes)

    def company(
        self,
        alone: Sequence[Scores],
        part: slice,
        converted: _Converted,
        spare: Callable[[int], Any],
    ) -> Crops:
        """Return ways to score some of the crops, and spare ones: alone, or in a batch with all."""
        own, crops = alone[part], self.crops[part]

        def single(k: int) -> Scores:
            return own[k] if k < len(own) else self.scores(spare(k - len(own)))

        def together(_: int) -> Scores:
            scores = self._together
            if scores is None:
                raise ModelError("it takes one image only")
            count = len(self.crops)
            return [leaf[part] if leaf.shape[:1] == (count,) else leaf for leaf in scores]

        def double(k: int) -> Scores:
            crop = crops[k] if k < len(crops) else spare(k - len(crops))
            return arrays(self.framework, self._in_double(crop))

        def converted_in_double(k: int) -> Scores:
            return converted.in_double(part.start + k)

        return Crops(single, together, double, converted_in_double, SPARE)


def random_pixels(fcn: FullyConvolutional, size: Sizes, seed: int = 0) -> Any:
    """Return an image of random pixels for each contrast, ``(contrasts, C, *size)``."""
    channels, whole = fcn.shape.channels, not fcn.framework.epsilon(fcn.model)
    known = whole or fcn.preprocessing is not None
    contrasts = CONTRASTS if known else (*CONTRASTS, BYTES)
    drawn = np.random.default_rng(seed).random((len(contrasts), channels, *size), np.float32)
    ones = (1,) * len(size)
    contrast = np.array(contrasts, np.float32).reshape(-1, 1, *ones)
    low, high = np.float32(0), np.float32(255 if whole else 1)
    if fcn.preprocessing is not None:
        ends = np.broadcast_to(np.array([0, 255], np.float32), (channels, 1, 2))
        prepared = fcn.preprocessing.apply(ends)
        low, high = (end.reshape(-1, *ones) for end in (prepared.min((1, 2)), prepared.max((1, 2))))
    spread = contrast * (high - low)
    # Centred on the range where it has both signs, else from its lower end up.
    pixels = (low + high - spread) / 2 if np.min(low) < 0 else low + 0 * spread
    pixels = np.asarray(pixels + spread * drawn, np.float32)
    return np.clip(np.floor(pixels), 0, 255) if whole else pixels


def _coincide(scores: Sequence[Any]) -> bool:
    """Whether an output is the same for several windows, but for roundings."""
    rows = np.stack([np.reshape(row, -1) for row in scores])
    finite = np.where(np.isfinite(rows), rows, 0)
    roundings = ROUNDINGS * float(np.finfo(rows.dtype).eps) * np.abs(finite).max(initial=0.0)
    spread = finite.max(axis=0, initial=-np.inf) - finite.min(axis=0, initial=np.inf)
    alike = (np.isfinite(rows) == np.isfinite(rows[:1])).all()
    return bool(alike and (spread <= roundings).all())


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the values that have changed."""
    return tuple(
        repr(name)
        for name, numbers in before.items()
        if not np.array_equal(numbers, after[name], equal_nan=numbers.dtype.kind in "fc")
    )


def _merged(proofs: Sequence[Verification]) -> Verification:
    """Return several comparisons as one, with the figures of the worst."""
    worst = max(proofs, key=lambda proof: (not proof.passed, proof.max_error))
    windows = sum(proof.windows for proof in proofs)
    return Verification(
        max_error=worst.max_error,
        self_error=max(proof.self_error for proof in proofs),
        agreement=sum(proof.agreement * proof.windows for proof in proofs) / windows,
        windows=windows,
        allowed=worst.allowed,
        exact=worst.exact,
        passed=all(proof.passed for proof in proofs),
        rounding=worst.rounding,
        undecided=worst.undecided,
    )
