"""What the file of a heatmap tells programs that know nothing of fullconv: viewers, maps.

They place a heatmap by that alone, so it is compared with the record as the scores are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose, isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from fullconv.geometry import Sizes
from fullconv.placement import NOWHERE, Affine, Georeference, Placement
from fullconv.scanning.storing import LEVELS, NOT_SCANNED, nothing
from fullconv.wording import letters

if TYPE_CHECKING:
    from fullconv.scanning.heatmap import Heatmap

ARRAY = "0"

CLOSE = 1e-9
"""Numbers that another program has written anew may differ by so much of themselves."""


@dataclass(frozen=True)
class Told:
    """What a file says of its scores.

    Attributes
    ----------
    ome : mapping or None
        OME-Zarr's description, empty where there is none; None in a GeoTIFF.
    axes : sequence of str or None
        Names of the axes, where they have any.
    empty : number or None
        What stands for a window that was not scanned, where the file says.
    transform : tuple or None
        The affine transform of a GeoTIFF.
    crs : rasterio.crs.CRS or None
        Its system of coordinates.
    """

    ome: Any = None
    axes: Sequence[str] | None = None
    empty: Any = None
    transform: Affine | None = None
    crs: Any = None

    @classmethod
    def by_zarr(cls, attributes: Mapping[str, Any], array: Any) -> Told:
        """Read what a folder says."""
        names = getattr(getattr(array, "metadata", None), "dimension_names", None)
        return cls(attributes.get("ome") or {}, names, getattr(array, "fill_value", None))

    @classmethod
    def by_geotiff(cls, raster: Any) -> Told:
        """Read what a GeoTIFF says."""
        transform: Affine = tuple(raster.transform)[:6]
        return cls(None, None, raster.nodata, transform, raster.crs)


def misdescribed(heatmap: Heatmap) -> str | None:
    """Return what the file of a heatmap says otherwise than its record; None where nothing."""
    told = heatmap.told
    if told is None:
        return None
    wrong = list(_wrong_by_geotiff(heatmap, told) if told.ome is None else _wrong(heatmap, told))
    if not wrong:
        return None
    return f"what viewers are told of them ({', '.join(wrong)}) is not what was scanned"


def _wrong(heatmap: Heatmap, told: Told) -> list[str]:
    expected = ome(heatmap)
    axes = ["c", *letters(heatmap.grid.dimensions)]
    named = ("dimension_names", list(told.axes or axes), axes)
    try:
        if not expected:
            untold: tuple[str, Any, Any] = ("ome", dict(told.ome), {})
            return [*_unlike([untold, named]), *_wrong_empty("fill_value", heatmap, told)]
        held, scanned = told.ome["multiscales"][0], expected["multiscales"][0]
        levels = held["datasets"][0], scanned["datasets"][0]
        pairs: list[tuple[str, Any, Any]] = [
            ("axes", held["axes"], scanned["axes"]),
            ("path", levels[0]["path"], levels[1]["path"]),
            *(
                (name, _summed(held, name, len(axes)), _summed(scanned, name, len(axes)))
                for name in ("scale", "translation")
            ),
            ("channels", _labels(told.ome), _labels(expected)),
        ]
    except (LookupError, TypeError, ValueError, AttributeError):
        return ["ome"]
    return [*_unlike([*pairs, named]), *_wrong_empty("fill_value", heatmap, told)]


def _unlike(pairs: Sequence[tuple[str, Any, Any]]) -> list[str]:
    return [name for name, one, other in pairs if not _same(one, other)]


def _labels(described: Mapping[str, Any]) -> list[Any]:
    return [one["label"] for one in described.get("omero", {}).get("channels", [])]


def _summed(image: Mapping[str, Any], kind: str, axes: int) -> list[float]:
    """Return scale or translation of the first level, with those of the whole image after it."""
    scale, begin = np.ones(axes), np.zeros(axes)
    for holder in (image["datasets"][0], image):
        for one in holder.get("coordinateTransformations", []):
            if one["type"] == "scale":
                scale, begin = scale * one["scale"], begin * one["scale"]
            elif one["type"] == "translation":
                begin = begin + one["translation"]
            elif one["type"] != "identity":
                raise ValueError(one["type"])
    return [float(number) for number in (scale if kind == "scale" else begin)]


def _wrong_by_geotiff(heatmap: Heatmap, told: Told) -> list[str]:
    expected = transform_of(heatmap)
    wrong = [] if told.transform and _near(told.transform, expected) else ["transform"]
    place = heatmap.georeference
    if not _is_of(told.crs, place.crs if place else ""):
        wrong.append("crs")
    return wrong + _wrong_empty("nodata", heatmap, told)


def _is_of(crs: Any, expected: str) -> bool:
    """Whether a system of coordinates is the expected one, where that has a number by which to
    tell it: one system has many texts."""
    if not expected:
        return not crs
    from rasterio.crs import CRS

    number = CRS.from_user_input(expected).to_epsg()
    return number is None or (bool(crs) and crs.to_epsg() == number)


def _wrong_empty(name: str, heatmap: Heatmap, told: Told) -> list[str]:
    expected = nothing(heatmap.metadata["dtype"])
    if told.empty is None:
        return [] if told.transform is None else [name]
    return [] if told.empty == expected or (isnan(expected) and isnan(told.empty)) else [name]


def _near(one: Affine, other: Affine) -> bool:
    """Whether two transforms place all but alike: by a part of their own pixels and places."""
    return all(isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) for a, b in zip(one, other, strict=True))


def _same(one: Any, other: Any) -> bool:
    """Whether two descriptions are, but for the last digits of numbers."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return isclose(one, other, rel_tol=CLOSE, abs_tol=0)
    return bool(one == other)


