"""Finding the images that a user names: files, folders, patterns, and lists."""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import re
from collections.abc import Iterator, Sequence, Set
from functools import cache
from pathlib import Path

from fullconv.errors import ImageError, InputError
from fullconv.sources.folders import files_below
from fullconv.sources.formats import RASTERS, SLIDES
from fullconv.sources.ome_collection import images_in, is_zarr
from fullconv.sources.trouble import check_regular, reading
from fullconv.system.files import check_local

ENDINGS = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .gif .jp2 .j2k .j2c .jpx .jph .jxl "
    ".jls .psd .avif .ppm .pgm .pbm .pnm .pfm .tga .qoi .sgi .tif .tiff .btf .tf8 .svs "
    ".npy".split()
) | {*SLIDES, *RASTERS}
"""Endings of image files in a folder."""


def without_ending(name: str) -> str:
    """Return the name of an image without the ending of its format.

    Other dots belong to the name: ``scan.1.png`` becomes ``scan.1``, which stays as it is.
    """
    stem, _, ending = name.rpartition(".")
    is_ending = f".{ending.lower()}" in ENDINGS or ending.lower() in ("zarr", "zip")
    is_name = re.split(r"[/\\]", stem)[-1].strip(".") != ""
    return stem if is_ending and is_name else name


def find_images(named: Sequence[str | Path], apart_from: Sequence[str | Path] = ()) -> list[Path]:
    """Return the images that a user names, each once.

    A folder stands for all images in it and below, sorted. A pattern with ``*``, ``?`` or ``[``
    stands for its matches, sorted. A ``.txt`` file is a list of paths, one a line, relative to the
    list. Links to folders are followed, and each real folder is visited once, so that links may
    lead in a circle. A zarr folder is one image, or all images of a plate, well or other group.
    In a folder, heatmaps that a scan has written or is writing do not count as images, nor does
    anything in the folders ``apart_from``, where results go. A named file is returned even if it
    is missing or damaged, so that one bad image does not prevent the others from being read.

    Raises
    ------
    InputError
        If a folder, pattern or list holds no images, or a list or folder cannot be read.
    """
    images_by_place: dict[tuple[str, str], Path] = {}
    real = cache(os.path.realpath)
    others = {Path(folder).resolve() for folder in apart_from}
    for name in named:
        path = check_local("images", name, reads=True)
        if not path.exists() and glob.has_magic(str(name)):
            images = _matches(str(name))
        elif path.is_dir() and not is_zarr(path):
            images = sorted(_below(path, others))
            if not images:
                raise InputError(
                    f"{name}: no images in this folder, by their endings; name the files, or "
                    f"another folder."
                )
        elif path.suffix.lower() == ".txt" and path.exists():
            images = _listed(path)
        else:
            images = [path]
        for image in (one for path in images for one in _images_of(path)):
            images_by_place.setdefault((real(os.path.dirname(image)), image.name), image)
    return list(images_by_place.values())


def _images_of(path: Path) -> list[Path]:
    """Return the images in a plate or another group; of any other or damaged path, itself."""
    try:
        with reading(str(path)):
            return images_in(path) or [path]
    except ImageError:
        return [path]


def _below(folder: Path, apart_from: Set[Path]) -> Iterator[Path]:
    arrays: list[Path] = []

    def enters(path: Path) -> bool:
        is_left_out = path.name.startswith(".") or path.name.endswith(".part")
        if is_left_out or path.resolve() in apart_from:
            return False
        if is_zarr(path):
            if not _is_heatmap(path):
                arrays.append(path)
            return False
        return True

    for path in files_below(folder, enters):
        is_image = not path.name.startswith(".") and path.suffix.lower() in ENDINGS
        if is_image and not _is_geotiff_heatmap(path):
            yield path
    yield from arrays


def _is_heatmap(path: Path) -> bool:
    """Whether a zarr folder is a heatmap that a scan has written."""
    try:
        return "fullconv" in json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _is_geotiff_heatmap(path: Path) -> bool:
    """Whether a file is a heatmap that a scan has written, by its record in GDAL's metadata."""
    if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
        return False
    import tifffile

    import fullconv.sources.tiff  # noqa: F401 - keeps tifffile's warnings off stderr

    try:
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            return '<Item name="FULLCONV">' in tiff.pages.first.tags["GDAL_METADATA"].value
    except Exception:  # damaged files raise errors of every type, also on opening
        return False


def _matches(pattern: str) -> list[Path]:
    images = [path for path in sorted(_paths(pattern)) if not path.is_dir() or is_zarr(path)]
    if not images:
        raise InputError(f"{pattern}: no file matches; check the pattern.")
    return images


def _paths(pattern: str) -> Iterator[Path]:
    """Yield the matches of a pattern, by the shell's rules.

    ``**`` stands for any folders. `glob` is not used for it, as it never ends where links lead in
    a circle.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from map(Path, glob.glob(pattern))
        return
    begin = parts.index("**")
    above, below = Path(*parts[:begin]), parts[begin:]
    roots = glob.glob(str(above)) if glob.has_magic(str(above)) else [str(above)]
    for root in filter(os.path.isdir, roots):
        folders: list[Path] = []

        def enters(path: Path, folders: list[Path] = folders) -> bool:
            folders.append(path)
            return not path.name.startswith(".")

        files = list(files_below(Path(root), enters))
        for path in (*files, *folders):
            if _fits(path.relative_to(root).parts, below):
                yield path


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path match a pattern; a leading dot hides a part from wildcards."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        shown = next((n for n, part in enumerate(parts) if part.startswith(".")), len(parts))
        return any(_fits(parts[skipped:], pattern[1:]) for skipped in range(shown + 1))
    if not parts or (parts[0].startswith(".") and not pattern[0].startswith(".")):
        return False
    return fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _listed(path: Path) -> list[Path]:
    check_regular(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the list cannot be read: {error.strerror or error}.") from None
    if b"\0" in data:
        raise InputError(
            f"{path} is not a list of images: it is not text (UTF-8); give one path a line."
        )
    # Names may hold bytes that are not UTF-8, as on the file system.
    lines = re.split("\r\n|\r|\n", data.decode("utf-8-sig", "surrogateescape"))
    images = [path.parent / line.strip() for line in lines if line.strip()]
    if not images:
        raise InputError(f"{path}: the list names no image; give one path a line.")
    return images
