"""The defects. Each is a small slip as one makes it: a sign, an end of a range, a forgotten case.

A defect is looked for in its room, a folder or file of the package, where its text must stand
exactly once, wherever it has been moved to. Where it no longer stands, `run` and the tests say so:
plant the same slip in what took its place.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Defect:
    """An edit, and the tests of which one must fail.

    Attributes
    ----------
    name : str
        What is wrong with the code then.
    room : str
        A folder or file below ``src/fullconv``.
    old, new : str
        Text that stands there once, and what takes its place.
    tests : tuple of str
        As pytest names them, below ``tests``.
    """

    name: str
    room: str
    old: str
    new: str
    tests: tuple[str, ...]


DEFECTS = (
    # Lifting
    Defect(
        "the halo forgets the overhang of rows",
        "lift",
        "bottom + operation.overhang[0]",
        "bottom",
        ("test_tiles.py::test_a_halo_holds_what_a_pool_reads_beyond_its_map",),
    ),
    Defect(
        "the halo forgets the overhang of columns",
        "lift",
        "right + operation.overhang[1]",
        "right",
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
        "lift",
        "if operation.count_include_pad else (0, 0)",
        "if not operation.count_include_pad else (0, 0)",
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
        "one if kernel == extent else Fraction(stride)",
        "Fraction(stride)",
        ("test_families.py",),
    ),
    # Where windows and tiles lie
    Defect(
        "windows that reach beyond the image are counted",
        "geometry.py",
        "(width - self.window[1]) // self.step[1] + 1,",
        "-(-(width - self.window[1]) // self.step[1]) + 1,",
        ("test_published_cases.py", "test_oracle.py", "test_tiles.py", "test_scanning.py"),
    ),
    Defect(
        "padding stays as it was where stride became dilation",
        "geometry.py",
        "sliding.before * scale,",
        "sliding.before,",
        ("test_split.py", "test_padded_families.py"),
    ),
    Defect(
        "a tile ends before its halo",
        "tiling.py",
        "(last - 1 + ceil(after / step)) * step + window",
        "(last - 1) * step + window",
        ("test_tiles.py",),
    ),
    Defect(
        "a tile begins within its halo",
        "tiling.py",
        "skipped = min(first, ceil(before / step))",
        "skipped = min(first, before // step)",
        ("test_tiles.py",),
    ),
    # Scans, and what they leave
    Defect(
        "a window with one pixel that is not a number is scored",
        "scanning/task.py",
        "inside > 0",
        "inside > 1",
        ("test_scanning_sources.py", "test_review_scanning.py", "test_scanning.py"),
    ),
    Defect(
        "bytes are rounded down",
        "scanning/heatmap.py",
        "np.rint(scores * LEVELS)",
        "np.floor(scores * LEVELS)",
        ("test_scanning.py", "test_scanning_sources.py"),
    ),
    Defect(
        "a rectangle takes windows that reach out of it",
        "scanning/region.py",
        "floor((stop + hair - window) / step)",
        "ceil((stop + hair - window) / step)",
        ("test_scanning.py", "test_scanning_sources.py", "test_review_scanning.py"),
    ),
    Defect(
        "a scan goes on over an image that has changed",
        "scanning/record.py",
        '"pixels": image.fingerprint(),',
        '"pixels": None,',
        ("test_resume.py", "test_scanning_sources.py", "test_review_scanning.py"),
    ),
    Defect(
        "a line that was cut short counts",
        "scanning/ledger.py",
        'held[: held.rfind(b"\\n") + 1]',
        "held",
        ("test_resume.py::test_a_last_line_that_is_cut_short_counts_for_nothing",),
    ),
    Defect(
        "lines of another run stay when a scan starts again",
        "scanning/ledger.py",
        "self._file.truncate(0)  # first",
        "pass  # first",
        ("test_resume.py::test_a_scan_that_starts_again_and_is_killed_goes_on_from_its_own_tiles",),
    ),
    Defect(
        "two processes write one output",
        "system/locking.py",
        "raise HeldElsewhereError from None",
        "return True",
        ("test_resume.py::test_two_processes_do_not_write_one_output",),
    ),
    # Proof
    Defect(
        "every comparison passes",
        "verification.py",
        "not exact or max_error <= allowed",
        "True",
        ("test_cli.py", "test_converted_onnx.py", "test_scanning.py"),
    ),
    Defect(
        "what is not a number differs from nothing",
        "verification.py",
        "np.nan_to_num(gap, nan=np.inf)",
        "np.nan_to_num(gap, nan=0.0)",
        ("test_converted_onnx.py::test_scores_that_are_no_numbers_on_one_side_are_not_equal",),
    ),
    Defect(
        "a check looks at the same windows whatever it is asked",
        "scanning/check.py",
        "rng = np.random.default_rng(seed)",
        "rng = np.random.default_rng(0)",
        ("test_scanning.py::test_a_seed_chooses_the_windows_that_are_checked",),
    ),
    # Images
    Defect(
        "rows of an unencoded TIFF begin a row too late",
        "sources/tiff_blocks.py",
        "layer.offsets[0] + top * per_row",
        "layer.offsets[0] + (top + 1) * per_row",
        ("test_sources_tiff.py",),
    ),
    Defect(
        "green and red are weighed alike",
        "sources/channels.py",
        "(19595, 38470, 7471)",
        "(38470, 19595, 7471)",
        ("test_sources.py", "test_sources_resized.py"),
    ),
    Defect(
        "a level that is too coarse is taken",
        "sources/pyramid.py",
        "<= wanted * (1 + NEAR)",
        "<= wanted * 2",
        ("test_sources_tiff.py", "test_sources.py", "test_sources_zarr.py"),
    ),
    Defect(
        "the standard deviation is multiplied",
        "preprocessing.py",
        "out /= np.float32(std)",
        "out *= np.float32(std)",
        ("test_preprocessing.py",),
    ),
    # Detections
    Defect(
        "neighbours that lie far apart outdo each other",
        "detections/peaks.py",
        "if shared / (2 * h * w - shared) > iou:",
        "if shared / (2 * h * w - shared) >= 0:",
        ("test_detections.py",),
    ),
    Defect(
        "boxes overlap by their corners alone",
        "detections/overlap.py",
        "np.maximum(x, 0.0) * np.maximum(y, 0.0)",
        "np.maximum(x * y, 0.0)",
        ("test_detections.py", "test_evaluation.py"),
    ),
    Defect(
        "a true box is found more than once",
        "detections/matching.py",
        "free[best] = False",
        "free[best] = True",
        ("test_evaluation.py",),
    ),
)
