"""The work of ``fullconv detect`` on each image, and the places of its results."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fullconv.cli.detect_lines import beyond, tell, tell_place
from fullconv.cli.many import folder, picture_places, places, refuse_existing
from fullconv.cli.models import Opened
from fullconv.cli.output import note
from fullconv.cli.progress import shown
from fullconv.cli.reading import labels_of, opened_image
from fullconv.cli.unfinished import Unfinished
from fullconv.detections.search import Search

if TYPE_CHECKING:
    from fullconv.conversion.converted import FullyConvolutional
    from fullconv.detections.detecting import ImageDetections
    from fullconv.detections.found import Detections
    from fullconv.detections.ids import Ids
    from fullconv.sources import Source

ENDINGS = (".geojson", ".json", ".csv")
JOINED = (".csv", ".json")
"""The formats that hold the boxes of several images."""


@dataclass(frozen=True)
class Results:
    """The places of a detection's results.

    Attributes
    ----------
    output : Path
        The path that the user named.
    outs : list of Path
        File for the boxes of each image: one for all, or one each.
    overlay : Path or None
        The path that the user named for pictures.
    pictures : dict of Path to Path
        File for the picture of each image.
    is_joined : bool
        Whether the boxes of all images are written into one file, at the end.
    part : Path
        Folder for the state of an unfinished detection.
    unfinished : Unfinished
    """

    output: Path
    outs: list[Path]
    overlay: Path | None
    pictures: dict[Path, Path]
    is_joined: bool
    part: Path
    unfinished: Unfinished

    @classmethod
    def of(
        cls,
        images: list[Path],
        output: Path,
        overlay: Path | None,
        *,
        is_alone: bool,
        asking: Mapping[str, Any],
    ) -> Self:
        """Return the places of a call's results; ``is_alone`` if it names one file.

        Raises
        ------
        InputError
            If results cannot be written there.
        """
        from fullconv.detections.keeping import check_kept

        outs = _outputs(images, output)
        pictures = picture_places(images, overlay)
        ending = output.suffix.lower()
        part = output / "detect.part"
        if ending in ENDINGS:
            part = output.with_name(output.name + ".part")
        check_kept(part, output)
        return cls(
            output=output,
            outs=outs,
            overlay=overlay,
            pictures=pictures,
            is_joined=ending in JOINED and not is_alone,
            part=part,
            unfinished=Unfinished(part, asking),
        )

    def refuse_existing(self) -> None:
        """Refuse to replace existing files.

        Raises
        ------
        InputError
            If there are any.
        """
        ours = self.unfinished.may_replace
        refuse_existing("detect -o", self.output, self.outs, ours)
        refuse_existing("detect --overlay", self.overlay, list(self.pictures.values()), ours)

    def join(self, each_image: Sequence[Detections], ids: Ids) -> None:
        """Write the boxes of all images into one file, if the output is one."""
        from fullconv.detections.formats import write
        from fullconv.detections.found import joined

        if self.is_joined and each_image:
            with self.unfinished.writing(self.output):
                write(joined(each_image), self.output, named=True, ids=ids)

    def remove_kept(self) -> None:
        """Remove the state that was kept until all images were done."""
        from fullconv.detections.keeping import remove_kept

        with contextlib.suppress(OSError):
            remove_kept(self.part)


@dataclass(frozen=True)
class Work:
    """A detection in each of several images.

    Attributes
    ----------
    opened : Opened
        The model.
    results : Results
    search : Search
    ids : Ids
        Ids of images and classes in COCO results.
    options : mapping
        The keywords of `fullconv.keywords.ScanOptions`.
    as_json : bool
    """

    opened: Opened
    results: Results
    search: Search
    ids: Ids
    options: Mapping[str, Any]
    as_json: bool

    @classmethod
    def of(
        cls,
        opened: Opened,
        results: Results,
        images: Sequence[Path],
        truth: Path | None,
        asked: Mapping[str, Any],
        as_json: bool,
    ) -> Self:
        """Return the work that the command's options ask for.

        Raises
        ------
        InputError
            If the model has no such class, or the format has no place for its boxes.
        """
        from fullconv.detections.classes import check_classes
        from fullconv.detections.formats import check_holds, check_holds_ids

        options = dict(asked)
        wanted = labels_of(opened.fcn.classes, options.pop("classes"))
        search = Search(
            threshold=options.pop("threshold"),
            iou=options.pop("iou"),
            scales=options.pop("scales"),
            classes=wanted,
            per_class=not options.pop("across_classes"),
            activation=options.pop("activation"),
        )
        dimensions = opened.fcn.grid.dimensions
        check_holds(f"detect -o {results.output}", results.outs[0], dimensions)
        if truth is not None:
            check_holds_ids(f"detect --truth {truth}", results.output, dimensions)
        check_classes(opened.fcn, wanted)
        ids = _ids(opened.fcn, images, wanted, truth)
        return cls(opened, results, search, ids, options, as_json)

    def find(self, image: Path, out: Path) -> ImageDetections:
        """Detect in one image, and write its boxes: as its own output, or to be joined later."""
        from fullconv.detections.detecting import detect_in
        from fullconv.detections.formats import write
        from fullconv.sources import reopen

        results, ids, as_json = self.results, self.ids, self.as_json
        with (
            opened_image(self.opened, image, self.options, as_json) as (source, options),
            shown() as listener,
        ):
            found = detect_in(
                self.opened.engine,
                source,
                self.search,
                results.part,
                classifier=self.opened.classifier,
                origin=self.opened.origin,
                progress=listener,
                **options,
            )
        if results.is_joined:
            results.unfinished.keep(found.detections, out.suffix.lower(), ids)
        else:
            with results.unfinished.writing(out):
                write(found.detections, out, found.detections.places[0], ids=ids)
        if image in results.pictures:
            described = found.heatmaps[0].metadata["image"] | {"path": str(image)}
            described.pop("then", None)
            picture = results.pictures[image]
            with reopen(described) as source, results.unfinished.writing(picture):
                _draw(found.detections, source, picture)
        self._tell(found, image, out)
        return found

    def _tell(self, found: ImageDetections, image: Path, out: Path) -> None:
        threshold = self.search.threshold
        if not self.as_json:
            tell(found, image, threshold)
            tell_place(found.detections, out)
        elif found.beyond is not None:
            note(beyond(found.beyond, threshold), self.as_json)


def _ids(
    fcn: FullyConvolutional,
    images: Sequence[Path],
    classes: Sequence[str | int] | None,
    truth: Path | None,
) -> Ids:
    """Return the ids in COCO results of the images, and of the classes to look for."""
    from fullconv.detections.classes import named_classes
    from fullconv.detections.ids import Ids

    names = [str(image) for image in images]
    if truth is None:
        return Ids.counted(names)
    wanted = named_classes(fcn, classes)
    return Ids.of_truth(f"detect --truth {truth}", truth, names, wanted)


def _outputs(images: list[Path], output: Path) -> list[Path]:
    """Return the file for each image's boxes: one for all, or one each."""
    if output.suffix.lower() in JOINED:
        outs = [output] * len(images)
    elif output.suffix and output.suffix.lower() not in ENDINGS and not output.is_dir():
        from fullconv.detections.formats import check_ending

        check_ending(output)
        outs = []
    else:
        outs = places(images, output, ENDINGS)
    return outs


def _draw(detections: Detections, source: Source, path: Path) -> None:
    """Draw boxes on the image, reduced to fit a screen."""
    from fullconv.detections.drawing import draw_boxes
    from fullconv.scanning.picture import reduced_picture
    from fullconv.system.files import whole

    picture, factor = reduced_picture(source)
    d = detections
    drawn = draw_boxes(picture, d.boxes, d.labels, d.scores, d.classes, factor)
    with folder(path.parent), whole(path) as temporary:
        drawn.save(temporary)
