"""The position of a mask over the image that is scanned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError, first_line
from fullconv.geometry.placement import LOCAL, Affine, Georeference, Space, local_system
from fullconv.sources import Source

Points = NDArray[np.float64]
Across = Callable[..., Sequence[Points]]


@dataclass(frozen=True)
class Laid:
    """The map from positions in the scanned image to positions in the mask.

    Attributes
    ----------
    transform : tuple of float
        As in `Mask`.
    basis : str
        As in `Mask`.
    across : callable or None
        As in `Mask`.
    remarks : tuple of str
        Warnings about the position.
    """

    transform: tuple[float, ...]
    basis: str
    across: Across | None = None
    remarks: tuple[str, ...] = ()


def laid(mask: Source, image: Source) -> Laid:
    """Return the position of a mask over an image: by the locations of both, else stretched.

    Raises
    ------
    InputError
        If both are georeferenced, and GDAL cannot convert between their systems.
    """
    placed = None
    if mask.facts.georeference or mask.facts.space:  # only files of images have them
        placed = _placed(mask, image)
    if placed is not None:
        return placed
    scales = [n / m for n, m in zip(mask.size, image.size, strict=True)][::-1]
    rows = (
        [*(scale if place == axis else 0.0 for place in range(len(scales))), 0.0]
        for axis, scale in enumerate(scales)
    )
    transform = tuple(number for row in rows for number in row)
    return Laid(transform, "size", None, _stretched(mask, image))


def _placed(mask: Source, image: Source) -> Laid | None:
    """Return the position of a mask by the locations of both; None where these do not relate."""
    scanned, back = _of_placement(image), _back(_of_placement(mask))
    here, there = image.facts, mask.facts
    are_maps = here.georeference is not None and there.georeference is not None
    if here.georeference is None and there.georeference is None and here.space and there.space:
        between = _by_space(here.space, there.space)
        if between is not None:
            basis = "space" if there.space.is_placed else "resolution"
            return Laid(_after(back, _after(between, scanned)), basis)
    ground, own = _system(image, mask), mask.georeference
    if ground is not None and own is not None:
        unit = _unit(ground, own, are_maps)
        if unit is not None:
            to_ground = _after((unit, 0.0, 0.0, 0.0, unit, 0.0), _after(ground.transform, scanned))
            basis = "georeference" if there.georeference else "space"
            return Laid(_after(back, _after(_back(own.transform), to_ground)), basis)
        if are_maps:
            turned = _across(_after(ground.transform, scanned), ground, own)
            _check_way(mask, image, turned)
            return Laid(_after(back, _back(own.transform)), "georeference", turned)
    if own is not None and image.georeference is None and _is_in_pixels(own, mask, image):
        return Laid(_after(back, _after(_back(own.transform), scanned)), "pixel coordinates")
    return None


def _system(image: Source, mask: Source) -> Georeference | None:
    """Return the image's georeference; its space, where the mask has a local system instead."""
    own, space = mask.georeference, image.facts.space
    if image.georeference is None and space is not None and own and local_system(own.crs):
        return space.as_georeference()
    return image.georeference


def _unit(ground: Georeference, own: Georeference, are_maps: bool) -> float | None:
    """Return the factor from coordinates of the image to those of the mask; None if unrelated.

    A map without a named system is taken to be in the other's.
    """
    local, mine = local_system(ground.crs), local_system(own.crs)
    if local is None and mine is None:
        if ground.crs == own.crs or (are_maps and not (ground.crs and own.crs)):
            return 1.0
        return 1.0 if are_maps and _are_one(ground, own) else None
    if local is None or mine is None:
        return None
    is_images = local[0].startswith(LOCAL) and mine[0].startswith(LOCAL)
    return local[1] / mine[1] if is_images or local[0] == mine[0] else None


def _is_in_pixels(own: Georeference, mask: Source, image: Source) -> bool:
    """Whether the coordinates of a mask without a named system are pixels of the image.

    Heatmaps of images without a location are such masks, and so are files made from them.
    """
    a, b, c, d, e, f = own.transform
    if own.crs or b or d or a <= 0 or e <= 0:
        return False
    (height, width), (rows, columns) = image.original_size, mask.original_size
    return all(
        -step <= begin and begin + step * count <= extent + step
        for begin, step, count, extent in ((c, a, columns, width), (f, e, rows, height))
    )


