"""Paths for the results of many images in one folder, no two alike."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from fullconv.sources.names import as_file

AnyPath = TypeVar("AnyPath", bound=PurePath)


def result_paths(images: Sequence[Path], folder: Path, ending: str) -> list[Path]:
    """Return a path in a folder for the result of each image, no two the same on any disk.

    Parameters
    ----------
    images : sequence of Path
        Different files.
    folder : Path
        Folder of the results. Below it are the images' folders, relative to the one that all have
        in common.
    ending : str
        Ending of the results' names.
    """
    # Absolute paths have no "..", which would lead out of the folder.
    below = places_below([Path(os.path.abspath(image)) for image in images])
    taken: set[str] = set()
    paths = []
    for place in below:
        folders = [as_file(part) for part in place.parts[:-1]]
        made = Path(*folders, as_file(place.name, ending))
        number = 1
        while _folded(made) in taken:  # some disks ignore capitals or accents
            number += 1
            made = Path(*folders, as_file(f"{place.name}~{number}", ending))
        taken.add(_folded(made))
        paths.append(folder / made)
    return paths


def places_below(images: Sequence[AnyPath]) -> list[AnyPath]:
    """Return a relative place for each image, given by absolute paths: its folders and its name.

    The ending of the format is left out if no other image would then have the same place, even on
    a system that ignores capitals. Other dots are kept.
    """
    from fullconv.sources.finding import without_ending

    full = _below_common(images)
    plain = [path.with_name(without_ending(path.name)) for path in full]
    # Of a.png and a.jpg in one folder, neither may take the other's place, nor that of a.png.tif.
    count = Counter(map(_folded, plain)) + Counter(
        _folded(path) for path, short in zip(full, plain, strict=True) if path != short
    )
    named = [a if count[_folded(a)] == 1 else b for a, b in zip(plain, full, strict=True)]
    return full if len(set(map(_folded, named))) < len(set(map(_folded, full))) else named


def _below_common(images: Sequence[AnyPath]) -> list[AnyPath]:
    """Return paths relative to their common folder; on several drives, below the drive's name."""
    for folder in images[0].parents:
        if all(image.is_relative_to(folder) for image in images):
            return [image.relative_to(folder) for image in images]
    return [
        type(image)(re.sub(r"\W+", "", image.drive), image.relative_to(image.anchor))
        for image in images
    ]


def _folded(path: PurePath) -> str:
    """Return a name with capitals and forms of accents made alike, as Windows and macOS do."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()
