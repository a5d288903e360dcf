"""One command for many images: the place of each result, and the handling of failures."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from fullconv.cli.naming import result_paths
from fullconv.errors import FullconvError, InputError, OutputError
from fullconv.sources.names import as_text
from fullconv.system.disk import file_of

Result = TypeVar("Result")

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Endings of the pictures that --overlay writes; the first is the default."""


def find_inputs(named: Sequence[str], *results: Path | None) -> list[Path]:
    """Return the images that a user names, without pictures that the same command has made.

    ``results`` are the folders that the command writes to; they may lie below a named folder.
    """
    from fullconv.sources import find_images

    return find_images(named, [path for path in results if path is not None])


def places(
    images: Sequence[Path], out: Path, endings: Sequence[str], flag: str = "-o"
) -> list[Path]:
    """Return the path of each image's result.

    If ``out`` has one of the endings, it is the result of a single image. Otherwise ``out`` is a
    folder, with a result of the first ending for each image, in folders as the images have them.

    Raises
    ------
    InputError
        If several images would share one file, ``out`` has an ending of another kind and is no
        folder, or an image would be overwritten.
    """
    from fullconv.sources.ome_collection import listed

    if out.suffix.lower() in endings:
        if len(images) > 1:
            raise InputError(
                f"{flag} {out}: that is the place of one result, and there are {len(images)} "
                f"images ({listed(images)}); name a folder, without an ending."
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
        outs = result_paths(images, out, endings[0])
    own = {file_of(image) for image in images}
    for path in outs:
        if file_of(path) in own:
            raise InputError(f"{flag} {out}: {path} is an image that is read; choose another name.")
    return outs


def picture_places(images: Sequence[Path], overlay: Path | None) -> dict[Path, Path]:
    """Return the path of each image's picture.

    Raises
    ------
    InputError
        As for `places`; and if pictures would lie among the images, because the next run would
        take them for images.
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


def refuse_existing(
    flag: str,
    named: Path | None,
    outs: Sequence[Path],
    but: Callable[[Path], bool] = lambda out: False,
) -> None:
    """Refuse to replace existing files, except those that ``but`` accepts."""
    there = [out for out in outs if out.exists() and not but(out)]
    if there:
        raise InputError(
            f"{flag} {named}: {there[0]} is there already; choose another name, or replace "
            f"it with --overwrite."
        )


@dataclass(frozen=True)
class Failed:
    """An image that failed, and why."""

    image: Path
    line: str

    @classmethod
    def by(cls, error: Exception, image: Path) -> Failed:
        """Return the failure that an error describes, in one line that names the image."""
        text, name = str(error), as_text(str(image))
        if not isinstance(error, FullconvError):
            text = (
                f"unexpected {type(error).__name__}: {error}. This is a bug in fullconv; please "
                f"report it, with what 'fullconv --debug ...' prints for this image alone."
            )
        text = text.replace(str(image), name).replace(image.name, as_text(image.name))
        line = " ".join(text.splitlines()).encode(errors="backslashreplace").decode()
        return cls(image, line if as_text(image.name) in line else f"{name}: {line}")

    def as_dict(self) -> dict[str, str]:
        """Return both as plain values, for JSON."""
        return {"image": as_text(str(self.image)), "error": self.line}


class SomeFailedError(FullconvError):
    """Some images failed; the others are done."""


def each(
    images: Sequence[Path], outs: Sequence[Path], work: Callable[[Path, Path], Result]
) -> tuple[list[Result], list[Failed]]:
    """Do the work for every image, and return the results and the failures.

    An image that fails does not stop the others; its line is printed at once. This holds for bugs
    of fullconv or of a library, too, so that the other images get their results. If there is only
    one image, its failure is raised.
    """
    results: list[Result] = []
    failed: list[Failed] = []
    for image, out in zip(images, outs, strict=True):
        try:
            with folder(out.parent):
                results.append(work(image, out))
        except Exception as error:
            if len(images) == 1 or (isinstance(error, OSError) and error.errno == errno.EPIPE):
                raise
            failed.append(Failed.by(error, image))
            click.echo(f"fullconv: error: {failed[-1].line}", err=True)
    return results, failed


def all_failed(failed: Sequence[Failed], count: int, again: str) -> SomeFailedError:
    """Return the error to raise at the end, which counts and names the images that failed."""
    named = ", ".join(as_text(str(each_.image)) for each_ in failed[:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    return SomeFailedError(
        f"{len(failed)} of {count} images failed: {named}{more}; the reason of each stands above. "
        f"{again}"
    )


@contextlib.contextmanager
def folder(path: Path) -> Iterator[None]:
    """Create a folder for results; if the work fails and leaves it empty, remove it again.

    Raises
    ------
    OutputError
        If it cannot be created.
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
