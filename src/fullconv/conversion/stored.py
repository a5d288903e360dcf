"""Values that a model file stores beside the network, read with distrust.

Everything here takes what `json.loads` gave, and raises ValueError where it is not what it should
be; the caller says which file that was in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args

from fullconv.checking import is_number
from fullconv.choices import ACTIVATIONS, Activation
from fullconv.conversion.report import Change, Cost, Reason, Report
from fullconv.geometry.grid import Grid, Halo, Sizes
from fullconv.geometry.images import ImageShape, Takes
from fullconv.lift.memory import Size

Value = TypeVar("Value")

LARGEST = 2**31 - 1
"""Sizes, steps and counts of channels are at most so large."""

LARGEST_COUNT = 2**63 - 1
"""And so are counts of elements and of operations."""


def value_of(text: str) -> Any:
    """Return the value of a JSON text."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its values lie too deep in one another") from None


def whole(value: Any, least: int, most: int = LARGEST) -> int:
    """Read a whole number."""
    if isinstance(value, bool) or not is_number(value) or int(value) != value:
        raise ValueError(f"{_shown(value)} is no whole number")
    if not least <= value <= most:
        raise ValueError(f"{_shown(value)} is not from {least} to {most}")
    return int(value)


def number(value: Any) -> float:
    """Read a real number."""
    if isinstance(value, bool) or not is_number(value):
        raise ValueError(f"{_shown(value)} is no number")
    return float(value)


def count(value: Any) -> int:
    """Read a number of elements or operations; differences of them may be negative."""
    return whole(value, -LARGEST_COUNT, LARGEST_COUNT)


def sizes(value: Any, least: int, count: int | None = None) -> Sizes:
    """Read a whole number for every axis, of one to three of them or so many."""
    numbers = items(value, lambda number: whole(number, least), count)
    if not 1 <= len(numbers) <= 3:
        raise ValueError(f"{_shown(value)} is no list of one to three")
    return numbers


def items(value: Any, read: Callable[[Any], Value], count: int | None = None) -> tuple[Value, ...]:
    """Read a list, of so many."""
    if not isinstance(value, list) or count not in (None, len(value)):
        raise ValueError(f"{_shown(value)} is no list{f' of {count}' if count else ''}")
    return tuple(map(read, value))


def text(value: Any) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no text")
    return value


def activation(value: Any) -> Activation:
    """Read the name of an activation."""
    for known in ACTIVATIONS:
        if value == known:
            return known
    raise ValueError(f"{_shown(value)} is no activation")


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return value


def entries(value: Any, names: Iterable[str]) -> list[Any]:
    """Return the values under these names, which must all be there."""
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} has no names")
    missing = [name for name in names if name not in value]
    if missing:
        raise ValueError(f"{missing[0]} is missing")
    return [value[name] for name in names]


def report(entry: Any) -> Report:
    """Read what a conversion did."""
    window, step, stride, exact, reasons, changes, per_window, one_pass, cost, warnings = entries(
        entry,
        (
            *("window", "step", "stride", "exact", "reasons", "changes", "per_window"),
            *("one_pass", "cost", "warnings"),
        ),
    )
    costs = entries(cost, ("crops", "exact", "approximate"))
    grid = Grid(sizes(window, 1), sizes(step, 1))
    image = entry.get("image", [])
    return Report(
        grid=grid,
        stride=sizes(stride, 1, grid.dimensions),
        exact=flag(exact),
        reasons=items(
            reasons, lambda r: Reason(*map(text, entries(r, ("operation", "layer", "why"))))
        ),
        changes=items(
            changes, lambda c: Change(*map(text, entries(c, ("layer", "before", "after"))))
        ),
        per_window=flag(per_window),
        one_pass=flag(one_pass),
        cost=Cost(*(whole(number, 0, LARGEST_COUNT) for number in costs)),
        warnings=items(warnings, text),
        images=text(entry.get("images", "")),
        check=text(entry.get("check", "")),
        image=sizes(image, 1, grid.dimensions) if image != [] else (),
        precision=text(entry.get("precision", "")),
        rounded=flag(entry.get("rounded", False)),
        agreement=number(entry.get("agreement", 0)),
        activations=items(entry.get("activations", []), activation),
        inside=items(entry.get("inside", []), text),
    )


def shape(metadata: Mapping[str, str], grid: Grid) -> ImageShape:
    """Read what a converted model takes; files of before say less of it."""
    takes = value_of(metadata.get("fullconv.takes", '"map"'))
    if takes not in get_args(Takes):
        raise ValueError(f"{_shown(takes)} is no kind of image")
    fixed = items(
        value_of(metadata.get("fullconv.fixed", "[]")),
        lambda axis: whole(axis, 0, grid.dimensions - 1),
    )
    channels = whole(value_of(metadata.get("fullconv.channels", "null")), 1)
    return ImageShape(channels, grid, takes, fixed)


def products(written: str, dimensions: int) -> Size | None:
    """Read what a run multiplies, for any number of windows; files of before do not say it."""
    value = value_of(written)
    return None if value is None else Size(items(value, count, 2**dimensions))


def halo(value: Any, dimensions: int) -> Halo:
    """Read the pixels beyond a window that its score may depend on, along every axis."""
    sides = items(value, lambda axis: items(axis, lambda side: whole(side, 0), 2), dimensions)
    return tuple((before, after) for before, after in sides)


def _shown(value: Any) -> str:
    return repr(value)[:60]
