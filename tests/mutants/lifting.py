"""Planted defects: lifting, and what stands on it."""

from __future__ import annotations

from mutants.defect import Defect

LIFTING = (
    Defect(
        "the halo forgets the overhang of rows",
        "lift/halo.py",
        "return tuple(sliding.padding for sliding in operation.slidings)",
        "o = getattr(operation, 'overhang', ()) or (0,) * 3\n"
        "        return tuple("
        "(s.before, s.after - o[n] * (n == 0)) for n, s in enumerate(operation.slidings))",
        ("test_tiles.py::test_a_halo_holds_what_a_pool_reads_beyond_its_map",),
    ),
    Defect(
        "the halo forgets the overhang of columns",
        "lift/halo.py",
        "return tuple(sliding.padding for sliding in operation.slidings)",
        "o = getattr(operation, 'overhang', ()) or (0,) * 3\n"
        "        return tuple("
        "(s.before, s.after - o[n] * (n == 1)) for n, s in enumerate(operation.slidings))",
        ("test_tiles.py::test_a_halo_holds_what_a_pool_reads_beyond_its_map",),
    ),
    Defect(
        "the halo of an upsampled map ends within a cell",
        "lift",
        "ceil(ceil(pixels / pitch) * pitch)",
        "pixels",
        ("test_tiles.py",),
    ),
    Defect(
        "one cell too few is a window's own at its low end",
        "lift",
        "-(-(self.low + before) // stride)",
        "(self.low + before) // stride",
        ("test_split.py", "test_padded_families.py"),
    ),
    Defect(
        "one cell too many is shared at a window's high end",
        "lift",
        "(self.extent - self.high + before - span) // stride + 1",
        "-(-(self.extent - self.high + before - span) // stride) + 1",
        ("test_split.py", "test_padded_families.py"),
    ),
    Defect(
        "reflection repeats the last cell",
        "lift",
        "2 * (extent - 1) - cell",
        "2 * extent - 1 - cell",
        ("test_padded_families.py",),
    ),
    Defect(
        "the bias is added once for every part",
        "lift",
        "bias_name if first else None",
        "bias_name",
        ("test_padded_families.py",),
    ),
    Defect(
        "an average divides by the padding that is not counted",
        "operations",
        "if self.count_include_pad else (0, 0)",
        "if not self.count_include_pad else (0, 0)",
        ("test_padded_families.py",),
    ),
    Defect(
        "padding of a maximum is zero",
        "lift",
        'float("-inf") if operation.kind == "max" else 0.0',
        "0.0",
        ("test_padded_families.py",),
    ),
    Defect(
        "a global pool's stride counts for the network's own",
        "lift",
        "ONE if kernel == extent else Fraction(stride)",
        "Fraction(stride)",
        ("test_families.py",),
    ),
    Defect(
        "a convolution keeps its dilation where the step is finer than its stride",
        "lift/convolution.py",
        "lifted = operation.moving([read.sliding for read in reads])",
        "lifted = replace("
        "operation.moving([read.sliding for read in reads]), dilation=operation.dilation)",
        (
            "test_families.py",
            "test_padded_families.py",
        ),
    ),
    Defect(
        "filters of a flattened map stand in the order of another framework",
        "lift",
        ".permute(0, *turned)",
        ".permute(0, *range(1, 1 + len(turned)))",
        (
            "test_onnx_layout.py",
            "test_published_cases.py",
            "test_families.py",
        ),
    ),
    Defect(
        "the bias is added once for every flattened map",
        "lift",
        "None if terms else bias",
        "bias",
        (
            "test_families.py",
            "test_padded_families.py",
        ),
    ),
    Defect(
        "windows share a transposed convolution that reads their neighbours",
        "lift",
        "far = max(taps) // stride + 1",
        "far = 0",
        (
            "test_families.py",
            "test_padded_families.py",
        ),
    ),
    Defect(
        "windows share statistics that slide along",
        "lift/lifting.py",
        'raise EndsSharing("takes statistics over the window")',
        "pass",
        (
            "test_families.py",
            "test_sliding_statistics.py",
        ),
    ),
    Defect(
        "a mirrored map may be as long as its mirror image",
        "lift",
        "max(pair) >= extent + min(0, *pair)",
        "max(pair) > extent + min(0, *pair)",
        (
            "test_padded_families.py",
            "test_families.py",
        ),
    ),
    Defect(
        "cells of a map that is upsampled go one by one",
        "lift",
        "extent=middle.extent * factor,",
        "extent=middle.extent,",
        ("test_families.py",),
    ),
    Defect(
        "features of two axes meet those of one as stored",
        "lift",
        "if alike or (not mine and (feature_axes <= 1 or any(a.spatial for a in theirs))):",
        "if True:",
        ("test_broadcasting.py",),
    ),
    Defect(
        "the stride of the network is the smallest of its branches'",
        "lift",
        "lcm(*(n.numerator for n in along))",
        "min(n.numerator for n in along)",
        ("test_families.py",),
    ),
    Defect(
        "the window around a cell lies one cell off",
        "geometry/doubling.py",
        "before = (cells - 1) // 2",
        "before = cells // 2",
        (
            "test_sliding_statistics.py",
            "test_split.py",
        ),
    ),
)
