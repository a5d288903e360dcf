"""Planted defects: scans, and what they leave."""

from __future__ import annotations

from mutants.defect import Defect

SCANNING = (
    Defect(
        "a window with one pixel that is not a number is scored",
        "scanning/task.py",
        "inside > 0",
        "inside > 1",
        ("test_scanning_sources.py", "test_regions.py", "test_scanning.py"),
    ),
    Defect(
        "bytes are rounded down",
        "scanning/storing.py",
        "np.rint(scores * LEVELS)",
        "np.floor(scores * LEVELS)",
        ("test_scanning.py", "test_scanning_sources.py"),
    ),
    Defect(
        "a rectangle takes windows that reach out of it",
        "scanning/region.py",
        'stop + HAIR - axis.window, "right"',
        'stop + HAIR, "right"',
        ("test_scanning.py", "test_scanning_sources.py", "test_regions.py"),
    ),
    Defect(
        "a scan goes on over an image that has changed",
        "scanning/record.py",
        '"pixels": image.fingerprint(),',
        '"pixels": None,',
        ("test_resume.py", "test_scanning_sources.py", "test_outputs.py"),
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
    Defect(
        "a line whose checksum is wrong counts",
        "scanning/lines.py",
        "int(found[7], 16) != crc32(found[1])",
        "False",
        ("test_damaged_ledgers.py",),
    ),
    Defect(
        "a line for a tile that there is not counts",
        "scanning/lines.py",
        "line.tile < tiles and line.odd",
        "line.odd",
        ("test_damaged_ledgers.py",),
    ),
    Defect(
        "a tile with other scores is whole",
        "scanning/damage.py",
        "elif digest(scores, dtype) != digests[index]:",
        "elif False:",
        (
            "test_damaged_heatmaps.py",
            "test_damaged_ledgers.py",
            "test_digest.py",
        ),
    ),
    Defect(
        "a tile that is lost is taken for one that was left out",
        "scanning/damage.py",
        "lost[index] = MISSING if is_nothing(scores) else OTHER",
        "lost.update({} if is_nothing(scores) else {index: OTHER})",
        (
            "test_damaged_heatmaps.py",
            "test_damaged_ledgers.py",
            "test_digest.py",
        ),
    ),
    Defect(
        "chunks carry no checksum",
        "scanning/chunks.py",
        "Zstd(checksum=True).encode",
        "Zstd(checksum=False).encode",
        (
            "test_damaged_heatmaps.py",
            "test_damaged_ledgers.py",
            "test_digest.py",
        ),
    ),
    Defect(
        "a chunk is written in its place",
        "scanning/chunks.py",
        "    with _moved_to(path) as temporary:\n        temporary.write_bytes(Zstd",
        "    for temporary in (path,):\n        temporary.write_bytes(Zstd",
        ("test_damaged_ledgers.py",),
    ),
    Defect(
        "NaN of another kind has another digest",
        "scanning/digests.py",
        "stored[nan] = np.nan",
        "pass",
        (
            "test_digest.py",
            "test_damaged_heatmaps.py",
        ),
    ),
    Defect(
        "a record that was changed is believed",
        "scanning/digests.py",
        'return record.get("seal") == _seal(held)',
        'return "seal" in record',
        (
            "test_damaged_heatmaps.py",
            "test_damaged_ledgers.py",
            "test_digest.py",
        ),
    ),
    Defect(
        "a folder that somebody else has made is written to",
        "scanning/ledger.py",
        "if not self._is_new and not is_ours(self.folder):",
        "if False:",
        (
            "test_damaged_ledgers.py",
            "test_in_place.py",
            "test_resume.py",
        ),
    ),
    Defect(
        "other files in an unfinished output are removed",
        "scanning/ours.py",
        "return is_file and _OF_PART.fullmatch(entry.name) is not None",
        "return is_file",
        (
            "test_damaged_ledgers.py",
            "test_in_place.py",
        ),
    ),
    Defect(
        "other files in a heatmap are removed with it",
        "scanning/layout.py",
        "return is_called_so and starts_with(self.folder / name, ZSTD_MAGIC)",
        "return True",
        (
            "test_in_place.py",
            "test_damaged_ledgers.py",
        ),
    ),
    Defect(
        "a chunk beyond the last is of the heatmap",
        "scanning/layout.py",
        "and int(number) < count",
        "and count",
        ("test_foreign_files.py",),
    ),
    Defect(
        "any two tables are a record of before",
        "scanning/ours.py",
        'return is_known and "seal" not in record',
        'return "seal" not in record',
        ("test_foreign_files.py",),
    ),
    Defect(
        "a folder that another process is making is left over",
        "scanning/ours.py",
        "else not is_running(process)",
        "else True",
        ("test_foreign_files.py",),
    ),
    Defect(
        "another run goes on with a scan",
        "scanning/output.py",
        'record.refuse_other(ledger.folder, begun["asked"], asked, todo)',
        "pass",
        (
            "test_resume.py",
            "test_damaged_ledgers.py",
        ),
    ),
    Defect(
        "a damaged heatmap is whole enough",
        "scanning/output.py",
        "finished.check()",
        "pass",
        ("test_damaged_heatmaps.py",),
    ),
    Defect(
        "the pixels of tiles are not compared when a scan ends",
        "scanning/output.py",
        "    writer.compare_pixels()\n    metadata",
        "    metadata",
        ("test_changed_images.py",),
    ),
    Defect(
        "the pixels of tiles are not compared when a scan goes on",
        "scanning/writing.py",
        "                stacklevel=2,\n            )\n        self.compare_pixels()",
        "                stacklevel=2,\n            )",
        ("test_changed_images.py",),
    ),
    Defect(
        "what is scanned around is taken for scanned",
        "scanning/storing.py",
        "np.where(np.isnan(scores), NOT_SCANNED, steps)",
        "steps",
        (
            "test_scanning.py",
            "test_scanning_sources.py",
        ),
    ),
)
