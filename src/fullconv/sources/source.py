"""What every image offers, wherever its pixels lie."""

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

from fullconv.closing import Closing
from fullconv.errors import InputError
from fullconv.geometry import Pair, Sizes
from fullconv.placement import Georeference, Placement, Space
from fullconv.sources.colours import Channel, Channels
from fullconv.sources.contents import Contents, contents_of, signature_of
from fullconv.wording import axis_names, extent, kind, part, sized, unit

Resolution = tuple[float, float]


@dataclass(frozen=True)
class Facts:
    """What a file says of an image beside its pixels.

    Attributes
    ----------
    original_size : tuple of int
        ``(H, W)`` at full resolution: the pixels along every axis.
    placement : Placement
        Where what is read lies in the image at full resolution.
    space : Space or None
        The coordinates of the image at full resolution, where the file gives them.
    georeference : Georeference or None
        Where the image at full resolution lies on the ground.
    channels : tuple of Channel
        What each band is, as far as the file says; empty where it says nothing.
    level : (int, int)
        Which level is read, and how many there are.
    remarks : tuple of str
        What is to be said of the file before its pixels are used, in one line each.
    nodata : float or None
        The number of pixels that hold nothing, as `Source.numbers` has them.
    """

    original_size: Sizes
    placement: Placement
    space: Space | None = None
    georeference: Georeference | None = None
    channels: Channels = ()
    remarks: tuple[str, ...] = ()
    level: Pair = (0, 1)
    nodata: float | None = None

    @classmethod
    def of_size(cls, size: Sizes) -> Facts:
        """Return the facts of an image of which only the size is known."""
        return cls(size, Placement.between(size, size))


class Source(Closing, ABC):
    """An image whose rectangles can be read by several threads at once.

    It has two axes, or as a recording one, as a volume three; all that is said of rows and columns
    holds for these as well.

    Attributes
    ----------
    name : str
        The path as it was given, or "array".
    size : tuple of int
        ``(H, W)`` of what is read: the pixels along every axis.
    bands : int
    stored_bands : int
        How many the file has, of which these may have been chosen.
    dtype : numpy.dtype
    block : tuple of int
        Pixels are stored in blocks of this size; reading whole blocks is cheapest.
    facts : Facts
        The size at full resolution, of which this may read a level, and where it lies.
    description : dict
        What `reopen` needs to open the same again.
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
        """Where what is read lies in the image at full resolution."""
        return self.facts.placement

    @property
    def scale(self) -> tuple[float, ...]:
        """Pixels of the original per pixel that is read, (row, column)."""
        return self.placement.scale

    @property
    def georeference(self) -> Georeference | None:
        """Where the image at full resolution lies: on the ground, or else in its space."""
        facts = self.facts
        return facts.georeference or (facts.space.georeference if facts.space else None)

    @property
    def channels(self) -> Channels:
        """What each band is, as far as the file says."""
        told = self.facts.channels
        return told if len(told) == self.bands else (Channel(),) * self.bands

    @property
    def um_per_pixel(self) -> tuple[float, ...] | None:
        """Micrometres per pixel that is read, (row, column); None where not known."""
        own = self.facts.space.um_per_pixel if self.facts.space else None
        scale = self.placement.scale
        return own and tuple(um * n for um, n in zip(own, scale, strict=True))

    def read(self, *spans: Pair) -> NDArray[Any]:
        """Return the pixels of a rectangle, ``(h, w, bands)``, which the caller must not change.

        Parameters
        ----------
        *spans : (int, int)
            First, and one past the last, along every axis: ``read(rows, columns)``.

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
        """Whether the file does not hold some of its pixels."""
        return False

    def missing(self, *spans: Pair) -> NDArray[np.bool_] | None:
        """Return which pixels of a rectangle ``(h, w)`` the file does not hold; None if it does."""
        return None

    @abstractmethod
    def _read(self, *spans: Pair) -> NDArray[Any]:
        """Read a rectangle that lies inside the image."""

    def numbers(self) -> Source:
        """Return a source of the numbers of a palette in place of its colours; else this one.

        Who opens it closes it, too.
        """
        return self

    def files(self) -> list[Path]:
        """Return the files that hold the pixels now, those that others refer to among them."""
        return []

    def contents(self) -> Contents:
        """Return what the stored pixels are now; see Note [What is looked at]."""
        return contents_of(self.files())

    def first_contents(self) -> Contents:
        """Return what the stored pixels were when somebody first asked."""
        if self._first is None:
            self._first = self.contents()
        return self._first

    @property
    def is_sampled(self) -> bool:
        """Whether the fingerprint stands on a part of the stored bytes."""
        return self.first_contents().is_sampled

    def has_changed(self) -> bool:
        """Whether the stored pixels are others than when the fingerprint was first asked for."""
        first = self.first_contents()
        if first.signature is not None and first.signature == signature_of(self.files()):
            return False
        return self.contents() != first

    def select(self, bands: Sequence[int]) -> Source:
        """Return a source of these bands, counted from 0, in this order.

        Formats that store bands apart read only these.
        """
        from fullconv.sources.channels import Selected

        return Selected(self, bands)

    def facts_of(self, bands: Sequence[int]) -> Facts:
        """Return the facts of a source of these bands, counted from 0."""
        return replace(self.facts, channels=tuple(self.channels[band] for band in bands))

    def fingerprint(self) -> str:
        """Return a text that is the same for the same pixels, as they were when first asked for.

        It stands on the contents of files and arrays (Note [What is looked at]), so that a file may
        be moved, copied, and touched.
        """
        chosen = {key: value for key, value in self.description.items() if key != "path"}
        held = json.dumps([self.first_contents().digest, chosen], sort_keys=True)
        return hashlib.sha256(held.encode()).hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """Return JSON values from which `reopen` opens the same again."""
        return dict(self.description)

    def __repr__(self) -> str:
        things = unit(len(self.size), many=True)
        return f"<{self.name}: {sized(self.size)} {things}, {self.bands} bands of {self.dtype}>"


class View(Source):
    """A source that is made from another one."""

    def __init__(self, of: Source, step: dict[str, Any], **differs: Any) -> None:
        held: dict[str, Any] = {
            "name": of.name,
            "size": of.size,
            "bands": of.bands,
            "dtype": of.dtype,
            "block": of.block,
            "facts": of.facts,
        }
        super().__init__(**(held | differs))
        self.of = of
        self.stored_bands = of.stored_bands
        self.description = of.description | {"then": [*of.description.get("then", []), step]}

    @property
    def lacks_pixels(self) -> bool:
        return self.of.lacks_pixels

    def missing(self, *spans: Pair) -> NDArray[np.bool_] | None:
        return self.of.missing(*spans)

    def files(self) -> list[Path]:
        return self.of.files()

    def contents(self) -> Contents:
        return self.of.contents()

    def first_contents(self) -> Contents:
        return self.of.first_contents()

    def close(self) -> None:
        self.of.close()
