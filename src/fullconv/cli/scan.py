"""``fullconv scan``: a heatmap of an image of any size."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.choices import DTYPES, LARGEST_SCALE
from fullconv.cli import dry, options
from fullconv.cli.exit_codes import DIFFERS
from fullconv.cli.many import all_failed, each, find_inputs, folder, picture_places, places
from fullconv.cli.models import Opened
from fullconv.cli.options import PreprocessingFlags
from fullconv.cli.output import only_json, print_json
from fullconv.cli.paths import LocalPath
from fullconv.cli.progress import shown
from fullconv.cli.reading import (
    border,
    comparison,
    drawing,
    may_overwrite,
    open_to_read,
    opened_image,
    reading,
    takes_images,
)
from fullconv.cli.sizes import FiniteType
from fullconv.errors import InputError
from fullconv.scanning.options import Options, OutputOptions
from fullconv.sources.names import as_text
from fullconv.system.disk import file_of
from fullconv.wording import shortly, sized, unit

if TYPE_CHECKING:
    from fullconv.scanning.heatmap import Heatmap

AGAIN = "The same command tries them again, and skips what is finished."


@click.command("scan", epilog=options.MODEL_HELP)
@options.model
@takes_images
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=LocalPath(),
    help="A folder that ends in .zarr (OME-Zarr 0.5), or a .tif (GeoTIFF); for several images, "
    "the folder to put theirs in. Required, but for --dry-run.",
)
@options.conversion
@options.preprocessing
@reading
@click.option(
    "--resize",
    "resize",
    type=FiniteType(min=0, min_open=True, max=LARGEST_SCALE),
    default=Options.resize,
    show_default=True,
    help="Resize IMAGE by this much first: 0.5 finds what is twice as large.",
)
@click.option(
    "--scores",
    "output_number",
    type=click.IntRange(min=0),
    default=Options.output,
    show_default=True,
    help="Which output, of a model that has several.",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default=Options.dtype,
    show_default=True,
    help="How scores are stored. uint8 is for scores between 0 and 1.",
)
@click.option(
    "--resume/--no-resume",
    default=OutputOptions.resume,
    show_default=True,
    help="Go on with an unfinished output, or start again.",
)
@may_overwrite
@dry.flag
@click.option(
    "--repair",
    is_flag=True,
    help="Of a finished output that has lost scores, compute again what is lost.",
)
@drawing("the heatmap over")
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: options.ModelFlags,
    images: tuple[str, ...],
    output: Path | None,
    overlay: Path | None,
    dry_run: bool,
    output_number: int,
    resize: float,
    as_json: bool,
    conversion: options.Conversion,
    flags: PreprocessingFlags,
    **asked: Any,
) -> None:
    """Score every window of IMAGE, of any size, and store the heatmap.

    IMAGE is a file, a folder, a pattern, or a .txt file that lists images; photos, TIFFs and
    OME-TIFFs, zarr, .npy, whole slides, rasters. Where MODEL takes recordings or volumes, it is a
    .npy file or a zarr array. Memory stays bounded. Interrupted or killed, the same
    command goes on where it stopped. At the end some windows are compared with crops; exit code 4
    says that scores which claim to be the crops' own are not, or that a finished output has lost
    some.
    """
    if output is None and not dry_run:
        dry.miss_output(ctx)
    paths = find_inputs(images, output, overlay)
    outs = places(paths, output, (".zarr", ".tif", ".tiff")) if output else []
    pictures = picture_places(paths, overlay)
    opened, preprocessing = open_to_read(
        *("scan", model, conversion, flags),
        level=asked["level"],
        overlay=overlay,
        as_json=as_json,
    )
    asked |= {"preprocessing": preprocessing, "output": output_number, "resize": resize}
    if dry_run:
        dry.tell_all(opened, paths, asked, (1.0,), as_json)
        return
    with only_json(as_json):
        results, failed = each(paths, outs, partial(_one, opened, as_json, pictures, asked))
    if as_json:
        print_json({"heatmaps": results, "failed": [one.as_dict() for one in failed]})
    if failed:
        raise all_failed(failed, len(paths), AGAIN)
    if any(result["passed"] is False for result in results):
        ctx.exit(DIFFERS)


def _one(
    opened: Opened,
    as_json: bool,
    pictures: dict[Path, Path],
    asked: dict[str, Any],
    image: Path,
    out: Path,
) -> dict[str, Any]:
    from fullconv.scanning.scanner import scan

    existed = out.exists() and not asked["overwrite"]
    before = file_of(out) if existed else None
    picture = pictures.get(image)
    if picture is not None and picture.exists() and not (existed or asked["overwrite"]):
        raise InputError(
            f"--overlay {picture}: it is there already; choose another name, or replace it with "
            f"--overwrite."
        )
    with opened_image(opened, image, asked, as_json) as (source, others), shown() as listener:
        heatmap = scan(
            opened.fcn,
            source,
            out,
            classifier=opened.classifier,
            origin=opened.origin,
            progress=listener,
            engine=opened.engine,
            **others,
        )
    if not as_json:
        is_new = before is None or file_of(out) != before
        for line in _story(heatmap, image, _ending(out, existed, is_new)):
            click.echo(line)
    if picture is not None:
        _draw(heatmap, image, picture, as_json)
    proof = heatmap.verification
    return {
        "image": as_text(str(image)),
        "heatmap": str(out),
        "shape": list(heatmap.shape),
        "window": list(heatmap.grid.window),
        "step": list(heatmap.grid.step),
        "exact": heatmap.metadata["exact"],
        "overlay": None if picture is None else str(picture),
        "passed": None if proof is None else proof.passed,
        "verification": proof.as_dict() if proof else None,
    }


def _ending(out: Path, existed: bool, is_new: bool) -> str:
    named = as_text(str(out))
    if not existed:
        return f"wrote    {named}"
    if is_new:
        return f"wrote    {named}, and kept what was whole of it"
    return f"done     {named} was finished before; --overwrite scans again"


def _story(heatmap: Heatmap, image: Path, ending: str) -> list[str]:
    metadata, grid, (classes, *counts) = heatmap.metadata, heatmap.grid, heatmap.shape
    things = unit(grid.dimensions, many=True)
    chosen, tile = metadata["chosen"], metadata["chosen"]["tile"]
    scores = "1 score" if classes == 1 else f"{classes} scores"
    lines = [
        f"image    {as_text(str(image))}, {sized(metadata['image_size'])} {things}: "
        f"{sized(counts)} windows of {sized(grid.window)}, step {shortly(grid.step)}, {scores} "
        f"each",
        f"run      {chosen['runtime']} on {chosen['device']}, {metadata['precision']}, in tiles of "
        f"{sized(tile)} windows",
    ]
    lines.extend(border(heatmap))
    if heatmap.georeference is not None:
        lines.append(f"place    {heatmap.georeference}")
    if metadata["odd_windows"]:
        lacking = "lie on tiles that the file does not hold"
        why = lacking if metadata.get("lacks_pixels") else f"hold NaN or infinite {things}"
        lines.append(
            f"note     {metadata['odd_windows']} windows {why}, and are left as not scanned"
        )
    proof = heatmap.verification
    if proof is not None:
        lines.extend(comparison(proof))
    if heatmap.seen is not None:
        lines.append(f"{things:<8} {heatmap.seen}")
    return [*lines, ending]


def _draw(heatmap: Heatmap, image: Path, picture: Path, as_json: bool) -> None:
    from fullconv.scanning.picture import save_overlay
    from fullconv.sources import reopen

    # The image may have moved since the heatmap was finished, so its present path is used.
    described = heatmap.metadata["image"] | {"path": str(image)}
    with folder(picture.parent), reopen(described) as source:
        save_overlay(heatmap, source, picture)
    if not as_json:
        click.echo(f"wrote    {as_text(str(picture))}")
