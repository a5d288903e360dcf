"""``--dry-run``: describe what a scan would read and compute, without computing anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from fullconv.cli.many import Failed, all_failed
from fullconv.cli.models import Opened
from fullconv.cli.options import Decorated
from fullconv.cli.output import print_json, remarks_told
from fullconv.cli.reading import border
from fullconv.cli.sizes import along
from fullconv.errors import FullconvError
from fullconv.wording import shortly, sized, unit, windows_named

if TYPE_CHECKING:
    from fullconv.scanning.options import Options
    from fullconv.sources import Source

Line = tuple[str, str]
"""The subject of a line, and its text."""


def flag(command: Decorated) -> Decorated:
    """Add --dry-run."""
    return click.option(
        "--dry-run",
        is_flag=True,
        help="Say what would be read and computed, with channels, levels, windows, tiles and "
        "cost, and stop.",
    )(command)


def miss_output(ctx: click.Context) -> NoReturn:
    """Refuse a call without -o, as click does.

    Raises
    ------
    click.MissingParameter
        Always.
    """
    raise click.MissingParameter(ctx=ctx, param_hint="'-o' / '--output'", param_type="option")


def tell_all(
    opened: Opened,
    images: Sequence[Path],
    asked: Mapping[str, Any],
    scales: Sequence[float],
    as_json: bool,
) -> None:
    """Print what a scan of every image would read and compute.

    Raises
    ------
    SomeFailedError
        If an image cannot be scanned, after the others are printed.
    """
    records: list[dict[str, Any]] = []
    failed: list[Failed] = []
    for image in images:
        lines: list[Line] = []
        try:
            with remarks_told(as_json):
                for name, line in _lines(opened, image, asked, scales):
                    lines.append((name, line))
                    if not as_json:
                        click.echo(f"{name:<9}{line}")
        except FullconvError as error:
            if len(images) == 1:
                raise
            failed.append(Failed(image, " ".join(str(error).splitlines())))
            click.echo(f"fullconv: error: {failed[-1].line}", err=True)
        records.append({"image": str(image), "lines": [f"{name}: {line}" for name, line in lines]})
    if as_json:
        print_json({"images": records, "failed": [one.as_dict() for one in failed]})
    if failed:
        raise all_failed(failed, len(images), "Nothing was written.")


def _lines(
    opened: Opened, path: Path, asked: Mapping[str, Any], scales: Sequence[float]
) -> Iterator[Line]:
    """Yield the lines of one image, as soon as each is known."""
    from fullconv.scanning.opening import fitted, read_image
    from fullconv.scanning.options import Options

    tile = along(asked["tile"], opened.fcn.grid.dimensions)
    options = Options.of({**asked, "tile": tile})
    with read_image(opened.fcn, path, options) as source:
        yield "image", _image(path, source)
        yield "channels", _channels(source, opened.fcn.shape.channels)
        if source.georeference is not None:
            yield "place", str(source.georeference)
        image = fitted(opened.fcn, source, options.resize)
        for line in image.facts.remarks:
            yield "note", line.rstrip(".")
        for scale in scales:
            yield from _at_scale(opened, options, image, scale)


def _image(path: Path, source: Source) -> str:
    level, levels = source.facts.level
    things = unit(len(source.size), many=True)
    parts = [f"{path}, {sized(source.size)} {things} of {source.dtype}"]
    if levels > 1:
        parts.append(f"level {level} of {levels}, 0 to {levels - 1}")
    if source.size != source.original_size:
        times = shortly(source.placement.scale)
        parts.append(f"{times} times coarser than {sized(source.original_size)}")
    um = source.um_per_pixel
    if um is not None:
        parts.append(f"{shortly(um)} um per {unit(len(um))}")
    return ", ".join(parts)


def _channels(source: Source, channels: int) -> str:
    from fullconv.sources.colours import listed

    return f"{listed(source.channels)}; the model takes {channels}"


def _at_scale(opened: Opened, options: Options, fitted: Source, scale: float) -> Iterator[Line]:
    """Yield the lines about the windows at one scale."""
    from fullconv.conversion.report import thousands
    from fullconv.scanning.heatmap import Heatmap
    from fullconv.scanning.job import Job
    from fullconv.sources import resized

    fcn = opened.fcn
    image = fitted
    if scale != 1:
        image = resized(fitted, [max(1, round(n * scale)) for n in fitted.size])
    job = Job(opened.engine, image, options, None, None, None)
    plan, lanes, runtime = job.planned()
    grid, counts = fcn.grid, plan.counts
    count = job.region.count()
    at = "" if scale == 1 else f" at scale {scale:g}"
    left = "" if count == prod(counts) else f", of which {count} are to be scored"
    step = shortly(grid.step)
    yield "windows", f"{sized(counts)} of {sized(grid.window)}, step {step}{at}{left}"
    whole = {name: [0, n] for name, n in zip(windows_named(len(counts)), counts, strict=True)}
    record: dict[str, Any] = {
        "window": grid.window,
        "step": grid.step,
        "classes": [],
        "image_size": image.size,
        "cover": options.cover,
        "region": job.region.describe() if options.roi else whole,
    }
    for line in border(Heatmap(None, record, None)):
        yield "border", line.removeprefix("border").strip()
    for line in job.region.remarks:
        yield "note", line.rstrip(".")
    job.look()
    if job.seen is not None:
        yield unit(grid.dimensions, many=True), str(job.seen)
    tiles = "1 tile" if len(plan) == 1 else f"{len(plan)} tiles"
    size = f"{sized(plan.shape)} windows"
    if options.tile is None:
        size = f"at most {size} (a measurement chooses)"
    yield "tiles", f"{tiles} of {size}, {lanes} at a time, in {runtime}"
    cost = fcn.report.cost
    each = cost.exact if fcn.report.exact else cost.approximate
    yield (
        "cost",
        f"{thousands(each * count)} multiply-accumulates ({thousands(cost.crops * count)} from "
        f"crops), {plan.pixels / 1e6:.3g} mega{unit(grid.dimensions, many=True)} read",
    )
