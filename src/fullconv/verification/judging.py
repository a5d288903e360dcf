"""Judges the scores of a converted network by those of crops alone: which count as equal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.precision import EPSILONS, INT8, least_agreement
from fullconv.errors import first_line
from fullconv.verification.verified import Verification

Scores = list[NDArray[Any]]

"""Note [What counts as equal]

The score of a window is what the classifier gives for that crop alone. The converted network adds
the same numbers in another order, so its scores may be off by roundings; by more they may not.

The unit is a rounding of the score itself: the distance between neighbouring numbers at the largest
score of an output. A column of scores that is fainter (the one class of boxes and classes, a class
that is nowhere) has a smaller one, of `FAINT` times its own largest, so that large neighbours hide
nothing. `ROUNDINGS` units are allowed. A model differs from itself where crops are scored together,
up to `TOGETHER` of them; it shows what roundings come to behind many layers, and buys `MULTIPLE`
times that. It buys no more than roundings: what differs by more than `ROUNDINGS` units counts as
that many, for a classifier that mixes the images of a batch differs from itself by anything.

Between these and what is plainly wrong lie roundings that the classifier itself magnifies: behind a
softmax over logits of some hundreds, a rounding of a logit moves a probability by hundreds of
units. There double precision decides. The `DECIDED` windows that differ most are scored in it,
alone: what their own scores in single precision are off by is rounding and nothing else, and `FEW`
times that is allowed, as long as it is less than `ILL` of the scores: beyond, nothing can be told.
The rounding of one number may be nothing by luck, so where there are few windows, spare crops of
their kind are asked how far they are off, too.

Where the converted network can be run in double precision as well, it tells a rounding from a small
mistake: the one becomes 2^29 times smaller, the other stays. Of the window that differs most, no
more than `FINER` of the difference may be left; then `MULTIPLE` times the crops' own roundings are
allowed. See docs/theory.md, "Exact, in numbers".
"""

ROUNDINGS = 32
"""Units that a number may differ by."""

MULTIPLE = 16
"""So many times the roundings of the classifier itself."""

FAINT = 1024
"""A column's unit is no larger than that of so many times its largest score."""

TOGETHER = 16
"""Crops that are scored in one batch, at most."""

DECIDED = 4
"""Windows that are scored in double precision, at most."""

FEW = 4
"""So many times the crops' own roundings, where the converted network has no double precision."""

ILL = 1 / 64
"""The share of the scores beyond which nothing can be told of roundings."""

FINER = 1e-6
"""The share of a difference that is left of a rounding in double precision."""


@dataclass(frozen=True)
class Crops:
    """How the crops of some windows are scored; every output of a model is an array.

    Attributes
    ----------
    alone : callable
        From a crop's number to its scores, of any shape.
    together : callable
        From a number of crops to the scores of that many of the first, ``(n, ...)``.
    in_double : callable or None
        As ``alone``, in double precision.
    converted_in_double : callable or None
        From a window's number to the scores that the converted network has for it in double
        precision.
    spare : int
        How many more crops, numbered behind those of the windows, are of their kind.
    """

    alone: Callable[[int], Scores]
    together: Callable[[int], Scores]
    in_double: Callable[[int], Scores] | None = None
    converted_in_double: Callable[[int], Scores] | None = None
    spare: int = 0


def judge(
    lifted: Scores,
    crops: Crops,
    exact: bool,
    stored: tuple[float, float] = (0.0, 0.0),
    epsilon: float = 0.0,
) -> Verification:
    """Compare the scores of some windows with those of their crops, one at a time.

    See Note [What counts as equal].

    Parameters
    ----------
    lifted : list of array
        Every output of the converted network, ``(windows, ...)``.
    crops : Crops
        The same windows as crops.
    exact : bool
        Whether the scores claim to be the crops' own.
    stored : (float, float)
        What storing the scores may have moved them by: absolute, and as a share of the largest.
    epsilon : float
        The distance from 1 to the next number in what is computed with, where that is coarser than
        the scores.
    """
    count = len(lifted[0])
    alone = [crops.alone(k) for k in range(count)]
    differ = _self_differences(crops, alone)
    outputs = [
        _Output(_rows(own), _rows(given), difference, stored, epsilon)
        for own, given, difference in zip(zip(*alone, strict=True), lifted, differ, strict=True)
    ]
    passed = all((output.excess <= 1).all() for output in outputs)
    rounding, undecided = None, ""
    if exact and not passed:
        try:
            rounding = _magnify(outputs, crops)
            passed = all((output.excess <= 1).all() for output in outputs)
        except Exception as error:  # of any framework, that has no double precision here
            undecided = first_line(error)
    worst = max(outputs, key=lambda output: float(output.excess.max(initial=0.0)))
    return Verification(
        max_error=max(float(output.gaps.max(initial=0.0)) for output in outputs),
        self_error=max(differ),
        agreement=_agreement(lifted[0], outputs[0].alone.reshape(lifted[0].shape)),
        windows=count,
        allowed=worst.allowed_at_worst,
        exact=exact,
        passed=not exact or passed,
        rounding=rounding,
        undecided=undecided,
    )


