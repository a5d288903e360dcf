"""Networks in less than single precision: how their scores may differ from the crops'.

Note [What half precision costs]

A network in f16 or bf16 rounds its weights, its images and the result of every operation to 11 and
8 binary digits. Its scores are no crop's own, and it never says so. It says that they differ by
roundings of that precision: by Note [What counts as equal], with the distance from 1 to the next
number of that precision in place of single precision's. So `ROUNDINGS` units of 2^-10 or 2^-7 of
the largest score are allowed, and more where the classifier differs from itself by as much. The
roundings of many layers add up as a random walk does, to some units behind a hundred layers. A
classifier that magnifies roundings further, such as a softmax over logits of some hundreds, is not
within them; neither is one whose numbers leave the range of f16 (65504). Both are refused when they
are converted, and say so when they are verified.
"""

from __future__ import annotations

from math import sqrt

EPSILONS = {"f16": 2.0**-10, "bf16": 2.0**-7}
"""The distance from 1 to the next number."""

INT8 = "int8"
"""Integers, of which nothing follows for a score: agreement is measured."""

LARGEST_F16 = 65504
"""The largest number of f16."""


def epsilon_of(precision: str) -> float:
    """Return the distance from 1 to the next number of a precision; 0 of any other."""
    return EPSILONS.get(precision, 0.0)


def verdict_in(precision: str, rounded: bool) -> str:
    """Return the sentence that says what a network in a precision claims."""
    if precision == INT8:
        return (
            "int8: weights and what lies between layers have 8 bits, so no score is its crop's "
            "own; how far they agree was measured"
        )
    if rounded:
        return (
            f"{precision}: weights and arithmetic are rounded, so no score is its crop's own; they "
            f"differ by roundings of {precision}"
        )
    return (
        f"approximate, in {precision}: scores differ from the crops' where named below, and by "
        f"the roundings of {precision}"
    )


def verdict_of(precision: str, passed: bool, allowed: float) -> str:
    """Return the sentence that says whether scores are within the roundings of a precision."""
    if passed:
        return (
            f"within the roundings of {precision} (up to {allowed:.3g} where they differ most), "
            f"and not the crops' own scores; those are had in f32"
        )
    return (
        f"NOT within the roundings of {precision}: more than {allowed:.3g}, so the classifier "
        f"magnifies them or leaves the range of {precision}; take f32"
    )


def least_agreement(asked: float, windows: int) -> float:
    """Return the least share of so many windows that may agree where a share was asked for.

    By chance a sample has fewer: three standard deviations of a binomial share are allowed.
    """
    return asked - 3 * sqrt(asked * (1 - asked) / max(1, windows))


def verdict_of_integers(passed: bool, agreement: float) -> str:
    """Return the sentence that says whether a network in integers agrees as it did before."""
    if passed:
        return (
            f"int8: not the crops' own scores; they agree as when it was made, where "
            f"{100 * agreement:.4g} % of the windows was asked for"
        )
    return (
        f"int8, and NOT in agreement: {100 * agreement:.4g} % of the windows was asked for when it "
        f"was made; quantize it on photos of this kind, or take f32"
    )
