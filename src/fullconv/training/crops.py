"""Folders of crops, one for each class, and their split into training and hold-out."""

from __future__ import annotations

import os
import random
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fullconv.conversion.backgrounds import usual_background
from fullconv.errors import InputError

LAYOUT = (
    "expected one folder of pictures for each class, as in crops/dress and crops/background, or "
    "train/ and test/ with one folder for each class"
)


@dataclass(frozen=True)
class Crop:
    """A picture and the number of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class CropFolder:
    """The crops below a folder.

    Attributes
    ----------
    classes : tuple of str
        The names of the class folders, sorted; their order is that of the scores.
    training : tuple of Crop
        All pictures, or those of the ``train`` folder.
    test : tuple of Crop or None
        The pictures of the ``test`` folder; None if there is none.
    """

    classes: tuple[str, ...]
    training: tuple[Crop, ...]
    test: tuple[Crop, ...] | None


def find_crops(folder: Path) -> CropFolder:
    """Return the crops below a folder.

    If the folder's only folders are ``train`` and ``test``, or ``train`` alone, these hold one
    folder for each class; otherwise the folder itself does. A class folder may have subfolders.

    Raises
    ------
    InputError
        If there are no class folders, only one, or one without pictures.
    """
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "does not exist"
        raise InputError(f"train {folder}: that {what}; {LAYOUT}.")
    below = _folders(folder)
    test = None
    if {"train"} <= below.keys() <= {"train", "test"}:
        test = _by_class(below["test"]) if "test" in below else None
        folder = below["train"]
    training = _by_class(folder)
    _check_classes(folder, training)
    unknown = [name for name in test or () if name not in training]
    if unknown:
        raise InputError(
            f"train {folder.parent}: test/ has the class {unknown[0]!r}, which train/ has not; the "
            f"classes of train/ are {', '.join(map(repr, training))}."
        )
    classes = tuple(training)
    return CropFolder(
        classes, _flat(classes, training), None if test is None else _flat(classes, test)
    )


def hold_out(found: CropFolder, share: float, seed: int) -> tuple[list[Crop], list[Crop]]:
    """Return the crops to learn from and those to judge by.

    Without a ``test`` folder, the seed draws the given share of each class, at least one crop.

    Raises
    ------
    InputError
        If a class has too few crops.
    """
    by_class = [
        [crop for crop in found.training if crop.label == label]
        for label in range(len(found.classes))
    ]
    needed = 1 if found.test is not None else 2
    for name, crops in zip(found.classes, by_class, strict=True):
        if len(crops) < needed:
            raise InputError(
                f"train: the class {name!r} holds {('no picture', 'one picture')[len(crops)]} that "
                f"can be read, and {('', 'one', 'one to learn from and one to judge by')[needed]} "
                f"is the least; add pictures to it."
            )
    if found.test is not None:
        if not found.test:
            raise InputError(
                "train: test/ holds no picture that can be read; add some, or remove it."
            )
        return list(found.training), list(found.test)
    training, held_out = [], []
    for crops in by_class:
        # Each class is drawn by itself: pictures added to one leave the others where they were.
        order = random.Random(f"{seed} {crops[0].label}").sample(crops, len(crops))
        count = min(max(1, round(share * len(crops))), len(crops) - 1)
        drawn = set(order[:count])
        held_out += [crop for crop in crops if crop in drawn]
        training += [crop for crop in crops if crop not in drawn]
    return training, held_out


def background_of(classes: Sequence[str], named: str | None) -> str | None:
    """Return the background class: the one named, or the one with a usual name of backgrounds.

    Raises
    ------
    InputError
        If the named class does not exist.
    """
    if named is None:
        return usual_background(classes)
    if _plain(named) not in classes:
        raise InputError(
            f"train --background {named}: there is no such class; the folders are "
            f"{', '.join(map(repr, classes))}."
        )
    return _plain(named)


def _check_classes(folder: Path, by_class: Mapping[str, list[Path]]) -> None:
    if not by_class:
        raise InputError(f"train {folder}: it holds no folders; {LAYOUT}.")
    for name, paths in by_class.items():
        if not paths:
            raise InputError(
                f"train {folder}: the class folder {name!r} holds no pictures, by their endings; "
                f"fill it, or remove it."
            )
    if len(by_class) == 1:
        raise InputError(
            f"train {folder}: {next(iter(by_class))!r} is the only class, and a classifier needs "
            f"two; add a folder 'background' with crops of other things."
        )


def _flat(classes: Sequence[str], by_class: Mapping[str, list[Path]]) -> tuple[Crop, ...]:
    return tuple(
        Crop(path, label) for label, name in enumerate(classes) for path in by_class.get(name, [])
    )


def _by_class(folder: Path) -> dict[str, list[Path]]:
    return {name: sorted(_pictures(path)) for name, path in _folders(folder).items()}


def _folders(folder: Path) -> dict[str, Path]:
    """Return the folders in a folder by their names, sorted.

    Names are brought to composed form (Unicode NFC), so that a class has the same name on every
    file system.
    """
    folders: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        name = _plain(path.name)
        if name in folders:
            raise InputError(
                f"train {folder}: two folders are called {name!r}, once in composed and once in "
                f"decomposed letters; rename one."
            )
        folders[name] = path
    return dict(sorted(folders.items()))


def _plain(name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"train: the folder name {os.fsencode(name)!r} is not text in UTF-8, so no model file "
            f"can hold it; rename the folder."
        ) from None
    return unicodedata.normalize("NFC", name)


def _pictures(folder: Path) -> Iterator[Path]:
    from fullconv.sources.finding import ENDINGS
    from fullconv.sources.folders import files_below

    for path in files_below(folder, lambda below: not below.name.startswith(".")):
        if not path.name.startswith(".") and path.suffix.lower() in ENDINGS:
            yield path
