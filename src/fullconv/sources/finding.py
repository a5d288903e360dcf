"""Which images a user means: files, folders, patterns, and lists."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from fullconv.errors import InputError
from fullconv.files import check_local
from fullconv.sources.opening import RASTERS, SLIDES
from fullconv.sources.trouble import check_regular
from fullconv.sources.zarr_folder import is_zarr

ENDINGS = frozenset(
    ".png .apng .jpg .jpeg .jpe .jfif .webp .bmp .gif .jp2 .j2k .j2c .jpx .jph .jxl "
    ".jls .psd .avif .ppm .pgm .pbm .pnm .pfm .tga .qoi .sgi .tif .tiff .btf .tf8 .svs".split()
) | {*SLIDES, *RASTERS}
"""Endings by which a file in a folder is taken for an image."""


def find_images(named: Sequence[str | Path], apart_from: Sequence[str | Path] = ()) -> list[Path]:
    """Return the images that are meant, each once.

    A folder stands for all images in it and below, sorted; a pattern with ``*``, ``?`` or ``[``
    for what it matches, sorted; a ``.txt`` file for the paths in it, one a line, relative to the
    list. A zarr folder is one image. In a folder, heatmaps that a scan has written, or is writing,
    are no images; nor is what lies in the folders ``apart_from``, where results go. Whether a
    named file exists and can be read shows when it is opened, so that one bad image does not keep
    the others from being read.

    Raises
    ------
    InputError
        If a folder, pattern or list holds no images, or a list cannot be read.
    """
    found: dict[Path, None] = {}
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
        found.update(dict.fromkeys(images))
    return list(found)


def _below(folder: Path, apart_from: Set[Path]) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        for name in list(folders):
            path = Path(place, name)
            if name.startswith(".") or name.endswith(".part") or path.resolve() in apart_from:
                folders.remove(name)
            elif is_zarr(path):
                folders.remove(name)
                if not _is_heatmap(path):
                    yield path
        for name in files:
            path = Path(place, name)
            is_image = not name.startswith(".") and path.suffix.lower() in ENDINGS
            if is_image and not _is_geotiff_heatmap(path):
                yield path


def _is_heatmap(path: Path) -> bool:
    """Whether a zarr folder is what a scan has written."""
    try:
        return "fullconv" in json.loads((path / "zarr.json").read_bytes())["attributes"]
    except (OSError, ValueError, LookupError, TypeError):
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
    paths = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]
    images = [path for path in paths if not path.is_dir() or is_zarr(path)]
    if not images:
        raise InputError(f"{pattern}: no file matches; check the pattern.")
    return images


def _listed(path: Path) -> list[Path]:
    check_regular(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not a list of images: it is not text (UTF-8); give one path a line."
        ) from None
    except OSError as error:
        raise InputError(f"{path}: the list cannot be read: {error.strerror or error}.") from None
    images = [path.parent / line.strip() for line in lines if line.strip()]
    if not images:
        raise InputError(f"{path}: the list names no image; give one path a line.")
    return images
