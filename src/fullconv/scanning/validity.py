"""What the record of a heatmap must be for the rest to read it without a second look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from math import isfinite
from typing import Any

from fullconv.choices import DTYPES
from fullconv.judging import Verification
from fullconv.placement import Placement, Space
from fullconv.preprocessing import Preprocessing
from fullconv.scanning.digests import Checksums
from fullconv.scanning.pixels import Seen
from fullconv.windows import COVERS

Test = Callable[[Any], bool]


SINCE_CHECKSUMS = ("seal", "run", "windows")
"""What no record has without checksums, beside the form in which a scan was asked for."""


def is_of_before(record: Mapping[str, Any]) -> bool:
    """Whether a heatmap was made before there were checksums.

    One whose checksums were only taken out has kept what came with them.
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
    for name, test in REQUIRED.items():
        if name not in record or not _passes(test, record[name]):
            raise ValueError(f"{name} in its record is missing or damaged")
    for name, test in OPTIONAL.items():
        if record.get(name) is not None and not _passes(test, record[name]):
            raise ValueError(f"{name} in its record is damaged")
    return dict(record)


def _passes(test: Test, value: Any) -> bool:
    try:
        return test(value)
    except Exception:  # a test may trip over what it looks at
        return False


def _whole(value: Any, least: int = 0) -> bool:
    return type(value) is int and least <= value < 1 << 53


def _pair(value: Any, least: int = 1) -> bool:
    return (
        isinstance(value, list | tuple) and len(value) == 2 and all(_whole(n, least) for n in value)
    )


def _span(value: Any) -> bool:
    return _pair(value, 0) and value[0] <= value[1]


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


def _region(value: Any) -> bool:
    return _span(value["rows"]) and _span(value["columns"]) and "mask" in value


def _chosen(value: Any) -> bool:
    return _pair(value["tile"]) and _text(value["runtime"]) and _text(value["device"])


def _image(value: Any) -> bool:
    return isinstance(value, Mapping) and (value.get("path") is None or _text(value["path"]))


def _preprocessing(value: Any) -> bool:
    return value is None or isinstance(Preprocessing.from_json(value), Preprocessing)


def _verification(value: Any) -> bool:
    return all(field.name in value for field in fields(Verification) if field.default is MISSING)


def _origin(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_text(item) for item in value.values())


def _georeference(value: Any) -> bool:
    return _numbers(6)(value["transform"]) and _text(value["crs"])


def _resolution(value: Any) -> bool:
    return _numbers(2)(value) and min(value) > 0


def _placement(value: Any) -> bool:
    held = Placement.parse(value)
    return _numbers(2)(held.scale) and min(held.scale) > 0 and _numbers(2)(held.offset)


def _space(value: Any) -> bool:
    held = Space.parse(value)
    is_unit = _text(held.unit) and (held.unit_um is None or isfinite(held.unit_um))
    return is_unit and _numbers(2)(held.scale) and _numbers(2)(held.translation)


def _seen(value: Any) -> bool:
    held = Seen(**value)
    numbers = held.low, held.mean, held.high, held.least, held.most
    return _numbers(5)(numbers) and (held.windows is None or _whole(held.windows))


def _checksums(value: Any) -> bool:
    held = Checksums.from_json(value)
    return _whole(held.shape[0], 1) and _pair(held.shape[1:]) and held.dtype in DTYPES


REQUIRED: dict[str, Test] = {
    "window": _pair,
    "step": _pair,
    "classes": _texts,
    "image": _image,
    "image_size": _pair,
    "original_size": _pair,
    "region": _region,
    "dtype": lambda value: value in DTYPES,
    "output": _whole,
    "exact": _truth,
    "precision": _text,
    "preprocessing": _preprocessing,
    "chosen": _chosen,
    "odd_windows": _whole,
    "origin": lambda value: value is None or _origin(value),
    "georeference": lambda value: value is None or _georeference(value),
    "um_per_pixel": lambda value: value is None or _resolution(value),
}

OPTIONAL: dict[str, Test] = {
    "asked": lambda value: isinstance(value, Mapping),
    "background": _text,
    "channels": lambda value: _whole(value, 1),
    "checksums": _checksums,
    "cover": lambda value: value in COVERS,
    "lacks_pixels": _truth,
    "pixels": _seen,
    "placement": _placement,
    "positions": lambda value: len(value) == 2,
    "run": _text,
    "space": _space,
    "verification": _verification,
    "windows": _whole,
}
