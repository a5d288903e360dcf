"""``fullconv detect``: boxes in images of any size."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.choices import ACTIVATIONS
from fullconv.cli import DIFFERS, dry, options
from fullconv.cli.detect_lines import beyond, print_found, tell, tell_place
from fullconv.cli.many import (
    all_failed,
    each,
    find_inputs,
    folder,
    picture_places,
    places,
    refuse_existing,
)
from fullconv.cli.models import Opened, open_model
from fullconv.cli.options import PreprocessingFlags
from fullconv.cli.output import note, only_json
from fullconv.cli.paths import Local, Named
from fullconv.cli.progress import shown
from fullconv.cli.reading import check_drawn, labels_of, opened_image, prepared, reading
from fullconv.cli.sizes import Finite, Names, Number, Scales
from fullconv.cli.unfinished import Unfinished
from fullconv.geometry import Sizes
from fullconv.names import as_text

if TYPE_CHECKING:
    from fullconv.converted import FullyConvolutional
    from fullconv.detections.detecting import Found
    from fullconv.detections.found import Detections
    from fullconv.detections.ids import Ids

AGAIN = "The same command tries them again, and goes on with what it has scanned."
ENDINGS = (".geojson", ".json", ".csv")

AS_EVER = ("overwrite", "as_json", "dry_run")
"""The options that change no result."""


@click.command("detect", epilog=options.MODEL_HELP)
@options.model
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=Named())
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=Local(),
    help="Where to write the boxes: .csv (WSInfer's columns, after the name of the image, or "
    "before it where IMAGE is one file), .json (COCO results) or .geojson (QuPath; in the "
    "coordinates of a georeferenced or translated image; not of recordings and volumes). For "
    "several images a .csv, a .json, or the folder for a .geojson of each. Required, but for "
    "--dry-run.",
)
@click.option(
    "--threshold",
    type=Number(),
    default=0.5,
    show_default=True,
    help="The least score of a detection.",
)
@click.option(
    "--iou",
    type=Finite(0, 1),
    default=0.3,
    show_default=True,
    help="Boxes that overlap by more than this show the same object.",
)
@click.option(
    "--scales",
    type=Scales(),
    default="1",
    show_default=True,
    help="Resize IMAGE by each, as in 1,0.75,0.5: 0.5 finds what is twice as large.",
)
@click.option(
    "--classes",
    type=Names(),
    help="What to look for, by names or by numbers from 0. Default: every class but the "
    "background that the model names.",
)
@click.option(
    "--across-classes", is_flag=True, help="Boxes of different classes may not overlap either."
)
@click.option(
    "--activation",
    type=click.Choice(ACTIVATIONS),
    default="none",
    show_default=True,
    help="What turns scores into probabilities, where the model itself does not.",
)
@options.conversion
@options.preprocessing
@reading
@click.option(
    "--check",
    "windows_to_check",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    help="So many windows of every scan are computed again from crops; 0: none. --no-check leaves "
    "out another comparison, ahead of the scans.",
)
@click.option(
    "--truth",
    metavar="FILE",
    type=Local(reads=True),
    help="COCO annotations whose ids of images and categories a .json gets, found by name. "
    "Default: both are counted from 1.",
)
@click.option("--overwrite", is_flag=True, help="Replace a finished output.")
@dry.flag
@click.option(
    "--overlay",
    type=Local(),
    help="Also draw the boxes on IMAGE, as this picture; for several images, a folder.",
)
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    images: tuple[str, ...],
    window: Sizes | None,
    step: int | Sizes | None,
    approximate: bool,
    weights: Path | None,
    output: Path | None,
    overlay: Path | None,
    truth: Path | None,
    dry_run: bool,
    overwrite: bool,
    classes: tuple[str, ...] | None,
    across_classes: bool,
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
    from fullconv.detections.classes import check_classes
    from fullconv.detections.formats import check_holds, check_holds_ids, write
    from fullconv.detections.found import joined
    from fullconv.detections.keeping import check_kept, remove_kept

    found = find_inputs(images, output, overlay)
    if dry_run:
        with only_json(as_json):
            opened = open_model(
                "detect", model, weights, window, step, approximate, conversion, flags.config
            )
            check_drawn(opened, overlay)
            preprocessing = prepared("detect", opened, flags, asked["level"], as_json)
        told = asked | {"preprocessing": preprocessing}
        failed = dry.tell_all(opened, found, told, asked["scales"], as_json)
        if failed:
            raise all_failed(failed, len(found), "Nothing was written.")
        return
    if output is None:
        dry.miss_output(ctx)
    outs = _outputs(found, output)
    pictures = picture_places(found, overlay)
    if truth is not None:
        check_holds_ids(f"detect --truth {truth}", output)
    is_file = output.suffix.lower() in ENDINGS
    part = output.with_name(output.name + ".part") if is_file else output / "detect.part"
    check_kept(part, output)
    asking = {name: value for name, value in ctx.params.items() if name not in AS_EVER}
    unfinished = Unfinished(part, asking)
    if not overwrite:
        ours = unfinished.may_replace
        refuse_existing("detect -o", output, outs, ours)
        refuse_existing("detect --overlay", overlay, list(pictures.values()), ours)
    with folder(part):
        with only_json(as_json):
            opened = open_model(
                "detect", model, weights, window, step, approximate, conversion, flags.config
            )
            check_drawn(opened, overlay)
            dimensions = opened.fcn.grid.dimensions
            check_holds(f"detect -o {output}", outs[0], dimensions)
            if truth is not None:
                check_holds_ids(f"detect --truth {truth}", output, dimensions)
            asked |= {
                "preprocessing": prepared("detect", opened, flags, asked["level"], as_json),
                "classes": labels_of(opened.fcn.classes, classes),
                "per_class": not across_classes,
                "folder": part,
            }
            check_classes(opened.fcn, asked["classes"])
            ids = _ids(opened.fcn, found, asked["classes"], truth)
            # A file that is named alone leaves WSInfer's columns; else each box names its image,
            # also where one image is all that a folder holds, or all that could be read.
            is_alone = len(images) == 1 and found == [Path(images[0])]
            is_joined = output.suffix.lower() in (".csv", ".json") and not is_alone
            work = partial(_one, opened, as_json, pictures, not is_joined, unfinished, ids, asked)
            results, failed = each(found, outs, work)
            if is_joined and results:
                with unfinished.writing(output):
                    all_ = joined([held.detections for held in results])
                    write(all_, output, named=True, ids=ids)
        if as_json:
            print_found(output, results, failed)
        elif results:
            click.echo(f"wrote    {as_text(str(output))}")
        if failed:
            raise all_failed(failed, len(found), AGAIN)
    with contextlib.suppress(OSError):
        remove_kept(part)
    proofs = [heatmap.verification for held in results for heatmap in held.heatmaps]
    if not all(proof is None or proof.passed for proof in proofs):
        ctx.exit(DIFFERS)


def _one(
    opened: Opened,
    as_json: bool,
    pictures: dict[Path, Path],
    is_alone: bool,
    unfinished: Unfinished,
    ids: Ids,
    asked: dict[str, Any],
    image: Path,
    out: Path,
) -> Found:
    """Find what one image holds, and write it: as its own output, or until all are written."""
    from fullconv.detections.detecting import detect_in
    from fullconv.detections.formats import write
    from fullconv.sources import reopen

    with opened_image(opened, image, asked, as_json) as (source, others), shown() as listener:
        found = detect_in(
            opened.engine,
            source,
            classifier=opened.classifier,
            origin=opened.origin,
            progress=listener,
            **others,
        )
    if is_alone:
        with unfinished.writing(out):
            write(found.detections, out, found.detections.places[0], ids=ids)
    else:
        unfinished.keep(found.detections, out.suffix.lower(), ids)
    if image in pictures:
        described = found.heatmaps[0].metadata["image"] | {"path": str(image)}
        described.pop("then", None)
        with reopen(described) as source, unfinished.writing(pictures[image]):
            _draw(found.detections, source, pictures[image])
    if not as_json:
        tell(found, image, asked["threshold"])
        tell_place(found.detections, out)
    elif found.beyond is not None:
        note(beyond(found.beyond, asked["threshold"]), as_json)
    return found


def _ids(
    fcn: FullyConvolutional,
    images: Sequence[Path],
    classes: Sequence[str | int] | None,
    truth: Path | None,
) -> Ids:
    """Return what COCO results call the images, and the classes that are looked for."""
    from fullconv.detections.classes import named_classes
    from fullconv.detections.ids import Ids

    names = [str(image) for image in images]
    if truth is None:
        return Ids.counted(names)
    wanted = named_classes(fcn, classes)
    return Ids.of_truth(f"detect --truth {truth}", truth, names, wanted)


def _outputs(images: list[Path], output: Path) -> list[Path]:
    """Return where each image's boxes go: all in one file, or each in its own."""
    if output.suffix.lower() in (".csv", ".json"):
        outs = [output] * len(images)
    elif output.suffix and output.suffix.lower() not in ENDINGS and not output.is_dir():
        from fullconv.detections.formats import check_ending

        check_ending(output)
        outs = []
    else:
        outs = places(images, output, ENDINGS)
    return outs


def _draw(found: Detections, source: Any, path: Path) -> None:
    """Draw boxes on the image, reduced to what fits a screen."""
    from fullconv.detections.drawing import draw_boxes
    from fullconv.files import whole
    from fullconv.scanning.picture import reduced_picture

    picture, factor = reduced_picture(source)
    drawn = draw_boxes(picture, found.boxes, found.labels, found.scores, found.classes, factor)
    with folder(path.parent), whole(path) as temporary:
        drawn.save(temporary)
