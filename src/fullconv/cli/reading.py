"""The options shared by commands that read images of any size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.choices import COVERS, DEVICES, PRECISIONS, RUNTIME_CHOICES
from fullconv.cli import options
from fullconv.cli.models import Opened, open_model
from fullconv.cli.options import Decorated, PreprocessingFlags, preprocessing_of
from fullconv.cli.output import note, only_json, remarks_told
from fullconv.cli.paths import LocalPath, NamedType
from fullconv.cli.sizes import BoxType, FiniteType, MemoryType, TileType, along
from fullconv.errors import InputError
from fullconv.preprocessing import Preprocessing, unchanged
from fullconv.scanning.options import Options, OutputOptions
from fullconv.wording import axis_names, letters, only_images, unit

if TYPE_CHECKING:
    from fullconv.scanning.heatmap import Heatmap
    from fullconv.sources import Source
    from fullconv.verification.verified import Verification

OPENING_FLAGS = ("level", "own_um_per_pixel", "bands")
"""The options by which an image is opened."""

LONGEST_NUMBER = 18
"""The most digits of a class number; Python refuses to read thousands of them."""


def reading(command: Decorated) -> Decorated:
    """Add the options on reading and computing, which `scan` takes under the same names."""
    for add in (
        click.option(
            "--check",
            "windows_to_check",
            type=click.IntRange(min=0),
            default=Options.windows_to_check,
            show_default=True,
            help="So many windows of every scan are computed again from crops at its end; 0: none. "
            "--no-check leaves out another comparison, ahead of the scans.",
        ),
        click.option(
            "--memory",
            "memory_bytes",
            type=MemoryType(),
            help="What the tensors of tiles may take, as in 800MB. Default: 512MB, and for "
            "--approximate models that pad 1GB, in ONNX Runtime 1.5GB. All in all it is up to a "
            "few times as much.",
        ),
        click.option(
            "--tile",
            type=TileType(),
            help="Windows in a tile. Default: what a short measurement finds fastest, remembered.",
        ),
        click.option(
            "--device",
            type=click.Choice(DEVICES),
            help="Where PyTorch computes. Default: on the CPU.",
        ),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default=Options.precision,
            show_default=True,
            help="Less than f32 is faster on some machines, and changes the scores; the check at "
            "the end says by how much.",
        ),
        click.option(
            "--runtime",
            type=click.Choice(RUNTIME_CHOICES),
            default=Options.runtime,
            show_default=True,
            help="What computes: the model's own framework, another, or the fastest by "
            "measurement (auto).",
        ),
        click.option(
            "--mask",
            type=LocalPath(reads=True),
            help="An image that is laid over IMAGE by its georeference or resolution, and "
            "stretched over it where it has none: only windows whose centre is on a pixel that is "
            "not 0 are scored.",
        ),
        click.option(
            "--cover",
            type=click.Choice(COVERS),
            default=Options.cover,
            show_default=True,
            help="Windows a step apart (whole), or last ones flush with the border as well (all).",
        ),
        click.option(
            "--roi",
            type=BoxType(),
            metavar="X0,Y0,X1,Y1",
            help="Only windows that lie wholly inside, in pixels of IMAGE; of a recording T0,T1, "
            "of a volume X0,Y0,Z0,X1,Y1,Z1.",
        ),
        options.bands,
        click.option(
            "--image-um-per-pixel",
            "own_um_per_pixel",
            type=FiniteType(min=0, min_open=True),
            help="The resolution of IMAGE, where the file does not say.",
        ),
        click.option(
            "--level",
            type=click.IntRange(min=0),
            help="Level of a pyramid to read; 0 is the full resolution, and the default.",
        ),
    ):
        command = add(command)
    return command


def takes_images(command: Decorated) -> Decorated:
    """Add IMAGE..., which the command takes as ``images``."""
    return click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=NamedType())(
        command
    )


def drawing(what: str) -> Callable[[Decorated], Decorated]:
    """Add --overlay, whose help says what is drawn."""
    text = f"Also draw {what} IMAGE, as this picture; for several images, a folder."
    return click.option("--overlay", type=LocalPath(), help=text)


def may_overwrite(command: Decorated) -> Decorated:
    """Add --overwrite."""
    text = "Replace a finished output."
    return click.option("--overwrite", is_flag=True, default=OutputOptions.overwrite, help=text)(
        command
    )


def open_to_read(
    command: str,
    model: options.ModelFlags,
    conversion: options.Conversion,
    flags: PreprocessingFlags,
    *,
    level: int | None,
    overlay: Path | None,
    as_json: bool,
) -> tuple[Opened, Preprocessing | None]:
    """Open the model of a command that reads images, and say how their pixels are prepared.

    Raises
    ------
    InputError
        If flags do not fit the model or each other, or its input cannot be drawn.
    """
    with only_json(as_json):
        opened = open_model(command, model, conversion, flags.config)
        check_drawn(opened, overlay)
        return opened, prepared(command, opened, flags, level, as_json)


def prepared(
    command: str, opened: Opened, flags: PreprocessingFlags, level: int | None, as_json: bool
) -> Preprocessing | None:
    """Return the preprocessing of pixels; print a note if nothing says how they are scaled.

    Raises
    ------
    InputError
        If a flag does not fit the model, or would prepare pixels that it prepares itself, or
        --level and --um-per-pixel are both given.
    """
    if level is not None and flags.um_per_pixel is not None:
        raise InputError(
            f"{command} --level {level} --um-per-pixel {flags.um_per_pixel:g}: each of them "
            f"chooses a resolution; give one."
        )
    flags.check_channels(command, opened.fcn.shape.channels)
    stored, inside = opened.fcn.preprocessing, opened.fcn.embedded.preprocessing
    if inside is not None and flags.given:
        raise InputError(
            f"{command} {' '.join(flags.given)}: the model holds its preprocessing, "
            f"{inside.formula}, and takes bytes; leave {'them' if len(flags.given) > 1 else 'it'} "
            f"out, or convert the classifier without --embed-preprocessing."
        )
    chosen = preprocessing_of(flags, stored)
    said = (inside, stored, flags.file, flags.known, flags.scale, flags.mean, flags.std)
    if all(one is None for one in said):
        note(unchanged(opened.fcn.grid.dimensions), as_json)
    if chosen is not None:
        chosen.check_channels(opened.fcn.shape.channels)
    return chosen


def check_drawn(opened: Opened, overlay: Path | None) -> None:
    """Refuse to draw recordings and volumes.

    Raises
    ------
    InputError
        If the network takes recordings or volumes.
    """
    dimensions = opened.fcn.grid.dimensions
    if overlay is not None and dimensions != 2:
        raise InputError(
            f"--overlay {overlay}: pictures are {only_images(dimensions)}; leave it out."
        )


@contextlib.contextmanager
def opened_image(
    opened: Opened, image: Path, asked: Mapping[str, Any], as_json: bool
) -> Iterator[tuple[Source, dict[str, Any]]]:
    """Open an image as options ask for, and yield it with the remaining options."""
    from fullconv.scanning.opening import open_image

    chosen = {name: asked[name] for name in OPENING_FLAGS if name in asked}
    others = {name: value for name, value in asked.items() if name not in chosen}
    others["tile"] = along(asked["tile"], opened.fcn.grid.dimensions)
    with (
        remarks_told(as_json),
        open_image(opened.fcn, image, Options(asked["preprocessing"], **chosen)) as source,
    ):
        yield source, others


def border(heatmap: Heatmap) -> list[str]:
    """Return lines on pixels that no window holds, and on windows flush with the border."""
    from fullconv.scanning.region import spans_of

    axes = heatmap.windows.axes[::-1]  # as sizes are written: x first
    dimensions = len(axes)
    named = list(zip(axes, axis_names(dimensions)[::-1], letters(dimensions)[::-1], strict=True))
    left = [
        f"{axis.uncovered} of {axis.extent} {name}" for axis, name, _ in named if axis.uncovered
    ]
    lines = []
    is_whole = spans_of(heatmap.metadata["region"], dimensions) == tuple(
        (0, count) for count in heatmap.windows.shape
    )
    if left and is_whole:  # a region of interest leaves out more, by the user's choice
        can_be = any(axis.rest and not axis.has_flush for axis in axes)
        more = "; --cover all adds windows flush with the border" if can_be else ""
        of = "" if dimensions == 1 else f" of {unit(dimensions, many=True)}"
        *most, last = left
        pixels = f"{', '.join(most)} and {last}" if most else last
        lines.append(f"border   {pixels}{of} are in no window{more}")
    lines.extend(
        f"border   the last {_one(name, dimensions)} is flush with the border, at {side} "
        f"{axis.position(axis.regular)} and not {axis.regular * axis.step}"
        for axis, name, side in named
        if axis.has_flush
    )
    return lines


def _one(name: str, dimensions: int) -> str:
    """Return the name of the windows at one place of an axis, such as a column of windows."""
    return "window" if dimensions == 1 else f"{name.removesuffix('s')} of windows"


def comparison(proof: Verification, at: str = "") -> list[str]:
    """Return the lines on how scores compare with those of crops."""
    return [
        f"check    {proof.windows} windows{at} compared with crops: largest difference "
        f"{proof.max_error:.3g} (the model's own: {proof.self_error:.3g}), same best class in "
        f"{100 * proof.agreement:.1f} %",
        f"         {proof.verdict}",
    ]


def labels_of(known: Sequence[str], wanted: Sequence[str] | None) -> list[str | int] | None:
    """Return the classes to look for, by their names or numbers.

    Raises
    ------
    InputError
        If the model has no such class. For a model without names, numbers are checked later,
        against its scores.
    """
    if wanted is None:
        return None
    labels: list[str | int] = []
    for name in wanted:
        # Results name the classes of a model without names "class 0" and so on.
        number = name.removeprefix("class ") if not known else name
        is_number = number.isascii() and number.isdigit() and len(number) <= LONGEST_NUMBER
        if name in known:
            labels.append(name)
        elif is_number and (not known or int(number) < len(known)):
            labels.append(int(number))
        else:
            raise InputError(
                f"detect --classes: there is no class {name!r}; the model has "
                f"{', '.join(known) or 'classes without names, which are numbered from 0'}."
            )
    return labels
