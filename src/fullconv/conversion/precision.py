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

EPSILONS = {"f16": 2.0**-10, "bf16": 2.0**-7}
"""The distance from 1 to the next number."""

LARGEST_F16 = 65504
"""The largest number of f16."""


def epsilon_of(precision: str) -> float:
    """Return the distance from 1 to the next number of a precision; 0 of any other."""
    return EPSILONS.get(precision, 0.0)


def verdict_in(precision: str, rounded: bool) -> str:
    """Return the sentence that says what a network in a precision claims."""
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