def judge_rounded(
    lifted: Scores,
    crops: Crops,
    precision: str,
    stored: tuple[float, float] = (0.0, 0.0),
    epsilon: float = 0.0,
) -> Verification:
    """Compare scores in half precision with those of crops; see Note [What half precision costs].

    Takes the same arguments as `judge`. The result claims nothing exact, and passes where nothing
    but roundings of that precision makes them differ.
    """
    coarser = max(epsilon, EPSILONS[precision])
    proof = judge(lifted, replace(crops, in_double=None), True, stored, coarser)
    return replace(proof, exact=False, of=precision, undecided="")


def judge_integers(
    lifted: Scores, crops: Crops, asked: float, stored: tuple[float, float] = (0.0, 0.0)
) -> Verification:
    """Compare scores of a network in integers with those of crops: it passes where they agree.

    That is, where no fewer windows have the same best class than were asked for when it was made,
    but for chance.
    """
    proof = judge(lifted, crops, False, stored)
    passed = proof.agreement >= least_agreement(asked, proof.windows)
    return replace(proof, passed=passed, of=INT8, asked=asked)


def nearly_same(found: Scores, wanted: Scores, epsilon: float, own: float | None = None) -> bool:
    """Whether two written forms of one model give the same numbers, up to roundings.

    Half the digits of the largest score are more than roundings take, and a slip leaves none. Where
    a type has few digits, or a model magnifies its roundings, ``own`` says what they come to: how
    far its scores are from those of double precision. `MULTIPLE` times that is allowed, which is no
    less than a rounding of the largest score.
    """
    if [scores.shape for scores in found] != [scores.shape for scores in wanted]:
        return False
    share = epsilon**0.5 if own is None else MULTIPLE * epsilon
    pairs = zip(found, wanted, strict=True)
    return all(_near(a, b, share, MULTIPLE * (own or 0.0)) for a, b in pairs)


def _near(found: NDArray[Any], wanted: NDArray[Any], share: float, own: float) -> bool:
    """Whether no number differs by more than that share of the largest; none, if not fractions."""
    if not np.issubdtype(wanted.dtype, np.floating):
        return np.array_equal(found, wanted)
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    largest = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))
    return np.allclose(found, wanted, rtol=0, atol=max(share * largest, own), equal_nan=True)


