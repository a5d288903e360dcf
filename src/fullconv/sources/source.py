"""The interface of every image, wherever its pixels are stored."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.errors import InputError
from fullconv.geometry.grid import Sizes, Span
from fullconv.geometry.placement import Georeference, Placement, Space
from fullconv.sources.colours import Channel, Channels
from fullconv.sources.contents import Contents, contents_of, signature_of
from fullconv.system.closing import Closing
from fullconv.wording import axis_names, extent, kind, part, sized, unit

Resolution = tuple[float, float]


@dataclass(frozen=True)
class Facts:
    """The metadata of an image.

    Attributes
    ----------
    original_size : tuple of int
        ``(H, W)`` at full resolution: the pixels along every axis.
    placement : Placement
        Placement of the source's pixels in the image at full resolution.
    space : Space or None
        Coordinates of the image at full resolution, where the file gives them.
    georeference : Georeference or None
        Place of the image at full resolution on the ground.
    channels : tuple of Channel
        Name and colour of each band, as far as the file gives them; empty where it gives none.
    level : (int, int)
        Number of the level that is read, and number of all levels.
    remarks : tuple of str
        Remarks on the file for the user, of one line each.
    nodata : float or None
        Number that marks pixels without data, as `Source.numbers` gives them.
    """

    original_size: Sizes
    placement: Placement
    space: Space | None = None
    georeference: Georeference | None = None
    channels: Channels = ()
    remarks: tuple[str, ...] = ()
    level: tuple[int, int] = (0, 1)
    nodata: float | None = None

    @classmethod
    def of_size(cls, size: Sizes) -> Facts:
        """Return the facts of an image from its size alone."""
        return cls(size, Placement.between(size, size))


class Source(Closing, ABC):
    """An image whose rectangles several threads can read at once.

    An image has two axes, a recording one, and a volume three. Statements about rows and columns
    hold for all of these axes.

    Attributes
    ----------
    name : str
        Path as the user gave it, or "array".
    size : tuple of int
        ``(H, W)`` of the pixels that can be read: their number along every axis.
    bands : int
        Number of bands that are read.
    stored_bands : int
        Number of bands in the file, from which those that are read may have been chosen.
    dtype : numpy.dtype
    block : tuple of int
        Size of the blocks in which pixels are stored; reading whole blocks is cheapest.
    facts : Facts
        Metadata: the size at full resolution, the level, and the place.
    description : dict
        JSON values from which `reopen` opens the source again.
    """

    def __init__(
        self,
        name: str,
        size: Sizes,
        bands: int,
        dtype: np.dtype[Any],
        *,
        block: Sizes,
        facts: Facts | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self.bands = self.stored_bands = bands
        self.dtype = np.dtype(dtype)
        self.block = block
        self.facts = facts or Facts.of_size(size)
        self.description: dict[str, Any] = {"path": name}
        self._first: Contents | None = None

    @property
    def original_size(self) -> Sizes:
        """``(H, W)`` of the image at full resolution: the pixels along every axis."""
        return self.facts.original_size

    @property
    def placement(self) -> Placement:
        """Placement of the source's pixels in the image at full resolution."""
        return self.facts.placement

    @property
    def scale(self) -> tuple[float, ...]:
        """Pixels at full resolution per pixel of the source, (row, column)."""
        return self.placement.scale

    @property
    def georeference(self) -> Georeference | None:
        """Place of the image at full resolution: on the ground, or else in its space."""
        facts = self.facts
        return facts.georeference or (facts.space.georeference if facts.space else None)

    @property
    def channels(self) -> Channels:
        """Name and colour of each band, as far as the file gives them."""
        known = self.facts.channels
        return known if len(known) == self.bands else (Channel(),) * self.bands

    @property
    def um_per_pixel(self) -> tuple[float, ...] | None:
        """Micrometres per pixel of the source, (row, column); None where unknown."""
        own = self.facts.space.um_per_pixel if self.facts.space else None
        scale = self.placement.scale
        return own and tuple(um * n for um, n in zip(own, scale, strict=True))

    def read(self, *spans: Span) -> NDArray[Any]:
        """Return the pixels of a rectangle, ``(h, w, bands)``; the caller must not change them.

        Parameters
        ----------
        *spans : (int, int)
            First pixel, and one past the last, along every axis: ``read(rows, columns)``.

        Raises
        ------
        InputError
            If the rectangle is empty or leaves the image.
        ImageError
            If the file is damaged there.
        """
        axes = len(self.size)
        if len(spans) != axes or not all(
            0 <= start < stop <= length
            for (start, stop), length in zip(spans, self.size, strict=True)
        ):
            named = zip(axis_names(len(spans)), spans, strict=True)
            asked = ", ".join(f"{name}={tuple(span)}" for name, span in named)
            raise InputError(
                f"read({asked}): expected {part(axes)} inside the {kind(axes)} {self.name} of "
                f"{extent(self.size)}."
            )
        return self._read(*spans)

    @property
    def lacks_pixels(self) -> bool:
        """Whether the file lacks some of its pixels."""
        return False

    def missing(self, *spans: Span) -> NDArray[np.bool_] | None:
        """Return which pixels of a rectangle ``(h, w)`` the file lacks; None if it has them all."""
        return None

    @abstractmethod
    def _read(self, *spans: Span) -> NDArray[Any]:
        """Read a rectangle that lies inside the image."""

    def numbers(self) -> Source:
        """Return a source of the palette indices of this one; itself without a palette of colours.

        The caller closes it.
        """
        return self

    def files(self) -> list[Path]:
        """Return the files that hold the pixels, including files that others refer to."""
        return []

    def contents(self) -> Contents:
        """Return the digest of the stored pixels as they are now; see Note [Sampled contents]."""
        return contents_of(self.files())

    def first_contents(self) -> Contents:
        """Return the digest of the stored pixels at the first call."""
        if self._first is None:
            self._first = self.contents()
        return self._first

    @property
    def is_sampled(self) -> bool:
        """Whether the fingerprint depends on a part of the stored bytes alone."""
        return self.first_contents().is_sampled

    def has_changed(self) -> bool:
        """Whether the stored pixels have changed since the first call of `first_contents`."""
        first = self.first_contents()
        if first.signature is not None and first.signature == signature_of(self.files()):
            return False
        return self.contents() != first

    def select(self, bands: Sequence[int]) -> Source:
        """Return a source of these bands, counted from 0, in this order.

        Formats that store each band by itself read only these.
        """
        return Selected(self, bands)

    def facts_of(self, bands: Sequence[int]) -> Facts:
        """Return the facts of a source of these bands, counted from 0."""
        return replace(self.facts, channels=tuple(self.channels[band] for band in bands))

    def fingerprint(self) -> str:
        """Return a text that identifies the pixels, from their digest at the first call.

        It depends on the contents of files and arrays (Note [Sampled contents]), and not on a
        file's name, folder or times.
        """
        chosen = {key: value for key, value in self.description.items() if key != "path"}
        text = json.dumps([self.first_contents().digest, chosen], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `reopen` opens the source again."""
        return dict(self.description)

    def __repr__(self) -> str:
        things = unit(len(self.size), many=True)
        return f"<{self.name}: {sized(self.size)} {things}, {self.bands} bands of {self.dtype}>"


class View(Source):
    """A source whose pixels are computed from another source."""

    def __init__(self, of: Source, step: dict[str, Any], **differs: Any) -> None:
        shared: dict[str, Any] = {
            "name": of.name,
            "size": of.size,
            "bands": of.bands,
            "dtype": of.dtype,
            "block": of.block,
            "facts": of.facts,
        }
        super().__init__(**(shared | differs))
        self.of = of
        self.stored_bands = of.stored_bands
        self.description = of.description | {"then": [*of.description.get("then", []), step]}

    @property
    def lacks_pixels(self) -> bool:
        return self.of.lacks_pixels

    def missing(self, *spans: Span) -> NDArray[np.bool_] | None:
        return self.of.missing(*spans)

    def files(self) -> list[Path]:
        return self.of.files()

    def contents(self) -> Contents:
        return self.of.contents()

    def first_contents(self) -> Contents:
        return self.of.first_contents()

    def close(self) -> None:
        self.of.close()


class Selected(View):
    """Some bands of a source, counted from 0, in any order."""

    def __init__(self, of: Source, bands: Sequence[int]) -> None:
        step = {"bands": [band + 1 for band in bands]}
        super().__init__(of, step, bands=len(bands), facts=of.facts_of(bands))
        self._bands = list(bands)

    def _read(self, *spans: Span) -> NDArray[Any]:
        return self.of.read(*spans)[..., self._bands]
