"""Planted defects: what is compared with crops."""

from __future__ import annotations

from mutants.defect import Defect

PROVING = (
    Defect(
        "every comparison passes",
        "verification/judging.py",
        "not exact or passed,",
        "True,",
        ("test_cli.py", "test_converted_onnx.py", "test_scanning.py"),
    ),
    Defect(
        "what is not a number differs from nothing",
        "verification/judging.py",
        "np.nan_to_num(gap, nan=np.inf, posinf=np.inf)",
        "np.nan_to_num(gap, nan=0.0, posinf=np.inf)",
        ("test_converted_onnx.py::test_scores_that_are_no_numbers_on_one_side_are_not_equal",),
    ),
    Defect(
        "a check looks at the same windows whatever it is asked",
        "scanning/check.py",
        "rng = np.random.default_rng(seed)",
        "rng = np.random.default_rng(0)",
        ("test_scanning.py::test_a_seed_chooses_the_windows_that_are_checked",),
    ),
)
