"""Words for messages on images with one, two or three axes, and on long lists."""

from __future__ import annotations

from collections.abc import Sequence

_UNITS = {1: "sample", 2: "pixel", 3: "voxel"}
_AXES = {1: ("samples",), 2: ("rows", "columns"), 3: ("planes", "rows", "columns")}
_LETTERS = {1: ("t",), 2: ("y", "x"), 3: ("z", "y", "x")}
_SIZES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def unit(dimensions: int, *, many: bool = False) -> str:
    """Return the unit of an image with this many axes: sample, pixel or voxel."""
    return _UNITS.get(dimensions, "pixel") + ("s" if many else "")


def axis_names(dimensions: int) -> tuple[str, ...]:
    """Return the names of the cells along every axis, in the order of arrays."""
    return _AXES.get(dimensions) or tuple(f"axis {i}" for i in range(dimensions))


def windows_named(dimensions: int) -> tuple[str, ...]:
    """Return the names of the windows along every axis, in the order of arrays."""
    return ("windows",) if dimensions == 1 else axis_names(dimensions)


def windows(dimensions: int) -> str:
    """Return the windows that are counted, in the order of arrays: rows and columns of windows."""
    *most, last = windows_named(dimensions)
    return f"{', '.join(most)} and {last} of windows" if most else last


def names(dimensions: int) -> str:
    """Return the axes in the order of arrays, as they are given in Python: (rows, columns)."""
    return f"({', '.join(axis_names(dimensions))})"


def counted(counts: Sequence[int]) -> str:
    """Return the number of windows along every axis: 3 rows and 4 columns of windows."""
    named = zip(counts, windows_named(len(counts)), strict=True)
    *most, last = (f"{n} {name}" for n, name in named)
    return f"{', '.join(most)} and {last} of windows" if most else last


def size_names(dimensions: int) -> tuple[str, ...]:
    """Return the name of a size along every axis, in the order of arrays."""
    return _SIZES[dimensions]


def listed(dimensions: int) -> str:
    """Return the order in which a size is written: width x height."""
    return " x ".join(reversed(_SIZES[dimensions]))


def kinds(dimensions: int) -> str:
    """Return the word for images with this many axes: recordings, images or volumes."""
    return {1: "recordings", 3: "volumes"}.get(dimensions, "images")


def kind(dimensions: int) -> str:
    """Return the word for an image with this many axes: recording, image or volume."""
    return {1: "recording", 3: "volume"}.get(dimensions, "image")


def part(dimensions: int) -> str:
    """Return the word for a part of such an image, with its article: a rectangle."""
    return {1: "an interval", 3: "a cuboid"}.get(dimensions, "a rectangle")


def letters(dimensions: int) -> tuple[str, ...]:
    """Return the letters of the axes in files, in the order of arrays: y, x."""
    return _LETTERS[dimensions]


def edges(dimensions: int) -> tuple[str, ...]:
    """Return the names of the numbers of a box: x0, y0, x1, y1."""
    named = _LETTERS[dimensions][::-1]
    return tuple(f"{letter}{end}" for end in (0, 1) for letter in named)


def before(dimensions: int) -> str:
    """Return the order that the numbers of a box must have: x0 left of x1 and y0 above y1."""
    words = {"x": "left of", "y": "above"}
    *most, last = (
        f"{letter}0 {words.get(letter, 'before')} {letter}1"
        for letter in reversed(_LETTERS[dimensions])
    )
    return f"{', '.join(most)} and {last}" if most else last


def spans(windows: Sequence[tuple[int, int]]) -> str:
    """Return a range of windows: rows 0 to 3 and columns 2 to 5 of the windows."""
    dimensions = len(windows)
    *most, last = (
        f"{name} {first} to {stop - 1}"
        for name, (first, stop) in zip(windows_named(dimensions), windows, strict=True)
    )
    return f"{', '.join(most)} and {last} of the windows" if most else last


def corners(box: Sequence[float]) -> str:
    """Return the extent of a box: pixels 0,0 to 64,64."""
    dimensions = len(box) // 2
    begin, end = (
        ",".join(f"{n:.9g}" for n in half) for half in (box[:dimensions], box[dimensions:])
    )
    return f"{unit(dimensions, many=True)} {begin} to {end}"


def measured(size: Sequence[int]) -> str:
    """Return the words for images of a size: images of 50x10 pixels (width x height)."""
    return f"{kinds(len(size))} of {extent(size)}"


def extent(size: Sequence[int]) -> str:
    """Return a size with its unit and order: 50x10 pixels (width x height)."""
    dimensions = len(size)
    order = f" ({listed(dimensions)})" if dimensions > 1 else ""
    return f"{sized(size)} {unit(dimensions, many=True)}{order}"


def shortly(numbers: Sequence[float]) -> str:
    """Return numbers, the last axis first, or one where all are alike: 16x8 for (8, 16), or 8."""
    texts = [f"{number:.5g}" if isinstance(number, float) else str(number) for number in numbers]
    return texts[0] if len(set(texts)) == 1 else "x".join(reversed(texts))


def only_images(dimensions: int) -> str:
    """Return why something that is for images does not serve recordings or volumes."""
    return f"for images, {names(2)}, and these are {kinds(dimensions)}, {names(dimensions)}"


def sized(numbers: Sequence[int]) -> str:
    """Return a size as people write it, the last axis first: 1024x512 for (512, 1024)."""
    return "x".join(str(number) for number in reversed(numbers))


def few(items: Sequence[str], most: int = 10) -> str:
    """Return the first ``most`` items as people read them, and the number left: a, b and 3 more."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def type_name(value: object) -> str:
    """Return the type of a value as users would import it: collections.OrderedDict, or dict."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
