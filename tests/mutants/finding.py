"""Planted defects: detections, training and the command line."""

from __future__ import annotations

from mutants.defect import Defect

FINDING = (
    Defect(
        "neighbours that lie far apart outdo each other",
        "detections/peaks.py",
        "both / (2 * self.pixels - both)",
        "np.ones_like(both, np.float64)",
        ("test_detections.py",),
    ),
    Defect(
        "boxes overlap by their corners alone",
        "detections/overlap.py",
        "_product(np.maximum(np.minimum(end, others_end) - np.maximum(begin, other), 0.0))",
        "np.maximum(_product(np.minimum(end, others_end) - np.maximum(begin, other)), 0.0)",
        ("test_detections.py", "test_evaluation.py"),
    ),
    Defect(
        "cuboids are looked for in one row of cells",
        "detections/box_index.py",
        "begin[:, axis] += place",
        "begin[:, axis] += 0",
        ("test_detections_axes.py",),
    ),
    Defect(
        "a volume is as deep as it is wide",
        "cli/sizes.py",
        'reversed(text.lower().split("x"))',
        'text.lower().split("x")',
        ("test_cli_axes.py",),
    ),
    Defect(
        "a true box is found more than once",
        "detections/matching.py",
        "free[best] = False",
        "free[best] = True",
        ("test_evaluation.py",),
    ),
    Defect(
        "boxes that overlap as much as they may are dropped",
        "detections/suppression.py",
        "strong = overlaps(boxes[mine], boxes[theirs]) > iou",
        "strong = overlaps(boxes[mine], boxes[theirs]) >= iou",
        ("test_detections.py",),
    ),
    Defect(
        "the worst boxes come first",
        "detections/suppression.py",
        'np.argsort(-scores, kind="stable")',
        'np.argsort(scores, kind="stable")',
        ("test_detections.py",),
    ),
    Defect(
        "precision may rise with recall",
        "detections/curves.py",
        "envelope = np.maximum.accumulate(self.precisions[::-1])[::-1]",
        "envelope = self.precisions",
        ("test_evaluation.py",),
    ),
    Defect(
        "addresses name files",
        "system/files.py",
        "if ADDRESS.match(text) and not",
        "if False and not",
        (
            "test_bad_surroundings.py",
            "test_streams_and_names.py",
            "test_hostile_files.py",
        ),
    ),
    Defect(
        "a failed check ends well",
        "cli/scan.py",
        "ctx.exit(DIFFERS)",
        "pass",
        (
            "test_cli_scan.py",
            "test_damaged_heatmaps.py",
        ),
    ),
    Defect(
        "crops are shifted half as far as they should",
        "training/augment.py",
        "down = drawn[:, 1] * 2 * self.shift[0] / h",
        "down = drawn[:, 1] * self.shift[0] / h",
        ("test_training.py",),
    ),
)
