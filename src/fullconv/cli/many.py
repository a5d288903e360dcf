"""One command for many images: where each result goes, and what becomes of a bad one."""

from __future__ import annotations

import contextlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

import click

from fullconv.errors import FullconvError, InputError, OutputError
from fullconv.system.disk import file_of

Result = TypeVar("Result")

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Endings of pictures that --overlay writes, the first by default."""


def find_inputs(named: Sequence[str], *results: Path | None) -> list[Path]:
    """Return the images that a user names, without pictures that the same command has made.

    ``results`` are the folders that it writes to, which may lie below a folder that is named.
    """
    from fullconv.sources import find_images

    return find_images(named, [path for path in results if path is not None])


def places(
    images: Sequence[Path], out: Path, endings: Sequence[str], flag: str = "-o"
) -> list[Path]:
    """Return where the result of each image goes.

    A single image's result is ``out`` itself, where that has one of the endings. Otherwise ``out``
    is a folder, and holds a result of the first ending for each image, in the images' own folders.

    Raises
    ------
    InputError
        If several images would share one file, ``out`` has an ending of another kind and is no
        folder, or an image would be overwritten.
    """
    if out.suffix.lower() in endings:
        if len(images) > 1:
            raise InputError(
                f"{flag} {out}: that is the place of one result, and there are {len(images)} "
                f"images; name a folder, without an ending."
            )
        outs = [out]
    elif out.suffix and not out.is_dir():
        raise InputError(
            f"{flag} {out}: the kind of result is told by its ending; use {endings[0]} or "
            f"{endings[1]}, or name a folder, without an ending."
        )
    elif out.exists() and not out.is_dir():
        raise InputError(f"{flag} {out}: it is there and is no folder; choose another name.")
    else:
        outs = _below(images, out, endings[0])
    own = {file_of(image) for image in images}
    for path in outs:
        if file_of(path) in own:
            raise InputError(f"{flag} {out}: {path} is an image that is read; choose another name.")
    return outs


def picture_places(images: Sequence[Path], overlay: Path | None) -> dict[Path, Path]:
    """Return where each image's picture goes.

    Raises
    ------
    InputError
        As for `places`; and if pictures would lie among the images, where the next run would take
        them for images.
    """
    if overlay is None:
        return {}
    pictures = places(images, overlay, PICTURES, "--overlay")
    among = {image.resolve().parent for image in images}
    if pictures[0] != overlay and any(picture.resolve().parent in among for picture in pictures):
        raise InputError(
            f"--overlay {overlay}: the pictures would lie among the images; name another folder."
        )
    return dict(zip(images, pictures, strict=True))


def refuse_existing(flag: str, named: Path | None, outs: Sequence[Path]) -> None:
    """Refuse to write over what is there already."""
    there = [out for out in outs if out.exists()]
    if there:
        raise InputError(
            f"{flag} {named}: {there[0]} is there already; choose another name, or replace "
            f"it with --overwrite."
        )


def _below(images: Sequence[Path], folder: Path, ending: str) -> list[Path]:
    """Return a place in a folder for each image, no two the same."""
    return [
        folder / place.with_name(place.name + ending)
        for place in places_below([image.absolute() for image in images])
    ]


def places_below(images: Sequence[PurePath]) -> list[PurePath]:
    """Return a relative place for each image, from absolute paths: its own folder and name.

    The ending is left out where no other image would then have the same place, be it on a system
    that does not tell capitals from small letters.
    """
    full = _below_common(images)
    plain = [path.with_suffix("") for path in full]
    # Of a.png and a.jpg in one folder, neither may take the other's place, nor that of a.png.tif.
    count = Counter(map(_folded, plain)) + Counter(map(_folded, full))
    named = [a if count[_folded(a)] == 1 else b for a, b in zip(plain, full, strict=True)]
    return full if len(set(map(_folded, named))) < len(named) else named


def _below_common(images: Sequence[PurePath]) -> list[PurePath]:
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


@dataclass(frozen=True)
class Failed:
    """An image of which nothing came, and why."""

    image: Path
    line: str

    def as_dict(self) -> dict[str, str]:
        """Return both as plain values, for JSON."""
        return {"image": str(self.image), "error": self.line}


class SomeFailedError(FullconvError):
    """Some of many images failed, and the others are done."""


def each(
    images: Sequence[Path], outs: Sequence[Path], work: Callable[[Path, Path], Result]
) -> tuple[list[Result], list[Failed]]:
    """Do the work for every image; a bad one does not stop the others, and gets its line at once.

    Returns what was done, and what failed. The failure of a single image is raised.
    """
    results: list[Result] = []
    failed: list[Failed] = []
    for image, out in zip(images, outs, strict=True):
        try:
            with folder(out.parent):
                results.append(work(image, out))
        except FullconvError as error:
            if len(images) == 1:
                raise
            line = str(error) if image.name in str(error) else f"{image}: {error}"
            failed.append(Failed(image, " ".join(line.splitlines())))
            click.echo(f"fullconv: error: {failed[-1].line}", err=True)
    return results, failed


def all_failed(failed: Sequence[Failed], count: int, again: str) -> SomeFailedError:
    """Return what to raise at the end: a line that counts and names the images that failed."""
    named = ", ".join(str(each_.image) for each_ in failed[:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    return SomeFailedError(
        f"{len(failed)} of {count} images failed: {named}{more}; the reason of each stands above. "
        f"{again}"
    )


@contextlib.contextmanager
def folder(path: Path) -> Iterator[None]:
    """Make a folder for results; where the work fails and leaves it empty, remove it again.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    made = [place for place in (path, *path.parents) if not os.path.exists(place)]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {path}: {error.strerror or error}; choose another place."
        ) from None
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for place in made:
                place.rmdir()
        raise
