"""What every image offers, wherever its pixels lie."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.closing import Closing
from fullconv.errors import InputError
from fullconv.geometry import Pair
from fullconv.sources.contents import Contents, contents_of, signature_of

Resolution = tuple[float, float]


@dataclass(frozen=True)
class Georeference:
    """Where an image lies on the ground.

    Attributes
    ----------
    transform : tuple of six float
        ``(a, b, c, d, e, f)``: ``x = a * column + b * row + c``, ``y = d * column + e * row + f``.
    crs : str
        The coordinate reference system as WKT; empty where the file names none.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str


class Source(Closing, ABC):
    """An image whose rectangles can be read by several threads at once.

    Attributes
    ----------
    name : str
        The path as it was given, or "array".
    size : (int, int)
        ``(H, W)`` of what is read.
    bands : int
    dtype : numpy.dtype
    block : (int, int)
        Pixels are stored in blocks of this size; reading whole blocks is cheapest.
    original_size : (int, int)
        ``(H, W)`` of the image at full resolution, where this reads a level of it or resizes it.
    um_per_pixel : (float, float) or None
        (row, column) of what is read.
    georeference : Georeference or None
        Of the image at full resolution.
    description : dict
        What `reopen` needs to open the same again.
    """

    def __init__(
        self,
        name: str,
        size: Pair,
        bands: int,
        dtype: np.dtype[Any],
        *,
        block: Pair,
        original_size: Pair | None = None,
        um_per_pixel: Resolution | None = None,
        georeference: Georeference | None = None,
    ) -> None:
        self.name = name
        self.size = size
        self.bands = bands
        self.dtype = np.dtype(dtype)
        self.block = block
        self.original_size = original_size or size
        self.um_per_pixel = um_per_pixel
        self.georeference = georeference
        self.description: dict[str, Any] = {"path": name}
        self._first: Contents | None = None

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the original per pixel that is read, (row, column)."""
        return (
            self.original_size[0] / self.size[0],
            self.original_size[1] / self.size[1],
        )

    def read(self, rows: Pair, columns: Pair) -> NDArray[Any]:
        """Return the pixels of a rectangle, ``(h, w, bands)``, which the caller must not change.

        Parameters
        ----------
        rows, columns : (int, int)
            First, and one past the last.

        Raises
        ------
        InputError
            If the rectangle is empty or leaves the image.
        ImageError
            If the file is damaged there.
        """
        for (start, stop), extent in zip((rows, columns), self.size, strict=True):
            if not 0 <= start < stop <= extent:
                raise InputError(
                    f"read(rows={tuple(rows)}, columns={tuple(columns)}): expected a rectangle "
                    f"inside the image {self.name} of {self.size[1]}x{self.size[0]} pixels (width "
                    f"x height)."
                )
        return self._read(rows, columns)

    @abstractmethod
    def _read(self, rows: Pair, columns: Pair) -> NDArray[Any]:
        """Read a rectangle that lies inside the image."""

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
        height, width = self.size
        return f"<{self.name}: {width}x{height} pixels, {self.bands} bands of {self.dtype}>"


class View(Source):
    """A source that is made from another one."""

    def __init__(self, of: Source, step: dict[str, Any], **differs: Any) -> None:
        facts: dict[str, Any] = {
            "name": of.name,
            "size": of.size,
            "bands": of.bands,
            "dtype": of.dtype,
            "block": of.block,
            "original_size": of.original_size,
            "um_per_pixel": of.um_per_pixel,
            "georeference": of.georeference,
        }
        super().__init__(**(facts | differs))
        self.of = of
        self.description = of.description | {"then": [*of.description.get("then", []), step]}

    def files(self) -> list[Path]:
        return self.of.files()

    def contents(self) -> Contents:
        return self.of.contents()

    def first_contents(self) -> Contents:
        return self.of.first_contents()

    def close(self) -> None:
        self.of.close()
