"""The crops of a training, read and split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fullconv.errors import InputError
from fullconv.preprocessing import Preprocessing
from fullconv.training.crops import background_of, find_crops, hold_out
from fullconv.training.pixels import CropFormat, LeftOut, Pixels, inspect, preprocessing_of, read
from fullconv.training.settings import TrainSettings
from fullconv.training.telling import Note

MOST_LINES = 20
"""The most unreadable pictures that are named; the others are only counted."""


@dataclass(frozen=True, eq=False)
class Material:
    """The crops of a training, and what they have in common.

    Attributes
    ----------
    kind : CropFormat
        Their window, channels and type of pixels.
    classes : tuple of str
    background : str or None
    preprocessing : Preprocessing
        Computed from the crops to learn.
    training, held_out : Pixels
    left_out : int
        How many pictures cannot be read.
    """

    kind: CropFormat
    classes: tuple[str, ...]
    background: str | None
    preprocessing: Preprocessing
    training: Pixels
    held_out: Pixels
    left_out: int

    @property
    def fingerprint(self) -> str:
        """A text that is the same for the same crops, however the seed splits them."""
        each = sorted(
            hashlib.sha256(crop.tobytes() + label.tobytes()).digest()
            for part in (self.training, self.held_out)
            for crop, label in zip(part.pixels, part.labels, strict=True)
        )
        return hashlib.sha256(b"".join(each)).hexdigest()[:16]


def gather(
    folder: Path, settings: TrainSettings, has_negatives: bool, note: Callable[[Note], None]
) -> Material:
    """Read and split the crops below a folder, and note which were left out or resized.

    Raises
    ------
    InputError
        If they cannot be learnt from, as `find_crops`, `inspect` and `hold_out` document.
    """
    folders = find_crops(folder)
    background = background_of(folders.classes, settings.background)
    if has_negatives and background is None:
        raise InputError(
            f"train --negatives: false alarms become crops of the background, and none of the "
            f"classes {', '.join(map(repr, folders.classes))} is known to be it; name it with "
            f"--background."
        )
    looked = inspect((*folders.training, *(folders.test or ())), settings.window)
    _note_left_out(looked.left_out, note)
    if looked.brought:
        h, w = looked.kind.window
        note(
            Note(
                f"{looked.brought} of {len(looked.crops)} crops are of another size, and were "
                f"resized to cover {w}x{h} and cut at the centre"
            )
        )
    readable = set(looked.crops)
    kept = replace(
        folders,
        training=tuple(crop for crop in folders.training if crop in readable),
        test=folders.test and tuple(crop for crop in folders.test if crop in readable),
    )
    training, held_out = hold_out(kept, settings.holdout, settings.seed)
    pixels = read(training, looked.kind)
    return Material(
        kind=looked.kind,
        classes=folders.classes,
        background=background,
        preprocessing=preprocessing_of(pixels.pixels),
        training=pixels,
        held_out=read(held_out, looked.kind),
        left_out=len(looked.left_out),
    )


def _note_left_out(left_out: tuple[LeftOut, ...], note: Callable[[Note], None]) -> None:
    for one in left_out[:MOST_LINES]:
        note(Note(f"left out: {one.line}", True))
    if len(left_out) > MOST_LINES:
        note(Note(f"left out: {len(left_out) - MOST_LINES} more pictures", True))