class _Output:
    """One output of a model, ``(windows, numbers)``, of crops alone and of the converted network.

    Attributes
    ----------
    own : array
        The largest score of each column; what is a rounding of the largest of all counts as zero.
    unit : array
        A rounding, for each column.
    gaps, allowed, excess : array
        How far they differ, how far they may, and the one as a multiple of the other.
    """

    def __init__(
        self,
        alone: NDArray[Any],
        lifted: NDArray[Any],
        difference: float,
        stored: tuple[float, float],
        epsilon: float,
    ) -> None:
        self.alone, self.lifted = alone, lifted
        sizes = np.abs(np.where(np.isfinite(alone), alone, 0).astype(np.float64))
        coarsest = max(epsilon, *(float(np.finfo(a.dtype).eps) for a in (alone, lifted)))
        self.largest = float(sizes.max(initial=0.0))
        self.own = np.maximum(sizes.max(axis=0, initial=0.0), coarsest**2 * self.largest)
        self.unit = coarsest * np.minimum(self.largest, FAINT * self.own)
        self.gaps = _gaps(lifted, alone)
        self.stored = stored[0] + stored[1] * self.largest
        roundings = ROUNDINGS * self.unit
        self.allow(roundings + MULTIPLE * np.minimum(difference, roundings))

    def allow(self, roundings: NDArray[Any]) -> None:
        """Let the numbers differ by so much, and by what storing them may have moved them by."""
        self.allowed = np.broadcast_to(roundings + self.stored, self.gaps.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.excess = np.where(self.gaps == 0, 0.0, self.gaps / self.allowed)

    @property
    def allowed_at_worst(self) -> float:
        """The allowed difference at the largest gap; if that passes, at the largest excess."""
        if not self.excess.size:
            return 0.0
        most = int(self.gaps.argmax())
        place = most if self.excess.flat[most] > 1 else int(self.excess.argmax())
        return float(self.allowed.flat[place])


def _magnify(outputs: Sequence[_Output], crops: Crops) -> float:
    """Allow what the crops' own scores are off by; return by how much they are at most."""
    if crops.in_double is None:
        raise NotImplementedError("the classifier's own numbers are all there is")
    excess = np.max([output.excess.max(axis=1, initial=0.0) for output in outputs], axis=0)
    chosen = [int(k) for k in np.argsort(-excess)[:DECIDED]]
    spare = range(len(excess), len(excess) + crops.spare)
    exact = _columns(crops.in_double, [*chosen, *spare])
    multiple = _tells(outputs, crops, chosen[0], [true[0] for true in exact])
    more, largest = _columns(crops.alone, spare) if spare else None, 0.0
    for place, (output, true) in enumerate(zip(outputs, exact, strict=True)):
        if not output.largest:
            continue
        single = output.alone[chosen]
        off = _gaps(single if more is None else np.concatenate([single, more[place]]), true)
        off = np.where(np.isfinite(off), off, 0.0)
        largest = max(largest, float(off.max(initial=0.0)))
        # As many units as in any column, where that is little of the column; its own at any rate.
        units = (off / output.unit).max(initial=0.0) * output.unit
        most = np.maximum(ILL / MULTIPLE * output.own, off.max(axis=0))
        roundings = np.minimum(multiple * np.minimum(units, most), ILL * output.largest)
        output.allow(np.maximum(roundings, output.allowed - output.stored))
    return largest


def _tells(
    outputs: Sequence[_Output], crops: Crops, window: int, exact: Sequence[NDArray[Any]]
) -> int:
    """Return how many times its own roundings a window may differ by; 0 where it is a mistake."""
    if crops.converted_in_double is None:
        return FEW
    try:
        converted = [np.reshape(scores, -1) for scores in crops.converted_in_double(window)]
    except Exception:  # of any framework, that has no double precision here
        return FEW
    fine = float(np.finfo(np.float64).eps)
    for output, own, true in zip(outputs, converted, exact, strict=True):
        left = float(_gaps(own, true).max(initial=0.0))
        differed = float(output.gaps[window].max(initial=0.0))
        if left > FINER * differed + ROUNDINGS * fine * output.largest:
            return 0
    return MULTIPLE


def _self_differences(crops: Crops, alone: Sequence[Scores]) -> list[float]:
    """Return how far each output of a few crops together is from that of each alone.

    0 where they cannot be scored together: a model may take one image only, or return scores that
    are not a row for each.
    """
    few = min(len(alone), TOGETHER)
    none = [0.0] * len(alone[0])
    try:
        together = crops.together(few)
    except Exception:  # of any framework, that takes one image only
        return none
    found = []
    for place, scores in enumerate(together):
        single = _rows([own[place] for own in alone[:few]])
        fits = scores.shape[:1] == (few,) and scores.size == single.size
        found.append(float(_gaps(scores.reshape(few, -1), single).max(initial=0.0)) if fits else 0)
    return found


def _columns(score: Callable[[int], Scores], windows: Iterable[int]) -> list[NDArray[Any]]:
    """Return every output of some windows, each window's numbers as a row."""
    return [_rows(numbers) for numbers in zip(*map(score, windows), strict=True)]


def _rows(numbers: Iterable[Any]) -> NDArray[Any]:
    """Return the numbers of every window as a row."""
    return np.stack([np.reshape(x, -1) for x in numbers])


def _gaps(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """Return how far numbers differ; NaN and infinity are equal to themselves only."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        gap = np.where(same, 0.0, np.abs(a.astype(np.float64) - b))
    return np.nan_to_num(gap, nan=np.inf, posinf=np.inf)


def _agreement(lifted: NDArray[Any], crops: NDArray[Any]) -> float:
    if lifted.ndim < 2 or lifted.shape[1] < 2:
        return float(np.mean((lifted > 0) == (crops > 0)))
    flat = [array.reshape(*array.shape[:2], -1) for array in (lifted, crops)]
    return float(np.mean(flat[0].argmax(axis=1) == flat[1].argmax(axis=1)))
