"""A scan to the disk: from its beginning, or from where it stopped, to the finished heatmap."""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fullconv.errors import HeatmapWarning, InputError, OutputError, first_line
from fullconv.scanning import geotiff, record
from fullconv.scanning.describing import describe
from fullconv.scanning.digests import sealed
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.job import Job
from fullconv.scanning.ledger import Ledger
from fullconv.scanning.options import OutputOptions
from fullconv.scanning.ours import refuse_place
from fullconv.scanning.repairing import Repair
from fullconv.scanning.task import Task
from fullconv.scanning.writing import HeatmapWriter
from fullconv.wording import only_images

ENDINGS = (".zarr", ".tif", ".tiff")


def scan_to(job: Job, out: Path, options: OutputOptions) -> Heatmap:
    """Scan into a folder or file, and continue an unfinished output of the same run."""
    if out.suffix.lower() not in ENDINGS:
        raise InputError(
            f"scan(out={str(out)!r}): the kind of output is told by its ending; use .zarr, or "
            f".tif for a GeoTIFF."
        )
    dimensions = job.fcn.grid.dimensions
    if out.suffix.lower() != ".zarr" and dimensions != 2:
        raise InputError(
            f"scan(out={str(out)!r}): a GeoTIFF is {only_images(dimensions)}; use .zarr."
        )
    asked = record.asked(job.engine.digest, job.image, job.options, job.preprocessing, job.region)
    with contextlib.closing(Ledger(out)) as ledger, contextlib.ExitStack() as stack:
        ledger.recover()
        finished = None
        if os.path.lexists(out):
            # Opened even if it is to be replaced: nothing but a heatmap is ever removed.
            finished = stack.enter_context(_opened(out))
            before = finished.metadata.get("asked") or {}
            if ledger.is_left_by(finished.metadata.get("run")):
                ledger.sweep()  # the run was killed when its heatmap was in place already
                options = replace(options, overwrite=options.overwrite and before != asked)
            if not options.overwrite:
                _check(finished, asked, options.repair)
                if not options.repair or not finished.damage():
                    stack.pop_all()
                    return finished
        if out.suffix.lower() != ".zarr":
            geotiff.check_installed(out)
        _write(job, ledger, asked, finished, options)
    return Heatmap.open(out)


def _opened(out: Path) -> Heatmap:
    """Open the heatmap that has the output's name already.

    Raises
    ------
    InputError
        If something else has it, which is never removed.
    """
    try:
        return Heatmap.open(out)
    except InputError:
        raise InputError(
            f"cannot write {out}: it is there and is no heatmap of fullconv, or one whose record "
            f"is damaged; move it away, or choose another name."
        ) from None


def _write(
    job: Job,
    ledger: Ledger,
    asked: Mapping[str, Any],
    finished: Heatmap | None,
    options: OutputOptions,
) -> None:
    """Begin or continue a scan, and finish it.

    The undamaged tiles of a finished heatmap that is to be replaced are taken over, unless
    ``overwrite`` is set.
    """
    ledger.lock()
    begun = ledger.begun() if options.resume else None
    if begun is not None:
        todo = "finish it as it was begun, or start again with resume=False (--no-resume)"
        record.refuse_other(ledger.folder, begun["asked"], asked, todo)
    repair = None if finished is None or options.overwrite else Repair.of(finished)
    chosen = begun["chosen"] if begun is not None else {}
    job.look()
    task = job.task(chosen or (repair.chosen if repair else {}))
    _ = task.shape  # refuses an output that the model does not have, before anything is written
    with _said(ledger):
        if begun is None:
            begun = ledger.begin({"asked": asked, "chosen": record.chosen(task)})
        else:
            ledger.resume(len(task.plan))
        writer = HeatmapWriter(ledger, task, job.options.dtype, begun)
        _score(job, task, writer, repair)
        made = _made(job, task, writer, asked, begun["id"])
        if finished is not None:
            finished.close()
        ledger.finish(made, finished is not None)


def _score(job: Job, task: Task, writer: HeatmapWriter, repair: Repair | None) -> None:
    """Score what is neither written yet nor taken over from a finished heatmap."""
    from fullconv.scanning.bounded import open_scores

    ledger, scores = writer.ledger, open_scores(writer.ledger.heatmap)
    metadata = record.made(job.engine, task, job.options.dtype, scores.shape[0])
    writer.prove(Heatmap(scores, metadata, None))
    if repair is not None:
        writer.take_over(repair)
    before = sum(line.windows for line in ledger.lines.values())
    job.score(task, writer.finished, writer.write, before)
    ledger.settle()
    job.unscored_windows = sum(line.unscored for line in ledger.lines.values())
    if repair is not None:
        job.unscored_windows = repair.unscored_windows
        repair.tell(writer.checksums)


@contextlib.contextmanager
def _said(ledger: Ledger) -> Iterator[None]:
    """Say what becomes of the scan where the disk refuses to take it.

    Raises
    ------
    OutputError
        If it does.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        _refuse_what_is_in_the_way(ledger.out, error)
        todo = "make room, and give the same command again"
        if ledger.keeps():
            todo = (
                "what was scanned is kept: make room, and the same command goes on where it stopped"
            )
        raise OutputError(
            f"cannot write {ledger.out}: {error.strerror or first_line(error)}; {todo}."
        ) from None


def _refuse_what_is_in_the_way(out: Path, error: OSError) -> None:
    """Refuse an output if a file could not be written because something else is in its place.

    Raises
    ------
    OutputError
        If that is the reason.
    """
    for place in (error.filename2, error.filename):
        in_the_way = error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)
        if in_the_way and place is not None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                refuse_place(out, Path(place), os.lstat(place).st_mode)


def _made(job: Job, task: Task, writer: HeatmapWriter, asked: Mapping[str, Any], run: str) -> Path:
    """Check and describe the scanned heatmap, and return its path, in the format asked for."""
    from fullconv.scanning.bounded import open_scores

    ledger, scores = writer.ledger, open_scores(writer.ledger.heatmap)
    writer.compare_pixels()
    metadata = sealed(
        job.finished(task, scores)
        | {"asked": asked, "checksums": writer.checksums.to_json(), "run": run}
    )
    heatmap = Heatmap(scores, metadata, None)
    if ledger.out.suffix.lower() == ".zarr":
        describe(ledger.heatmap, heatmap)
        ledger.created()
        return ledger.heatmap
    path = ledger.folder / ledger.out.name
    geotiff.write_geotiff(heatmap, path)
    return path


def _check(finished: Heatmap, asked: Mapping[str, Any], repair: bool) -> None:
    """Check that the heatmap with the output's name is the one asked for, and whole.

    Raises
    ------
    InputError
        If it is another run's.
    DamagedError
        If it has lost scores, and is not to be repaired.
    """
    assert finished.path is not None
    before = finished.metadata.get("asked") or {}
    is_of_before = finished.is_of_before
    todo = "choose another name, or replace it with overwrite=True (--overwrite)"
    expected = record.as_of_before(asked, before) if is_of_before else asked
    record.refuse_other(finished.path, before, expected, todo)
    if repair:
        return
    finished.check()
    if is_of_before:
        warnings.warn(
            f"{finished.path} was made before heatmaps had checksums: nobody can tell whether "
            f"scores, or its image, have changed since; scan it again with overwrite=True "
            f"(--overwrite)",
            HeatmapWarning,
            stacklevel=2,
        )