def placed(
    grid_window: Sizes,
    step: Sizes,
    placement: Placement,
    transform: Affine,
) -> Affine:
    """Return the transform of a heatmap over an image with a transform.

    Each window is a cell as large as a step, around the window's centre: cell ``(i, j)`` has its
    upper left corner at ``i * s + (h - s) / 2`` pixels, and likewise along the columns.
    """
    a, b, c, d, e, f = transform
    (h, w), (sy, sx), (zy, zx) = grid_window, step, placement.scale
    y, x = placement.outward((h - sy) / 2, 0), placement.outward((w - sx) / 2, 1)
    return a * sx * zx, b * sy * zy, a * x + b * y + c, d * sx * zx, e * sy * zy, d * x + e * y + f


def transform_of(heatmap: Heatmap) -> Affine:
    """Return the affine transform of a heatmap as a GeoTIFF."""
    place, grid = heatmap.georeference or Georeference(NOWHERE, ""), heatmap.grid
    return placed(grid.window, grid.step, heatmap.placement, place.transform)


def ome(heatmap: Heatmap) -> dict[str, Any]:
    """Return what viewers are told of a heatmap; nothing of one of recordings.

    OME-NGFF 0.5, 'multiscales': the scale is the distance between neighbouring windows, and the
    translation is the centre of the first window, both in the coordinates that the image itself
    has: those of its own OME metadata, micrometres where only its resolution is known, else pixels
    of the original image, of which the first is centred on 0. It knows two axes of space and three,
    and none of time alone.
    """
    if heatmap.grid.dimensions == 1:
        return {}
    grid, placement, metadata = heatmap.grid, heatmap.placement, heatmap.metadata
    own = heatmap.space
    axes = range(len(grid.step))
    distance = [grid.step[axis] * placement.scale[axis] * own.scale[axis] for axis in axes]
    first = [own.at(placement.outward(grid.window[axis] / 2, axis), axis) for axis in axes]
    space = {"type": "space"} | ({"unit": own.unit} if own.unit else {})
    brightest = LEVELS if metadata["dtype"] == "uint8" else 1  # as stored, which viewers show
    channels = [
        {
            "label": name,
            "active": index == len(heatmap.classes) - 1,
            "color": "FFD040",
            "window": {"min": 0, "max": brightest, "start": 0, "end": brightest},
        }
        for index, name in enumerate(heatmap.classes)
    ]
    told: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": "heatmap",
                "axes": [
                    {"name": "c", "type": "channel"},
                    *({"name": letter} | space for letter in letters(len(axes))),
                ],
                "datasets": [
                    {
                        "path": ARRAY,
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [1.0, *distance]},
                            {"type": "translation", "translation": [0.0, *first]},
                        ],
                    }
                ],
            }
        ],
    }
    if channels:
        told["omero"] = {"channels": channels}
    return told


def describe(store: Any, heatmap: Heatmap) -> None:
    """Write what the heatmap is: OME-Zarr 0.5 for viewers, and fullconv's own record."""
    import zarr

    metadata = heatmap.metadata
    told = ome(heatmap)
    attributes: dict[str, Any] = ({"ome": told} if told else {}) | {"fullconv": metadata}
    zarr.open_group(store, mode="r+").attrs.put(attributes)
    if metadata["dtype"] == "uint8":
        # As the CF conventions say it, which xarray and others follow.
        packed: dict[str, Any] = {"scale_factor": 1 / LEVELS, "_FillValue": NOT_SCANNED}
        zarr.open_array(store, path=ARRAY, mode="r+").attrs.put(packed)