def _stretched(mask: Source, image: Source) -> tuple[str, ...]:
    """Return the warning that a mask is stretched despite its location; none if it has none."""
    if mask.georeference is None and (mask.um_per_pixel is None or mask.size == image.size):
        return ()
    return (
        f"the mask {mask.name} is laid over the whole image by its size: it {_location(mask)}, and "
        f"{image.name} {_location(image)}.",
    )


def _location(source: Source) -> str:
    place, um = source.georeference, source.um_per_pixel
    if place is not None:
        return f"lies in {place}"
    if um is not None:
        return f"has {um[1]:.6g} um per pixel, and no place"
    return "does not say where it lies"


def _of_placement(image: Source) -> Affine:
    (sy, sx), (y, x) = image.placement.scale, image.placement.offset
    return sx, 0.0, x, 0.0, sy, y


def _by_space(image: Space, mask: Space) -> Affine | None:
    """Return the transform from one space to another; None where the units are incompatible.

    A mask of which only the resolution is known begins at the image's corner.
    """
    if image.unit_um is not None and mask.unit_um is not None:
        units = image.unit_um, mask.unit_um
    elif image.unit == mask.unit:
        units = 1.0, 1.0
    else:
        return None
    numbers = []
    for axis in (1, 0):
        a, b = image.scale[axis] * units[0], mask.scale[axis] * units[1]
        begin = image.translation[axis] * units[0], mask.translation[axis] * units[1]
        # Translations are centres of first pixels; equal ones mean that the corners coincide.
        apart = begin[0] - begin[1] if mask.is_placed else 0.0
        shift = 0.0 if apart == 0 else (apart - a / 2) / b + 0.5
        numbers.append((a / b, shift))
    (sx, x), (sy, y) = numbers
    return sx, 0.0, x, 0.0, sy, y


def _are_one(ground: Georeference, own: Georeference) -> bool:
    """Whether two reference systems are the same, as far as they are named."""
    if not ground.crs or not own.crs or ground.crs == own.crs:
        return True
    from rasterio.crs import CRS

    return bool(CRS.from_user_input(ground.crs) == CRS.from_user_input(own.crs))


def _across(to_ground: Affine, ground: Georeference, own: Georeference) -> Across:
    """Return the function from positions of the scanned image to the mask's reference system."""

    def turned(x: Points, y: Points) -> tuple[Points, Points]:
        from rasterio.warp import transform

        a, b, c, d, e, f = to_ground
        here = (a * x + b * y + c).ravel(), (d * x + e * y + f).ravel()
        there = transform(ground.crs, own.crs, *here)
        places = [np.asarray(one, np.float64).reshape(x.shape) for one in there]
        return places[0], places[1]

    return turned


def _check_way(mask: Source, image: Source, turned: Across) -> None:
    """Refuse a mask if no transform leads from the image's system to the mask's."""
    try:
        turned(np.array([0.0]), np.array([0.0]))
    except Exception as error:  # GDAL's errors have no public class in rasterio
        raise InputError(
            f"mask {mask.name}: it {_location(mask)}, and {image.name} {_location(image)}, and "
            f"GDAL knows no way between the two ({first_line(error)}); give the mask in the system "
            f"of the image (gdalwarp -t_srs)."
        ) from None


def _after(outer: Affine, inner: Affine) -> Affine:
    """Return the composition of two transforms, the inner one applied first."""
    a, b, c, d, e, f = outer
    p, q, r, s, t, u = inner
    first = a * p + b * s, a * q + b * t, a * r + b * u + c
    return *first, d * p + e * s, d * q + e * t, d * r + e * u + f


def _back(transform: Affine) -> Affine:
    """Return the inverse of a transform."""
    a, b, c, d, e, f = transform
    determinant = a * e - b * d
    if not determinant:
        raise InputError(f"mask: its georeference {transform} has no inverse; save it again.")
    p, q, s, t = e / determinant, -b / determinant, -d / determinant, a / determinant
    return p, q, -(p * c + q * f), s, t, -(s * c + t * f)
