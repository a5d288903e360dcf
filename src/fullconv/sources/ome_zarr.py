"""The metadata of an OME-Zarr image (OME-NGFF 0.4 and 0.5): axes, levels, coordinates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import ImageError
from fullconv.geometry.grid import Sizes
from fullconv.geometry.placement import Placement, Space
from fullconv.sources.colours import Channels, of_ome
from fullconv.sources.lengths import um_of, unknown
from fullconv.sources.pyramid import placement_by_size
from fullconv.sources.trouble import damaged

IMAGE_AXES = ("y", "x")
FOLLOWED = ("scale", "translation")


@dataclass(frozen=True)
class Axes:
    """The axes of an array along the image, and along its bands; all others have length 1."""

    spatial: Sizes
    bands: int | None

    def size(self, shape: Sequence[int]) -> Sizes:
        """Return ``(H, W)`` from an array's shape: its length along every axis of the image."""
        return tuple(shape[axis] for axis in self.spatial)

    @property
    def order(self) -> Sizes:
        """The axes of the image, then that of bands, where there is one."""
        return self.spatial if self.bands is None else (*self.spatial, self.bands)


@dataclass(frozen=True)
class OmeImage:
    """The first entry of ``multiscales``.

    Attributes
    ----------
    name : str
        Name of the file.
    image : mapping
        The entry.
    shown : sequence of mapping
        Display settings of the channels, from ``omero``.
    """

    name: str
    image: Mapping[str, Any]
    shown: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(cls, name: str, attributes: Mapping[str, Any]) -> OmeImage:
        """Return the image that a group describes.

        Raises
        ------
        ImageError
            If the group describes no image.
        """
        ome = ome_of(attributes)
        multiscales = ome.get("multiscales")
        if not multiscales:
            raise ImageError(
                f"{name} is a zarr group without OME-Zarr image metadata (multiscales); name one "
                f"of the arrays in it."
            )
        omero = ome.get("omero")
        shown = omero.get("channels", ()) if isinstance(omero, dict) else ()
        return cls(name, multiscales[0], shown)

    @property
    def paths(self) -> tuple[str, ...]:
        """The arrays of all levels, the full resolution first."""
        return tuple(str(level["path"]) for level in self.image["datasets"])

    @property
    def _named(self) -> list[str]:
        # Before version 0.4 axes were plain names; without any they were t, c, z, y, x.
        axes = self.image.get("axes") or list("tczyx")
        return [axis["name"] if isinstance(axis, dict) else axis for axis in axes]

    def axes(self, shape: Sequence[int]) -> Axes:
        """Return the axes of an array of this shape.

        Raises
        ------
        ImageError
            If the named axes do not fit the shape, or lack y or x.
        """
        names = self._named
        if len(names) != len(shape) or not set(IMAGE_AXES) <= set(names):
            axes = ", ".join(names)
            raise damaged(self.name, f"axes {axes} for an array of shape {tuple(shape)}")
        bands = names.index("c") if "c" in names else None
        return Axes((names.index("y"), names.index("x")), bands)

    def channels(self, is_8_bit: bool) -> Channels:
        """Return the channels, by the names and colours in their display settings."""
        named = []
        for one in self.shown:
            code = re.fullmatch(r"#?([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})", _colour(one))
            numbers = (int(code[1], 16), int(code[2], 16), int(code[3], 16)) if code else None
            named.append((str(one.get("label") or ""), numbers))
        return of_ome(named, is_8_bit)

    def places(self, sizes: Sequence[Sizes]) -> tuple[Space | None, tuple[Placement, ...]]:
        """Return the coordinates of the first level, and the placements of all levels in it.

        Coordinates are those of the centre of a pixel (OME-NGFF 0.4 and 0.5, "multiscales"). The
        transformations of a level apply first, then those of the whole image. If all levels have
        the same translation, their edges are aligned: such levels are means of blocks of pixels,
        and their writers have left out the shift of half a pixel. A level without a scale of its
        own has the scale of the first, times the factor between their ``sizes`` ``(H, W)``.
        """
        levels = self.image["datasets"]
        if not any("coordinateTransformations" in entry for entry in (*levels, self.image)):
            return None, ()
        transforms = [
            self._transform(level, placement_by_size(sizes[0], size).scale if all(size) else (1, 1))
            for level, size in zip(levels, sizes, strict=True)
        ]
        scales, begins = (np.array([one[part] for one in transforms]) for part in (0, 1))
        if not ((scales > 0) & np.isfinite(scales) & np.isfinite(begins)).all():
            raise damaged(self.name, f"it has pixels of the size {scales.min():g}")
        factors = scales / scales[0]
        offsets = (begins - begins[0]) / scales[0] + (1 - factors) / 2
        offsets[(begins == begins[0]).all(axis=1)] = 0
        placements = tuple(
            Placement(tuple(map(float, factor)), tuple(map(float, offset)))
            for factor, offset in zip(factors, offsets, strict=True)
        )
        unit, um = self._unit()
        # Where rows and columns have two units, both are converted to micrometres.
        scale, begin = (tuple(map(float, numbers[0] * um[0])) for numbers in (scales, begins))
        return Space(scale, begin, unit, um[1]), placements

    @property
    def remarks(self) -> tuple[str, ...]:
        """Lines about transformations that are not followed, and about unknown units."""
        holders = (*self.image["datasets"], self.image)
        listed = [one for holder in holders for one in holder.get("coordinateTransformations", [])]
        kinds = sorted({str(one.get("type")) for one in listed} - {*FOLLOWED, "identity"})
        line = f"{self.name} is placed by {', '.join(kinds)}, which fullconv does not follow"
        units = dict.fromkeys(self._units())
        return (
            *((f"{line}; it follows scales and translations.",) if kinds else ()),
            *(line for unit in units for line in unknown(self.name, unit)),
        )

    def _transform(
        self, level: Mapping[str, Any], factor: Sequence[float]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the scale and translation of a level along rows and columns."""
        names = self._named
        scale, begin = np.ones(len(names)), np.zeros(len(names))
        if not _has_scale(level):
            scale = _scale_of(self.image["datasets"][0], len(names))
            scale[[names.index(name) for name in IMAGE_AXES]] *= factor
        for holder in (level, self.image):
            for transform in holder.get("coordinateTransformations", []):
                kind = transform.get("type")
                if kind not in FOLLOWED:
                    continue
                numbers = np.asarray(transform[kind], float)
                if kind == "scale":
                    scale, begin = scale * numbers, begin * numbers
                else:
                    begin = begin + numbers
        places = [names.index(name) for name in IMAGE_AXES]
        return scale[places], begin[places]

    def _units(self) -> list[str]:
        """Return the units of rows and columns; an empty text for an axis without one."""
        named = {
            axis["name"]: str(axis.get("unit") or "")
            for axis in self.image.get("axes", [])
            if isinstance(axis, dict)
        }
        return [named.get(name, "") for name in IMAGE_AXES]

    def _unit(self) -> tuple[str, tuple[NDArray[Any], float | None]]:
        """Return the unit of both axes, each axis' factor to it, and its length in micrometres."""
        units = self._units()
        um = [um_of(unit) for unit in units]
        if units[0] == units[1]:
            return units[0], (np.ones(2), um[0])
        if None in um:
            return "", (np.ones(2), None)
        return "micrometer", (np.array(um, float), 1.0)


def _has_scale(level: Mapping[str, Any]) -> bool:
    transforms = level.get("coordinateTransformations", [])
    return any(one.get("type") == "scale" for one in transforms)


def _scale_of(level: Mapping[str, Any], axes: int) -> NDArray[Any]:
    """Return the scale of a level along all axes, without the transformations of the image."""
    scale = np.ones(axes)
    for one in level.get("coordinateTransformations", []):
        if one.get("type") == "scale":
            scale = scale * np.asarray(one["scale"], float)
    return scale


def _colour(channel: Mapping[str, Any]) -> str:
    return str(channel.get("color") or "").lower()


def ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OME metadata: it is at "ome" since version 0.5, and at the root before."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes
