"""The options of commands that read images of any size, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from fullconv.choices import PRECISIONS, RUNTIMES
from fullconv.cli.models import Opened
from fullconv.cli.options import PreprocessingFlags, preprocessing_of
from fullconv.cli.output import note
from fullconv.cli.sizes import Bands, Box, Finite, Memory, Tile
from fullconv.errors import InputError
from fullconv.preprocessing import UNCHANGED, Preprocessing

Decorated = Callable[..., Any]


def reading(command: Decorated) -> Decorated:
    """Add which pixels are read, and what computes with them; all go to `scan` as they are."""
    for add in (
        click.option(
            "--memory",
            "memory_bytes",
            type=Memory(),
            help="What the tensors of tiles may take, as in 800MB. Default: 512MB, and 1GB for "
            "--approximate models that pad. All in all it is a few times as much.",
        ),
        click.option(
            "--tile",
            type=Tile(),
            help="Windows in a tile. Default: what a short measurement finds fastest, remembered.",
        ),
        click.option(
            "--device",
            type=click.Choice(["cpu", "cuda"]),
            help="Where PyTorch computes. Default: on the CPU.",
        ),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="f32",
            show_default=True,
            help="Less than f32 is faster on some machines, and changes the scores; the check at "
            "the end says by how much.",
        ),
        click.option(
            "--runtime",
            type=click.Choice(("native", *RUNTIMES, "auto")),
            default="native",
            show_default=True,
            help="What computes: the model's own framework, another, or the fastest by "
            "measurement (auto).",
        ),
        click.option(
            "--mask",
            type=click.Path(path_type=Path),
            help="An image that is laid over IMAGE: only windows whose centre is on a pixel that "
            "is not 0 are scored.",
        ),
        click.option(
            "--roi",
            type=Box(),
            metavar="X0,Y0,X1,Y1",
            help="Only windows that lie wholly inside, in pixels of IMAGE.",
        ),
        click.option("--bands", type=Bands(), help="Which bands, counted from 1, as in 4,3,2."),
        click.option(
            "--image-um-per-pixel",
            "own_um_per_pixel",
            type=Finite(min=0, min_open=True),
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


def prepared(
    command: str, opened: Opened, flags: PreprocessingFlags, as_json: bool
) -> Preprocessing | None:
    """Return what is done to pixels first; where nothing says, say so in a line."""
    flags.check_channels(command, opened.fcn.shape.channels)
    found = preprocessing_of(flags, opened.fcn.preprocessing)
    if found is None:
        note(UNCHANGED, as_json)
    else:
        found.check_channels(opened.fcn.shape.channels)
    return found


def labels_of(known: Sequence[str], wanted: Sequence[str] | None) -> list[str | int] | None:
    """Return the classes to look for: by their names, or by numbers.

    Raises
    ------
    InputError
        If the model has no such class. How many scores a model without names gives shows later.
    """
    if wanted is None:
        return None
    labels: list[str | int] = []
    for name in wanted:
        # What results call a class of a model without names is understood here, too.
        number = name.removeprefix("class ") if not known else name
        is_number = number.isascii() and number.isdigit()
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
