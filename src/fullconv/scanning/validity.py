"""Tests of a heatmap's record, after which all other code may rely on its entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from math import isfinite
from pathlib import Path
from typing import Any, get_args

from fullconv.checking import is_number
from fullconv.choices import ACTIVATIONS, COVERS, DTYPES
from fullconv.conversion.embedded import Embedded
from fullconv.errors import InputError, first_line
from fullconv.geometry.grid import NUMBERS
from fullconv.geometry.images import Takes
from fullconv.geometry.placement import Placement, Space
from fullconv.preprocessing import Preprocessing
from fullconv.scanning.digests import Checksums
from fullconv.scanning.pixels import PixelRange
from fullconv.verification.verified import Verification
from fullconv.wording import windows_named

Test = Callable[[Any], bool]


SINCE_CHECKSUMS = ("seal", "run", "windows")
"""Entries that no record without checksums has; nor has its entry "asked" a form."""


def is_of_before(record: Mapping[str, Any]) -> bool:
    """Whether a heatmap was made before there were checksums.

    A record whose checksums were only taken out still has the entries that came with them.
    """
    is_newer = any(name in record for name in ("checksums", *SINCE_CHECKSUMS))
    return not is_newer and "form" not in (record.get("asked") or {})


def valid(record: Any) -> dict[str, Any]:
    """Return the record of a heatmap, if it can be one.

    Raises
    ------
    ValueError
        If it cannot, with the first entry that is wrong.
    """
    if not isinstance(record, Mapping):
        raise ValueError("its record is no table of names and values")
    dimensions = _dimensions(record.get("window"))
    if dimensions is None:
        raise ValueError("window in its record is missing or damaged")
    for name, test in _required(dimensions).items():
        if name not in record or not _passes(test, record[name]):
            raise ValueError(f"{name} in its record is missing or damaged")
    for name, test in _optional(dimensions).items():
        if record.get(name) is not None and not _passes(test, record[name]):
            raise ValueError(f"{name} in its record is damaged")
    return dict(record)


def _passes(test: Test, value: Any) -> bool:
    try:
        return test(value)
    except Exception:  # a test may fail on a value of another type
        return False


def _whole(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value < 1 << 53


def _sizes(dimensions: int, least: int = 1) -> Test:
    def test(value: Any) -> bool:
        is_list = isinstance(value, list | tuple) and len(value) == dimensions
        return is_list and all(_whole(n, least) for n in value)

    return test


def _dimensions(window: Any) -> int | None:
    """Return the number of axes along which windows lie; None where it is impossible."""
    return len(window) if isinstance(window, list | tuple) and len(window) in NUMBERS else None


def _span(value: Any) -> bool:
    return _sizes(2, 0)(value) and value[0] <= value[1]


def _numbers(count: int) -> Test:
    def test(value: Any) -> bool:
        return isinstance(value, list | tuple) and len(value) == count and all(map(isfinite, value))

    return test


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


def _region(dimensions: int) -> Test:
    def test(value: Any) -> bool:
        return all(_span(value[name]) for name in windows_named(dimensions)) and "mask" in value

    return test


def _chosen(dimensions: int) -> Test:
    def test(value: Any) -> bool:
        named = _text(value["runtime"]) and _text(value["device"])
        return named and _sizes(dimensions)(value["tile"])

    return test


def _image(value: Any) -> bool:
    return isinstance(value, Mapping) and (value.get("path") is None or _text(value["path"]))


def _preprocessing(value: Any) -> bool:
    return value is None or isinstance(Preprocessing.from_json(value), Preprocessing)


def _embedded(value: Any) -> bool:
    return isinstance(Embedded.from_json(value), Embedded)


def _verification(value: Any) -> bool:
    return all(field.name in value for field in fields(Verification) if field.default is MISSING)


def _origin(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_text(item) for item in value.values())


def _georeference(value: Any) -> bool:
    return _numbers(6)(value["transform"]) and _text(value["crs"])


def _resolution(dimensions: int) -> Test:
    return lambda value: _numbers(dimensions)(value) and min(value) > 0


def _placement(dimensions: int) -> Test:
    def test(value: Any) -> bool:
        placement, numbers = Placement.parse(value), _numbers(dimensions)
        is_scale = numbers(placement.scale) and min(placement.scale) > 0
        return is_scale and numbers(placement.offset)

    return test


def _space(dimensions: int) -> Test:
    def test(value: Any) -> bool:
        space, numbers = Space.parse(value), _numbers(dimensions)
        is_unit = _text(space.unit) and (space.unit_um is None or isfinite(space.unit_um))
        return is_unit and numbers(space.scale) and numbers(space.translation)

    return test


def _seen(value: Any) -> bool:
    seen = PixelRange(**value)
    numbers = seen.low, seen.mean, seen.high, seen.least, seen.most
    return _numbers(5)(numbers) and (seen.windows is None or _whole(seen.windows))


def _checksums(dimensions: int) -> Test:
    def test(value: Any) -> bool:
        checksums = Checksums.from_json(value)
        return _sizes(dimensions + 1)(checksums.shape) and checksums.dtype in DTYPES

    return test


def _or_none(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _required(dimensions: int) -> dict[str, Test]:
    """Return tests of the entries that every record has."""
    sizes = _sizes(dimensions)
    return {
        "window": sizes,
        "step": sizes,
        "classes": _texts,
        "image": _image,
        "image_size": sizes,
        "original_size": sizes,
        "region": _region(dimensions),
        "dtype": lambda value: value in DTYPES,
        "output": _whole,
        "exact": _truth,
        "precision": _text,
        "preprocessing": _preprocessing,
        "chosen": _chosen(dimensions),
        "odd_windows": _whole,
        "origin": _or_none(_origin),
        "georeference": _or_none(_georeference),
        "um_per_pixel": _or_none(_resolution(dimensions)),
    }


def _optional(dimensions: int) -> dict[str, Test]:
    """Return tests of the entries that a record may have besides."""
    return {
        "activation": lambda value: value in ACTIVATIONS,
        "agreement": _share,
        "asked": lambda value: isinstance(value, Mapping),
        "background": _text,
        "channels": lambda value: _whole(value, 1),
        "checksums": _checksums(dimensions),
        "cover": lambda value: value in COVERS,
        "embedded": _embedded,
        "lacks_pixels": _truth,
        "pixels": _seen,
        "placement": _placement(dimensions),
        "positions": lambda value: len(value) == dimensions,
        "rounded": _truth,
        "run": _text,
        "space": _space(dimensions),
        "takes": lambda value: value in get_args(Takes),
        "verification": _verification,
        "windows": _whole,
    }


def no_heatmap(path: Path, error: Exception) -> InputError:
    """Return the error for a path without a finished heatmap, with the reason."""
    return InputError(
        f"{path} is not a heatmap that fullconv has finished ({type(error).__name__}: "
        f"{first_line(error)}); give what 'fullconv scan -o' named."
    )
