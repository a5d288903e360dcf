"""Where the results of many images go in one folder, each in a place of its own."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from fullconv.names import as_file

AnyPath = TypeVar("AnyPath", bound=PurePath)


def result_paths(images: Sequence[Path], folder: Path, ending: str) -> list[Path]:
    """Return a place in a folder for the result of each image, no two the same on any disk.

    Parameters
    ----------
    images : sequence of Path
        Different files.
    folder : Path
        Where results go, each in the image's own folders below the one that all have in common.
    ending : str
        Of the results' names.
    """
    # Without "..", which would lead out of the folder.
    below = places_below([Path(os.path.abspath(image)) for image in images])
    taken: set[str] = set()
    found = []
    for place in below:
        folders = [as_file(part) for part in place.parts[:-1]]
        made = Path(*folders, as_file(place.name, ending))
        number = 1
        while _folded(made) in taken:  # where a disk makes one of them, by capitals or accents
            number += 1
            made = Path(*folders, as_file(f"{place.name}~{number}", ending))
        taken.add(_folded(made))
        found.append(folder / made)
    return found


def places_below(images: Sequence[AnyPath]) -> list[AnyPath]:
    """Return a relative place for each image, from absolute paths: its own folder and name.

    The ending of its kind is left out where no other image would then have the same place, be it on
    a system that does not tell capitals from small letters. Other dots are kept.
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
    """Return paths relative to the folder that they have in common; of several drives, by them."""
    for folder in images[0].parents:
        if all(image.is_relative_to(folder) for image in images):
            return [image.relative_to(folder) for image in images]
    return [
        type(image)(re.sub(r"\W+", "", image.drive), image.relative_to(image.anchor))
        for image in images
    ]


def _folded(path: PurePath) -> str:
    """Return what Windows and macOS make of a name: capitals and ways to write an accent alike."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()
