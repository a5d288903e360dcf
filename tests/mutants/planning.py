"""Planted defects: where windows and tiles lie."""

from __future__ import annotations

from mutants.defect import Defect

PLANNING = (
    Defect(
        "windows that reach beyond the image are counted",
        "geometry/grid.py",
        "(size - window) // step + 1\n",
        "-(-(size - window) // step) + 1\n",
        ("test_published_cases.py", "test_oracle.py", "test_tiles.py", "test_scanning.py"),
    ),
    Defect(
        "padding stays as it was where stride became dilation",
        "geometry/grid.py",
        "sliding.before * scale,",
        "sliding.before,",
        ("test_split.py", "test_padded_families.py"),
    ),
    Defect(
        "a tile ends before its halo",
        "geometry/tiling.py",
        "(last - 1 + ceil(after / step)) * step + window",
        "(last - 1) * step + window",
        ("test_tiles.py",),
    ),
    Defect(
        "a tile begins within its halo",
        "geometry/tiling.py",
        "skipped = min(first, ceil(before / step))",
        "skipped = min(first, before // step)",
        ("test_tiles.py",),
    ),
)
