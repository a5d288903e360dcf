"""``fullconv detect``: boxes in images of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fullconv.choices import ACTIVATIONS
from fullconv.cli import dry, options
from fullconv.cli.detect_lines import print_found
from fullconv.cli.detect_work import Results, Work
from fullconv.cli.exit_codes import DIFFERS
from fullconv.cli.many import all_failed, each, find_inputs, folder
from fullconv.cli.models import Opened
from fullconv.cli.options import PreprocessingFlags
from fullconv.cli.output import only_json
from fullconv.cli.paths import LocalPath
from fullconv.cli.reading import drawing, may_overwrite, open_to_read, reading, takes_images
from fullconv.cli.sizes import FiniteType, NamesType, NumberType, ScalesType, between_commas
from fullconv.detections.search import Search
from fullconv.sources.names import as_text

AGAIN = "The same command tries them again, and goes on with what it has scanned."

AS_EVER = ("overwrite", "as_json", "dry_run")
"""The options that change no result."""


@click.command("detect", epilog=options.MODEL_HELP)
@options.model
@takes_images
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=LocalPath(),
    help="Where to write the boxes: .csv (WSInfer's columns, after the name of the image, or "
    "before it where IMAGE is one file), .json (COCO results) or .geojson (QuPath; in the "
    "coordinates of a georeferenced or translated image; not of recordings and volumes). For "
    "several images a .csv, a .json, or the folder for a .geojson of each. Required, but for "
    "--dry-run.",
)
@click.option(
    "--threshold",
    type=NumberType(),
    default=Search.threshold,
    show_default=True,
    help="The least score of a detection.",
)
@click.option(
    "--iou",
    type=FiniteType(0, 1),
    default=Search.iou,
    show_default=True,
    help="Boxes that overlap by more than this show the same object.",
)
@click.option(
    "--scales",
    type=ScalesType(),
    default=between_commas(Search.scales),
    show_default=True,
    help="Resize IMAGE by each, as in 1,0.75,0.5: 0.5 finds what is twice as large.",
)
@click.option(
    "--classes",
    type=NamesType(),
    help="What to look for, by names or by numbers from 0. Default: every class but the "
    "background that the model names.",
)
@click.option(
    "--across-classes", is_flag=True, help="Boxes of different classes may not overlap either."
)
@click.option(
    "--activation",
    type=click.Choice(ACTIVATIONS),
    default=Search.activation,
    show_default=True,
    help="The function that turns scores into probabilities. One that the model holds is not "
    "applied again.",
)
@options.conversion
@options.preprocessing
@reading
@click.option(
    "--truth",
    metavar="FILE",
    type=LocalPath(reads=True),
    help="COCO annotations whose ids of images and categories a .json gets, found by name. "
    "Default: both are counted from 1.",
)
@may_overwrite
@dry.flag
@drawing("the boxes on")
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: options.ModelFlags,
    images: tuple[str, ...],
    output: Path | None,
    overlay: Path | None,
    truth: Path | None,
    dry_run: bool,
    overwrite: bool,
    as_json: bool,
    conversion: options.Conversion,
    flags: PreprocessingFlags,
    **asked: Any,
) -> None:
    """Find what MODEL knows in IMAGE, of any size, and write boxes in pixels of the image.

    IMAGE is a file, a folder, a pattern, or a .txt file that lists images. Where MODEL takes
    recordings or volumes, it is a .npy file or a zarr array, and boxes are intervals T0,T1 or
    cuboids X0,Y0,Z0,X1,Y1,Z1. Interrupted or killed,
    the same command goes on where it stopped; until then, OUT.part holds the boxes of each image
    that is done. Exit code 4 says that scores which claim to be the crops' own are not.
    """
    from fullconv.detections.formats import check_holds_ids

    paths = find_inputs(images, output, overlay)

    def opened() -> Opened:
        opened, asked["preprocessing"] = open_to_read(
            *("detect", model, conversion, flags),
            level=asked["level"],
            overlay=overlay,
            as_json=as_json,
        )
        return opened

    if dry_run:
        dry.tell_all(opened(), paths, asked, asked["scales"], as_json)
        return
    if output is None:
        dry.miss_output(ctx)
    asking = {name: value for name, value in ctx.params.items() if name not in AS_EVER}
    # A file that is named alone leaves WSInfer's columns; else each box names its image, also where
    # one image is all that a folder holds, or all that could be read.
    is_alone = len(images) == 1 and paths == [Path(images[0])]
    results = Results.of(paths, output, overlay, is_alone=is_alone, asking=asking)
    if truth is not None:
        check_holds_ids(f"detect --truth {truth}", output)
    if not overwrite:
        results.refuse_existing()
    with folder(results.part):
        with only_json(as_json):
            work = Work.of(opened(), results, paths, truth, asked, as_json)
            done, failed = each(paths, results.outs, work.find)
            results.join([one.detections for one in done], work.ids)
        if as_json:
            print_found(output, done, failed)
        elif done:
            click.echo(f"wrote    {as_text(str(output))}")
        if failed:
            raise all_failed(failed, len(paths), AGAIN)
    results.remove_kept()
    proofs = [heatmap.verification for one in done for heatmap in one.heatmaps]
    if not all(proof is None or proof.passed for proof in proofs):
        ctx.exit(DIFFERS)
