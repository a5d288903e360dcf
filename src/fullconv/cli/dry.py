"""``--dry-run``: what a scan would read and compute, without computing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from fullconv.cli.many import Failed
from fullconv.cli.models import Opened
from fullconv.cli.output import print_json
from fullconv.cli.reading import border, remarks_told
from fullconv.errors import FullconvError

if TYPE_CHECKING:
    from fullconv.scanning.options import Options
    from fullconv.sources import Source

Lines = list[tuple[str, str]]


def flag(command: Any) -> Any:
    """Add --dry-run."""
    return click.option(
        "--dry-run",
        is_flag=True,
        help="Say what would be read and computed, with channels, levels, windows, tiles and "
        "cost, and stop.",
    )(command)


def miss_output(ctx: click.Context) -> NoReturn:
    """Say that -o is missing, as click does.

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
) -> list[Failed]:
    """Print what would become of every image, and return those of which nothing would."""
    told: list[dict[str, Any]] = []
    failed: list[Failed] = []
    for image in images:
        lines: Lines = []
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
        told.append({"image": str(image), "lines": [f"{name}: {line}" for name, line in lines]})
    if as_json:
        print_json({"images": told, "failed": [one.as_dict() for one in failed]})
    return failed


def _lines(opened: Opened, path: Path, asked: Mapping[str, Any], scales: Sequence[float]) -> Any:
    """Yield the lines of one image, as soon as each is known."""
    from fullconv.scanning.options import Options

    options = Options.of(asked)
    with options.read(opened.fcn, path) as source:
        yield "image", _image(path, source)
        yield "channels", _channels(source, opened.fcn.shape.channels)
        if source.georeference is not None:
            yield "place", str(source.georeference)
        fitted = options.fitted(opened.fcn, source)
        for line in fitted.facts.remarks:
            yield "note", line.rstrip(".")
        for scale in scales:
            yield from _at_scale(opened, options, fitted, scale)


def _image(path: Path, source: Source) -> str:
    height, width = source.size
    level, levels = source.facts.level
    told = [f"{path}, {width}x{height} pixels of {source.dtype}"]
    if levels > 1:
        told.append(f"level {level} of {levels}, 0 to {levels - 1}")
    if source.size != source.original_size:
        (h, w), factor = source.original_size, source.placement.scale
        times = f"{factor[0]:.5g}" if factor[0] == factor[1] else f"{factor[1]:.5g}x{factor[0]:.5g}"
        told.append(f"{times} times coarser than {w}x{h}")
    um = source.um_per_pixel
    if um is not None:
        size = f"{um[0]:.5g}" if um[0] == um[1] else f"{um[1]:.5g}x{um[0]:.5g}"
        told.append(f"{size} um per pixel")
    return ", ".join(told)


def _channels(source: Source, channels: int) -> str:
    from fullconv.sources.colours import listed

    return f"{listed(source.channels)}; the model takes {channels}"


def _at_scale(opened: Opened, options: Options, fitted: Source, scale: float) -> Any:
    """Yield what is said of the windows at one scale."""
    from fullconv.report import thousands
    from fullconv.scanning.heatmap import Heatmap
    from fullconv.scanning.job import Job
    from fullconv.sources import resized

    fcn = opened.fcn
    image = fitted
    if scale != 1:
        image = resized(fitted, [max(1, round(n * scale)) for n in fitted.size])
    job = Job(opened.engine, image, options, None, None, None)
    plan, lanes, runtime = job.planned()
    (h, w), (sy, sx) = fcn.grid.window, fcn.grid.step
    rows, columns = plan.counts
    count = job.region.count()
    at = "" if scale == 1 else f" at scale {scale:g}"
    step = sx if sx == sy else f"{sx}x{sy}"
    left = "" if count == rows * columns else f", of which {count} are to be scored"
    yield "windows", f"{columns}x{rows} of {w}x{h}, step {step}{at}{left}"
    whole = {"rows": [0, rows], "columns": [0, columns]}
    record: dict[str, Any] = {
        "window": fcn.grid.window,
        "step": fcn.grid.step,
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
        yield "pixels", str(job.seen)
    high, wide = plan.shape
    tiles = "1 tile" if len(plan) == 1 else f"{len(plan)} tiles"
    size = f"{wide}x{high} windows"
    if options.tile is None:
        size = f"at most {size} (a measurement chooses)"
    yield "tiles", f"{tiles} of {size}, {lanes} at a time, in {runtime}"
    cost = fcn.report.cost
    each = cost.exact if fcn.report.exact else cost.approximate
    yield (
        "cost",
        f"{thousands(each * count)} multiply-accumulates ({thousands(cost.crops * count)} from "
        f"crops), {plan.pixels / 1e6:.3g} megapixels read",
    )
