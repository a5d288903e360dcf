"""Which images a user means: files, folders, patterns, and lists."""

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
from fullconv.files import check_local
from fullconv.sources.folders import files_below
from fullconv.sources.ome_collection import images_in, is_zarr
from fullconv.sources.opening import RASTERS, SLIDES
from fullconv.sources.trouble import check_regular, reading

ENDINGS = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .gif .jp2 .j2k .j2c .jpx .jph .jxl "
    ".jls .psd .avif .ppm .pgm .pbm .pnm .pfm .tga .qoi .sgi .tif .tiff .btf .tf8 .svs "
    ".npy".split()
) | {*SLIDES, *RASTERS}
"""Endings by which a file in a folder is taken for an image."""


def without_ending(name: str) -> str:
    """Return the name of an image without the ending of its kind.

    Other dots belong to the name: ``scan.1.png`` is ``scan.1``, and ``scan.1`` stays as it is.
    """
    stem, _, ending = name.rpartition(".")
    is_ending = f".{ending.lower()}" in ENDINGS or ending.lower() in ("zarr", "zip")
    is_name = re.split(r"[/\\]", stem)[-1].strip(".") != ""
    return stem if is_ending and is_name else name


def find_images(named: Sequence[str | Path], apart_from: Sequence[str | Path] = ()) -> list[Path]:
    """Return the images that are meant, each once.

    A folder stands for all images in it and below, sorted; a pattern with ``*``, ``?`` or ``[``
    for what it matches, sorted; a ``.txt`` file for the paths in it, one a line, relative to the
    list. Folders that are links are followed, and each real folder counts once, so that links may
    lead in a circle. A zarr folder is one image, or all images of the plate, well or other group
    that it is. In a folder, heatmaps that a scan has written, or is writing, are no images; nor is
    what lies in the folders ``apart_from``, where results go. Whether a named file exists and can
    be read shows when it is opened, so that one bad image does not keep the others from being read.

    Raises
    ------
    InputError
        If a folder, pattern or list holds no images, or a list or folder cannot be read.
    """
    found: dict[tuple[str, str], Path] = {}
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
        for image in (one for path in images for one in _held_by(path)):
            found.setdefault((real(os.path.dirname(image)), image.name), image)
    return list(found.values())


def _held_by(path: Path) -> list[Path]:
    """Return the images in a plate or the like; a path that is none, or is damaged, as it is."""
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
    """Whether a zarr folder is what a scan has written."""
    try:
        return "fullconv" in json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _is_geotiff_heatmap(path: Path) -> bool:
    """Whether a file is what a scan has written, by its record among GDAL's metadata."""
    if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
        return False
    import tifffile

    import fullconv.sources.tiff  # noqa: F401 - keeps tifffile's remarks off stderr

    try:
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            return '<Item name="FULLCONV">' in tiff.pages.first.tags["GDAL_METADATA"].value
    except Exception:  # damaged files raise errors of every type, when they are opened as well
        return False


def _matches(pattern: str) -> list[Path]:
    images = [path for path in sorted(_paths(pattern)) if not path.is_dir() or is_zarr(path)]
    if not images:
        raise InputError(f"{pattern}: no file matches; check the pattern.")
    return images


def _paths(pattern: str) -> Iterator[Path]:
    """Yield what a pattern matches, as the shell has it.

    ``**`` stands for any folders; through links that lead in circles, `glob` would not come to an
    end with it.
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
    """Whether folders and a name are those of a pattern; one that begins with a dot is hidden."""
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
        held = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the list cannot be read: {error.strerror or error}.") from None
    if b"\0" in held:
        raise InputError(
            f"{path} is not a list of images: it is not text (UTF-8); give one path a line."
        )
    # Names may hold bytes that are no UTF-8, as the file system gives them.
    lines = re.split("\r\n|\r|\n", held.decode("utf-8-sig", "surrogateescape"))
    images = [path.parent / line.strip() for line in lines if line.strip()]
    if not images:
        raise InputError(f"{path}: the list names no image; give one path a line.")
    return images
