"""The axes of operands in which windows may stand, where they broadcast and in an einsum.

Frameworks ask here when they say where windows may stand in operations without a record.
"""

from __future__ import annotations

from collections.abc import Sequence

Axes = list[int | None]
"""An axis of each operand; None for one that is the same for all windows."""


def in_first_axis(
    operands: Sequence[Sequence[int]], of_image: Sequence[bool], result: Sequence[int]
) -> Axes | None:
    """Return the axis of each broadcast operand in which windows stand, if the first one suits.

    Parameters
    ----------
    operands : sequence of shapes
        They broadcast over their leading axes; the operation may work on matrices in the last ones.
    of_image : sequence of bool
        Whether each differs from window to window; the others are parameters.
    result : shape
        Shape of the operation's result.

    Returns
    -------
    list or None
        None where an operand of the image is stretched along the first axis. A parameter that is as
        long there as the result needs a copy of itself for every window, so it has the axis, too.
    """
    axes: Axes = []
    for shape, is_of_image in zip(operands, of_image, strict=True):
        stretched = len(shape) < len(result) or shape[0] != result[0]
        if is_of_image and stretched:
            return None
        axes.append(0 if is_of_image or (not stretched and shape[0] != 1) else None)
    return axes


def by_letter(equation: str, of_image: Sequence[bool]) -> tuple[Axes, int] | None:
    """Return the axes of an einsum's operands, and of its result, in which windows may stand.

    They suit where the result has the axis, and every operand of the image has it once. None where
    there is no such axis, or the equation does not name all axes.
    """
    given, arrow, result = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    if not arrow or "." in given or len(terms) != len(of_image):
        return None
    for place, letter in enumerate(result):
        is_once = all(term.count(letter) < 2 for term in terms)
        pairs = zip(terms, of_image, strict=True)
        if is_once and all(letter in term or not moves for term, moves in pairs):
            return [term.index(letter) if letter in term else None for term in terms], place
    return None
