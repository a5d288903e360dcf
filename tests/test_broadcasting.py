"""Windows stand in operands only where nothing is stretched along their axis.

Whole models whose windows share such operations are in test_alone.py, for every framework.
"""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper, parser

import fullconv
from fullconv.lift.broadcasting import by_letter, in_first_axis
from oracle import assert_same, onnx_classifier, scores_of_crops

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


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [("0, 2, 4", "0, 1, 4"), ("0, 4, 2", "0, 4, 1"), ("0, 2, 4, 1, 1", "0, 1, 4, 1, 1")],
)
@pytest.mark.parametrize("pooled", [True, False], ids=["vectors", "maps"])
def test_features_of_two_axes_meet_those_of_one_in_each_window(
    wide: str, narrow: str, pooled: bool
) -> None:
    """Stored, both are channels behind each other, of which eight do not meet four."""
    rng = np.random.default_rng(0)
    if not pooled:
        wide, narrow = (f"{shape.removesuffix(', 1, 1')}, 4, 4" for shape in (wide, narrow))
    a, b = ("GlobalMaxPool (ca)", "GlobalMaxPool (cb)") if pooled else ("Relu (ca)", "Relu (cb)")
    text = f"""<ir_version: 8, opset_import: ["": 17]>
        network (float[N,2,6,6] x) => (float[N,3] y) {{
            ca = Conv (x, wa)  ma = {a}  cb = Conv (x, wb)  mb = {b}
            sa = Constant <value_ints: ints = [{wide}]> ()  ra = Reshape (ma, sa)
            sb = Constant <value_ints: ints = [{narrow}]> ()  rb = Reshape (mb, sb)
            sum = Add (ra, rb)  f = Flatten (sum)  y = MatMul (f, w)
        }}"""
    model = parser.parse_model(text)
    shapes = {"wa": (8, 2, 3, 3), "wb": (4, 2, 3, 3), "w": (8 if pooled else 8 * 16, 3)}
    for name, shape in shapes.items():
        weight = rng.integers(-2, 3, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
    images = rng.integers(0, 4, (2, 2, 9, 8)).astype(np.float32)
    fcn = fullconv.convert(model)
    assert_same(
        fcn(images), scores_of_crops(onnx_classifier(model), images, fcn.grid.window, fcn.grid.step)
    )
    (reason,) = fcn.report.reasons  # the probe would find another
    assert reason.why.startswith("combines tensors whose axes are arranged otherwise")
