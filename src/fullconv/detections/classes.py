"""The classes to look for, by name or number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fullconv.checking import is_whole
from fullconv.conversion.backgrounds import foreground
from fullconv.conversion.converted import FullyConvolutional
from fullconv.errors import InputError
from fullconv.geometry.images import in_place_of
from fullconv.scanning.heatmap import Heatmap
from fullconv.scanning.task import leaf
from fullconv.verification.verifying import arrays


def wanted_classes(heatmap: Heatmap, classes: Sequence[str | int] | None) -> list[int]:
    """Return the numbers of the classes to look for."""
    if classes is None:
        return heatmap.foreground
    return _numbers(classes, heatmap.classes, heatmap.shape[0])


def named_classes(fcn: FullyConvolutional, classes: Sequence[str | int] | None) -> list[str]:
    """Return the names of the classes to look for, before a scan shows how many there are."""
    if classes is None:
        classes = foreground(fcn.classes, fcn.background, len(fcn.classes))
    named = dict(enumerate(fcn.classes))
    return [
        label if isinstance(label, str) else named.get(label, f"class {label}") for label in classes
    ]


def check_classes(
    fcn: FullyConvolutional, classes: Sequence[str | int] | None, output: int = 0
) -> None:
    """Check before a scan that the model has these classes; a blank window shows how many.

    Raises
    ------
    InputError
        If there is no such class.
    """
    if classes is not None and (isinstance(classes, str) or not isinstance(classes, Iterable)):
        raise InputError(f"detect(classes={classes!r}): expected a list of names or numbers.")
    if classes is None or all(name in fcn.classes for name in classes):
        return
    blank = fcn.shape.from_map(np.zeros((1, fcn.shape.channels, *fcn.grid.window), np.float32))
    classify = fcn.framework.classifier(fcn.model, in_place_of(fcn.shape.takes))
    scores = arrays(fcn.framework, classify(fcn.framework.images(fcn.model, blank)))
    count = leaf(scores, output).size
    _numbers(classes, fcn.classes if len(fcn.classes) == count else (), count)


def _numbers(classes: Sequence[str | int], names: Sequence[str], count: int) -> list[int]:
    """Return the numbers of classes that are named or numbered, of ``count`` classes."""
    for name in classes:
        is_number = is_whole(name, 0) and int(name) < count
        known = name in names if isinstance(name, str) else is_number
        if not known:
            raise InputError(
                f"detect(classes={list(classes)}): there is no class {name!r}; the model has "
                f"{', '.join(names) or f'{count} classes without names, from 0'}."
            )
    return [names.index(name) if isinstance(name, str) else name for name in classes]
