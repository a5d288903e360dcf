"""The place of a level in its image, and of an image on the ground or in its file's space.

Positions count pixels from the edge of the first pixel, so that its centre lies at 0.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Affine = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Placement:
    """The place of one image in another: position ``p`` maps to ``offset + scale * p``, per axis.

    Attributes
    ----------
    scale : tuple of float
        Pixels of the other image per pixel of this one.
    offset : tuple of float
        Position in the other image where this one begins.
    """

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @classmethod
    def between(cls, size: Sequence[int], other: Sequence[int]) -> Placement:
        """Return the placement of an image in a resized copy of it, their edges aligned."""
        scale = tuple(m / n for n, m in zip(size, other, strict=True))
        return cls(scale, (0.0,) * len(scale))

    @classmethod
    def parse(cls, record: dict[str, Any]) -> Placement:
        """Return the instance that `as_dict` described."""
        return cls(tuple(record["scale"]), tuple(record["offset"]))

    def as_dict(self) -> dict[str, list[float]]:
        """Return the fields as JSON values."""
        return {"scale": list(self.scale), "offset": list(self.offset)}

    def outward(self, position: float, axis: int) -> float:
        """Return a position of this image as a position of the other, along one axis."""
        return self.offset[axis] + self.scale[axis] * position

    def inward(self, position: float, axis: int) -> float:
        """Return a position of the other image as a position of this one, along one axis."""
        return (position - self.offset[axis]) / self.scale[axis]

    def of(self, inner: Placement) -> Placement:
        """Compose: return the placement in the other image of an image placed here by ``inner``."""
        return Placement(
            tuple(a * b for a, b in zip(self.scale, inner.scale, strict=True)),
            tuple(
                offset + scale * begin
                for offset, scale, begin in zip(self.offset, self.scale, inner.offset, strict=True)
            ),
        )

    def boxes(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return boxes ``(n, 4)`` of this image, x0, y0, x1, y1, in the other's pixels."""
        scale, offset = ([*part[::-1], *part[::-1]] for part in (self.scale, self.offset))
        placed: NDArray[np.float64] = boxes * scale + offset
        return placed

    def box(self, box: Sequence[float]) -> tuple[float, ...]:
        """Return a box ``(x0, y0, x1, y1)`` of this image in the other's pixels."""
        axes = [*reversed(range(len(self.scale)))] * 2
        return tuple(self.outward(edge, axis) for edge, axis in zip(box, axes, strict=True))


@dataclass(frozen=True)
class Georeference:
    """The place of an image on the ground, or in a local system that its file names.

    Attributes
    ----------
    transform : tuple of six float
        ``(a, b, c, d, e, f)``: ``x = a * column + b * row + c``, ``y = d * column + e * row + f``.
    crs : str
        The coordinate reference system as WKT; empty where the file names none.
    """

    transform: Affine
    crs: str

    def __str__(self) -> str:
        """Return the name of the coordinate reference system."""
        code, name = epsg(self.crs), re.match(r'\s*\w+\["([^"]+)"', self.crs)
        if code is not None:
            return f"EPSG:{code}"
        return name[1] if name else "coordinates of a system that the file does not name"


def epsg(wkt: str) -> str | None:
    """Return the EPSG code at the end of a WKT, which identifies the whole system; else None."""
    code = re.search(r'(?:AUTHORITY|ID)\["EPSG",\s*"?(\d+)"?\]\s*\]\s*$', wkt)
    return None if code is None else code[1]


def local_system(wkt: str) -> tuple[str, float] | None:
    """Return the name of a local (engineering) system, and the micrometres of its unit; else None.

    GDAL returns units with names of its own as "unknown", so the unit is read from its length.
    """
    name = re.match(r'\s*(?:LOCAL_CS|ENGCRS|ENGINEERINGCRS)\["([^"]*)"', wkt)
    metres = re.findall(r'UNIT\["[^"]*",\s*([0-9.eE+-]+)', wkt)
    return (name[1], float(metres[0]) * 1e6) if name and metres else None


NOWHERE: Affine = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The identity transform: coordinates are pixels."""


LOCAL = "image, in "
"""The beginning of the name of a local system that comes from an image file."""


@dataclass(frozen=True)
class Space:
    """The coordinates that a file gives to its pixels, as OME-NGFF does.

    Along each axis the centre of pixel ``i`` lies at ``translation + scale * i``.

    Attributes
    ----------
    scale, translation : tuple of float
        Along (row, column), in ``unit``.
    unit : str
        Name of the unit, as in the file; empty where the file names none.
    unit_um : float or None
        Micrometres in a unit; None where it is not a unit of length.
    """

    scale: tuple[float, ...]
    translation: tuple[float, ...]
    unit: str = ""
    unit_um: float | None = None

    @classmethod
    def of_resolution(cls, um_per_pixel: Sequence[float]) -> Space:
        """Return the space of an image from its resolution alone: it begins at 0."""
        return cls(tuple(um_per_pixel), (0.0,) * len(um_per_pixel), "micrometer", 1.0)

    @classmethod
    def parse(cls, record: dict[str, Any]) -> Space:
        """Return the instance that `as_dict` described."""
        return cls(
            tuple(record["scale"]),
            tuple(record["translation"]),
            record["unit"],
            record.get("unit_um"),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "scale": list(self.scale),
            "translation": list(self.translation),
            "unit": self.unit,
            "unit_um": self.unit_um,
        }

    def at(self, position: float, axis: int) -> float:
        """Return the coordinate of a position in pixels from the image's edge."""
        return self.translation[axis] + self.scale[axis] * (position - 0.5)

    @property
    def um_per_pixel(self) -> tuple[float, ...] | None:
        """Micrometres per pixel; None where the unit is not known."""
        um = self.unit_um
        return None if um is None else tuple(scale * um for scale in self.scale)

    @property
    def is_placed(self) -> bool:
        """Whether the image lies elsewhere than at the origin."""
        return any(self.translation)

    @property
    def georeference(self) -> Georeference | None:
        """The space as a georeference, for map programs; None where the image is not placed."""
        return self.as_georeference() if self.is_placed else None

    def as_georeference(self) -> Georeference:
        """Return the space as a georeference, also where the image begins at the origin."""
        (sy, sx), (y, x) = self.scale, (self.at(0, 0), self.at(0, 1))
        # An engineering coordinate system (WKT 1, LOCAL_CS) gives its unit in metres.
        system = ""
        if self.unit_um is not None:
            unit = f'UNIT["{self.unit}",{self.unit_um / 1e6!r}]'
            system = f'LOCAL_CS["{LOCAL}{self.unit}",{unit}]'
        return Georeference((sx, 0.0, x, 0.0, sy, y), system)
