"""Planted defects: images, and what is done to their pixels."""

from __future__ import annotations

from mutants.defect import Defect

IMAGES = (
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
    Defect(
        "red and blue stay where they are",
        "preprocessing.py",
        "pixels = pixels[(..., slice(None, None, -1), *behind)]",
        "pass",
        ("test_preprocessing.py",),
    ),
    Defect(
        "a part of a mosaic lies outside its folder",
        "sources/virtual.py",
        'if "\\0" in named or not named or not path.is_relative_to(self.root):',
        'if "\\0" in named or not named:',
        ("test_hostile_rasters.py",),
    ),
    Defect(
        "a part of a mosaic is of any kind",
        "sources/virtual.py",
        'if driver is None or b"\\0" not in start',
        'if b"\\0" not in start',
        ("test_hostile_rasters.py",),
    ),
    Defect(
        "a part of a slide lies outside its folder",
        "sources/slide.py",
        "if not Path(os.path.realpath(part)).is_relative_to(folder):",
        "if False:",
        ("test_hostile_files.py",),
    ),
    Defect(
        "a chunk may become anything",
        "sources/zarr_limits.py",
        'if inflates_beyond(self.codec or "", chunk, self.decoded_bytes):',
        "if False:",
        ("test_hostile_zarr.py",),
    ),
    Defect(
        "a codec may make what is no number",
        "sources/zarr_limits.py",
        " or not codec.keeps_numbers:",
        ":",
        ("test_hostile_zarr.py",),
    ),
    Defect(
        "what is touched now is what it was",
        "sources/contents.py",
        "if now - state.st_ctime_ns < SETTLED_NS:",
        "if False:",
        (
            "test_sources_contents.py",
            "test_changed_images.py",
        ),
    ),
    Defect(
        "the last piece of a large image is not looked at",
        "sources/contents.py",
        "yield number, size - PIECE_BYTES, PIECE_BYTES",
        "pass",
        ("test_sources_contents.py",),
    ),
    Defect(
        "a resize reads too few pixels around",
        "sources/resized.py",
        "margin = max(scale, 1.0) + 1",
        "margin = 0",
        ("test_sources_resized.py",),
    ),
    Defect(
        "a resize begins at the first pixel that is read",
        "sources/resized.py",
        "return (first, last), (begin - first, min(end, old) - first)",
        "return (first, last), (0.0, min(end, old) - first)",
        ("test_sources_resized.py",),
    ),
    Defect(
        "a place that is no number is one",
        "sources/raster.py",
        "if not np.isfinite(tuple(dataset.transform)[:6]).all():",
        "if False:",
        ("test_hostile_rasters.py",),
    ),
    Defect(
        "a short read is whole",
        "system/reading.py",
        "while len(data) < count:",
        "while False:",
        (
            "test_other_systems.py",
            "test_sources_tiff.py",
        ),
    ),
)
