"""A heatmap on disk: scores per window, and where in the image they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.backgrounds import foreground
from fullconv.errors import DamagedError, FullconvError, InputError, first_line
from fullconv.geometry.grid import Grid, Sizes, Span
from fullconv.geometry.placement import Georeference, Placement, Space
from fullconv.geometry.windows import Windows
from fullconv.scanning.damage import Damage, find_damage, named
from fullconv.scanning.describing import Description, misdescribed
from fullconv.scanning.digests import Checksums, is_sealed
from fullconv.scanning.scores import checked
from fullconv.scanning.storing import decoded
from fullconv.scanning.validity import is_of_before, no_heatmap, valid
from fullconv.system.closing import Closing
from fullconv.verification.verified import Verification
from fullconv.wording import names, windows_named

if TYPE_CHECKING:
    from fullconv.scanning.pixels import PixelRange

RECORD_CHANGED = "their record was changed after it was written"


class Heatmap(Closing):
    """The scores of every window of an image, larger than memory if need be.

    Attributes
    ----------
    path : Path or None
        Its folder or file; None in memory.
    grid : Grid
        Window and step, in pixels of the image that was scanned.
    classes : tuple of str
        Names of the scores, where the model has them.
    metadata : dict
        Versions, model, image, preprocessing and all else that the scan depended on.
    description : Description or None
        The description for viewers in its file, where it was opened from one.
    """

    def __init__(
        self,
        array: Any,
        metadata: Mapping[str, Any],
        path: Path | None,
        description: Description | None = None,
    ) -> None:
        self.array = array
        self.description = description
        self.metadata = dict(metadata)
        self.path = path
        self.grid = Grid(tuple(metadata["window"]), tuple(metadata["step"]))
        self.classes = tuple(metadata["classes"])

    @classmethod
    def open(cls, path: str | Path) -> Heatmap:
        """Open a finished heatmap that a scan has written.

        Raises
        ------
        InputError
            If there is none at the path, or it is broken.
        """
        path = Path(path)
        if path.suffix.lower() in (".tif", ".tiff"):
            from fullconv.scanning.geotiff import open_geotiff

            bands, metadata = open_geotiff(path)
            scores = checked(lambda: bands, metadata)
            return cls(scores, metadata, path, Description.by_geotiff(bands.raster))
        try:
            from fullconv.scanning.bounded import open_folder

            attributes, scores = open_folder(path)
            metadata = valid(attributes["fullconv"])
            array = checked(scores, metadata)
            return cls(array, metadata, path, Description.by_zarr(attributes, array))
        except FullconvError:
            raise
        except Exception as error:
            raise no_heatmap(path, error) from None

    def close(self) -> None:
        """Close the file of a GeoTIFF, which Windows would keep locked; zarr keeps none open."""
        raster = getattr(self.array, "raster", None)
        if raster is not None:
            raster.close()

    @property
    def shape(self) -> Sizes:
        """Classes, and windows along every axis: ``(K, rows, columns)``."""
        return tuple(self.array.shape)

    @property
    def verification(self) -> Verification | None:
        """The comparison with crops at the end of the scan; None where none was made."""
        entry = self.metadata.get("verification")
        if entry is None:
            return None
        fields = Verification.__dataclass_fields__
        return Verification(**{name: entry[name] for name in fields if name in entry})

    @cached_property
    def windows(self) -> Windows:
        """Where the windows along every axis lie in the image that was scanned."""
        return Windows.of(
            self.grid, self.metadata["image_size"], self.metadata.get("cover") or "whole"
        )

    @property
    def checksums(self) -> Checksums | None:
        """The digests of its tiles; None where it was made before heatmaps had any."""
        entry = self.metadata.get("checksums")
        return None if entry is None else Checksums.from_json(entry)

    @property
    def is_of_before(self) -> bool:
        """Whether it was made before heatmaps had checksums."""
        return is_of_before(self.metadata)

    def damage(self) -> tuple[Damage, ...]:
        """Return the windows whose scores are lost, or are not those that were scanned.

        All tiles are read and compared with their digests, and the description for viewers is
        compared with the record. In a heatmap without checksums, only tiles are recognised that
        cannot be read, or are missing where all windows were scanned.
        """
        if not self.is_of_before and (self.checksums is None or not is_sealed(self.metadata)):
            return (self._damaged(RECORD_CHANGED),)
        why = None if self.is_of_before else misdescribed(self)
        return (*find_damage(self), *([self._damaged(why, is_lost=False)] if why else ()))

    def _damaged(self, why: str, is_lost: bool = True) -> Damage:
        """Return damage of all windows."""
        spans = tuple((0, count) for count in self.shape[1:])
        try:
            box = self.box_of(spans)
        except InputError:  # the record was changed in just these entries
            size = [float(n) for n in self.metadata["original_size"]]
            box = (*(0.0 for _ in size), *reversed(size))
        return Damage(spans, box, why, None, is_lost)

    def check(self) -> None:
        """Check that it has all scores that were scanned, and no others.

        Raises
        ------
        DamagedError
            If it does not; the message says where.
        """
        damage = self.damage()
        if damage:
            raise DamagedError(
                f"{self.path or 'the heatmap'} is damaged, {named(damage)}; scan it once more with "
                f"repair=True (--repair), which computes only what is lost.",
                damage,
            )

    @property
    def placement(self) -> Placement:
        """The place of the scanned image in the original one."""
        entry = self.metadata.get("placement")
        if entry is None:
            return Placement.between(self.metadata["image_size"], self.metadata["original_size"])
        return Placement.parse(entry)

    @property
    def scale(self) -> tuple[float, ...]:
        """Pixels of the original image per pixel that was scanned, along every axis."""
        return self.placement.scale

    @property
    def seen(self) -> PixelRange | None:
        """The range of some pixels as the network saw them; None where it is not recorded."""
        from fullconv.scanning.pixels import PixelRange

        entry = self.metadata.get("pixels")
        return None if entry is None else PixelRange(**entry)

    @property
    def georeference(self) -> Georeference | None:
        """Where the original image lies; None where its file does not say."""
        entry = self.metadata["georeference"]
        return entry and Georeference(tuple(entry["transform"]), entry["crs"])

    @property
    def space(self) -> Space:
        """The coordinates of the original image; its pixels where it has no others."""
        entry = self.metadata.get("space")
        if entry is not None:
            return Space.parse(entry)
        um = self.metadata["um_per_pixel"]
        if um is not None:
            scale = self.placement.scale
            return Space.of_resolution([n / z for n, z in zip(um, scale, strict=True)])
        return Space((1.0,) * len(self.grid.step), (0.0,) * len(self.grid.step))

    @property
    def foreground(self) -> list[int]:
        """Numbers of all classes but the background; a single class counts whatever its name."""
        return foreground(self.classes, self.metadata.get("background"), self.shape[0])

    def box(self, *place: int) -> tuple[float, ...]:
        """Return one window as ``(x0, y0, x1, y1)`` in pixels of the original image.

        ``place`` is its index along every axis: ``box(row, column)``. Of a recording it is
        ``(t0, t1)``, of a volume ``(x0, y0, z0, x1, y1, z1)``.

        Raises
        ------
        InputError
            If there is no such window.
        """
        return self.placement.box(self.windows.box(*place))

    def box_of(self, spans: Sequence[Span]) -> tuple[float, ...]:
        """Return the pixels that neighbouring windows cover, as `box` does.

        ``spans`` are the windows along every axis, half-open.

        Raises
        ------
        InputError
            If there are no such windows, or the spans are not one for every axis.
        """
        spans = list(spans)
        dimensions = len(self.grid.window)
        if len(spans) != dimensions or not all(map(_is_span, spans)):
            raise InputError(
                f"box_of({spans}): expected the first window and the one behind the last along "
                f"{names(dimensions)}, as in {[(0, 2)] * dimensions}."
            )
        begin = self.box(*(first for first, _ in spans))
        end = self.box(*(last - 1 for _, last in spans))
        return (*begin[: len(spans)], *end[len(spans) :])

    def __getitem__(self, place: Any) -> NDArray[np.floating[Any]]:
        """Return scores as floating point numbers, NaN where nothing was scanned.

        Raises
        ------
        DamagedError
            If they cannot be read. Scores that can be read may still be damaged: see `check`.
        """
        try:
            return decoded(np.asarray(self.array[place]))
        except (FullconvError, IndexError, TypeError):
            raise
        except Exception as error:  # libraries raise errors of all kinds over damaged chunks
            raise DamagedError(
                f"{self.path or 'the heatmap'} cannot be read: it is damaged ({first_line(error)});"
                f" scan it once more with repair=True (--repair), which computes only what is lost."
            ) from None

    def __array__(
        self, dtype: np.dtype[Any] | None = None, copy: bool | None = None
    ) -> NDArray[Any]:
        """Return all scores, ``(K, *windows)``; they must fit in memory."""
        scores = self[...]
        return scores if dtype is None else scores.astype(dtype)

    def __repr__(self) -> str:
        """Say what it is in one line."""
        classes, *counts = self.shape
        where = f"{self.path}, " if self.path else ""
        named = zip(counts, windows_named(len(counts)), strict=True)
        windows = " x ".join(f"{count} {name}" for count, name in named)
        return f"Heatmap({where}{classes} scores x {windows}, {self.grid!r})"


def _is_span(span: Any) -> bool:
    """Return whether a span is two numbers, the second above the first."""
    try:
        first, stop = span
        return bool(first < stop)
    except (TypeError, ValueError):
        return False
