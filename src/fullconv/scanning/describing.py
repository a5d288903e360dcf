"""The description in a heatmap's file for programs that know nothing of fullconv: viewers, maps.

They place a heatmap by this description alone, so it is checked against the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose, isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from fullconv.geometry.grid import Sizes
from fullconv.geometry.placement import NOWHERE, Affine, Georeference, Placement
from fullconv.scanning.storing import LEVELS, NOT_SCANNED, nothing
from fullconv.wording import letters

if TYPE_CHECKING:
    from fullconv.scanning.heatmap import Heatmap

ARRAY = "0"

CLOSE = 1e-9
"""Relative difference of numbers that another program may have written anew."""


@dataclass(frozen=True)
class Description:
    """The description of the scores in a file.

    Attributes
    ----------
    ome : mapping or None
        OME-Zarr's description, empty where there is none; None in a GeoTIFF.
    axes : sequence of str or None
        Names of the axes, where they have any.
    empty : number or None
        The value of a window that was not scanned, where the file names one.
    transform : tuple or None
        The affine transform of a GeoTIFF.
    crs : rasterio.crs.CRS or None
        The coordinate reference system of a GeoTIFF.
    """

    ome: Any = None
    axes: Sequence[str] | None = None
    empty: Any = None
    transform: Affine | None = None
    crs: Any = None

    @classmethod
    def by_zarr(cls, attributes: Mapping[str, Any], array: Any) -> Description:
        """Read the description in a zarr folder."""
        names = getattr(getattr(array, "metadata", None), "dimension_names", None)
        return cls(attributes.get("ome") or {}, names, getattr(array, "fill_value", None))

    @classmethod
    def by_geotiff(cls, raster: Any) -> Description:
        """Read the description in a GeoTIFF."""
        transform: Affine = tuple(raster.transform)[:6]
        return cls(None, None, raster.nodata, transform, raster.crs)


def misdescribed(heatmap: Heatmap) -> str | None:
    """Return how the description in a heatmap's file contradicts its record; None if it agrees."""
    described = heatmap.description
    if described is None:
        return None
    differing = _wrong_by_geotiff if described.ome is None else _wrong
    wrong = differing(heatmap, described)
    if not wrong:
        return None
    return f"their description for viewers ({', '.join(wrong)}) does not match the scan"


def _wrong(heatmap: Heatmap, described: Description) -> list[str]:
    expected = ome(heatmap)
    axes = ["c", *letters(heatmap.grid.dimensions)]
    named = ("dimension_names", list(described.axes or axes), axes)
    try:
        if not expected:
            without: tuple[str, Any, Any] = ("ome", dict(described.ome), {})
            return [*_unlike([without, named]), *_wrong_empty("fill_value", heatmap, described)]
        image, scanned = described.ome["multiscales"][0], expected["multiscales"][0]
        levels = image["datasets"][0], scanned["datasets"][0]
        pairs: list[tuple[str, Any, Any]] = [
            ("axes", image["axes"], scanned["axes"]),
            ("path", levels[0]["path"], levels[1]["path"]),
            *(
                (name, _summed(image, name, len(axes)), _summed(scanned, name, len(axes)))
                for name in ("scale", "translation")
            ),
            ("channels", _labels(described.ome), _labels(expected)),
        ]
    except (LookupError, TypeError, ValueError, AttributeError):
        return ["ome"]
    return [*_unlike([*pairs, named]), *_wrong_empty("fill_value", heatmap, described)]


def _unlike(pairs: Sequence[tuple[str, Any, Any]]) -> list[str]:
    return [name for name, one, other in pairs if not _same(one, other)]


def _labels(attributes: Mapping[str, Any]) -> list[Any]:
    return [one["label"] for one in attributes.get("omero", {}).get("channels", [])]


def _summed(image: Mapping[str, Any], kind: str, axes: int) -> list[float]:
    """Return the scale or translation of the first level, followed by those of the whole image."""
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


def _wrong_by_geotiff(heatmap: Heatmap, described: Description) -> list[str]:
    expected = transform_of(heatmap)
    wrong = [] if described.transform and _near(described.transform, expected) else ["transform"]
    place = heatmap.georeference
    if not _is_of(described.crs, place.crs if place else ""):
        wrong.append("crs")
    return wrong + _wrong_empty("nodata", heatmap, described)


def _is_of(crs: Any, expected: str) -> bool:
    """Whether a coordinate reference system is the expected one, by its EPSG number.

    One system has many texts, so an expected system without a number is not compared.
    """
    if not expected:
        return not crs
    from rasterio.crs import CRS

    number = CRS.from_user_input(expected).to_epsg()
    return number is None or (bool(crs) and crs.to_epsg() == number)


def _wrong_empty(name: str, heatmap: Heatmap, described: Description) -> list[str]:
    expected = nothing(heatmap.metadata["dtype"])
    if described.empty is None:
        return [] if described.transform is None else [name]
    is_same = described.empty == expected or (isnan(expected) and isnan(described.empty))
    return [] if is_same else [name]


def _near(one: Affine, other: Affine) -> bool:
    """Whether two transforms agree, except for the last digits of their numbers."""
    return all(isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) for a, b in zip(one, other, strict=True))


def _same(one: Any, other: Any) -> bool:
    """Whether two descriptions agree, except for the last digits of numbers."""
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
    """Return the description of a heatmap for viewers; it is empty for a recording.

    OME-NGFF 0.5, 'multiscales': the scale is the distance between neighbouring windows, and the
    translation is the centre of the first window. Both are in the coordinates of the image itself:
    those of its own OME metadata, micrometres where only its resolution is known, else pixels of
    the original image, the first of which is centred on 0. The format has two or three axes of
    space, and no axis of time alone.
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
    described: dict[str, Any] = {
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
        described["omero"] = {"channels": channels}
    return described


def describe(store: Any, heatmap: Heatmap) -> None:
    """Write a heatmap's attributes: OME-Zarr 0.5 for viewers, and fullconv's own record."""
    import zarr

    metadata = heatmap.metadata
    described = ome(heatmap)
    attributes: dict[str, Any] = ({"ome": described} if described else {}) | {"fullconv": metadata}
    zarr.open_group(store, mode="r+").attrs.put(attributes)
    if metadata["dtype"] == "uint8":
        # By the CF conventions, which xarray and others follow.
        packed: dict[str, Any] = {"scale_factor": 1 / LEVELS, "_FillValue": NOT_SCANNED}
        zarr.open_array(store, path=ARRAY, mode="r+").attrs.put(packed)
