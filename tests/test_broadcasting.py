"""Windows stand in operands only where nothing is stretched along their axis.

Whole models whose windows share such operations are in test_alone.py, for every framework.
"""

from __future__ import annotations

import pytest

from fullconv.lift.broadcasting import by_letter, in_first_axis

RESULT = (2, 3, 4)


@pytest.mark.parametrize(
    ("operands", "of_image", "axes"),
    [
        ([(2, 3, 5), (2, 5, 4)], [True, True], [0, 0]),
        ([(2, 3, 5), (5, 4)], [True, False], [0, None]),
        ([(2, 3, 5), (1, 5, 4)], [True, False], [0, None]),
        # A parameter that is as long as the axis is copied for every window.
        ([(2, 3, 5), (2, 5, 4)], [True, False], [0, 0]),
        # Windows behind each other would no longer meet their own numbers.
        ([(2, 3, 5), (1, 5, 4)], [True, True], None),
        ([(2, 3, 5), (5, 4)], [True, True], None),
    ],
)
def test_windows_stand_in_the_first_axis_of_what_is_not_stretched(
    operands: list[tuple[int, ...]], of_image: list[bool], axes: list[int | None] | None
) -> None:
    assert in_first_axis(operands, of_image, RESULT) == axes


@pytest.mark.parametrize(
    ("equation", "of_image", "found"),
    [
        ("nchw, kc -> nkhw", [True, False], ([0, None], 0)),
        ("kc,cn->kn", [False, True], ([None, 1], 1)),
        ("nc,nd->ncd", [True, True], ([0, 0], 0)),
        ("nc,dc->nd", [True, True], None),  # each with each
        ("nnc,nc->nc", [True, False], ([2, 1], 1)),  # a diagonal
        ("nn->n", [True], None),
        ("nc->", [True], None),
        ("nc", [True], None),
        ("...c->...", [True], None),
        ("nc,nd->ncd", [True], None),
    ],
)
def test_windows_stand_where_all_operands_of_the_image_have_a_letter(
    equation: str, of_image: list[bool], found: object
) -> None:
    assert by_letter(equation, of_image) == found
