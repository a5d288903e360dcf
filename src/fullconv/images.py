"""What a converted model takes: the shape of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fullconv.errors import ImageError
from fullconv.geometry import Grid
from fullconv.graph import Graph
from fullconv.wording import sized, unit

Takes = Literal["map", "cells", "features"]
"""What a classifier takes as a crop: ``(N, C, *window)``; ``(N, *window)``, without channels; or,
where a window is one pixel, vectors of features ``(N, C)``."""

LETTERS = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


@dataclass(frozen=True)
class ImageShape:
    """Channels of the images, and the windows that lie in them.

    Attributes
    ----------
    channels : int
        Channels; 1 where the classifier takes its crops without an axis for them.
    grid : Grid
        Window and step.
    takes : str
        What the classifier takes as a crop; see `Takes`.
    fixed : tuple of int
        Axes along which images must be as long as the window.
    """

    channels: int
    grid: Grid
    takes: Takes = "map"
    fixed: tuple[int, ...] = ()

    @classmethod
    def of(cls, graph: Graph, grid: Grid, fixed: Sequence[int] = ()) -> ImageShape:
        """Return what the network takes that a classifier becomes."""
        axes = len(graph.shapes[graph.image]) - 1
        takes: Takes = "map"
        if axes == grid.dimensions:
            takes = "cells"
        elif axes < grid.dimensions:
            takes = "features"
        return cls(graph.channels, grid, takes, tuple(sorted(fixed)))

    @property
    def axes(self) -> str:
        """The axes of images, as messages name them: ``(N, 3, H, W)``."""
        channels = () if self.takes == "cells" else (str(self.channels),)
        return f"({', '.join(('N', *channels, *LETTERS[self.grid.dimensions]))})"

    @property
    def two_windows(self) -> tuple[int, ...]:
        """The size of an image of two windows, along an axis on which it may be larger."""
        size = list(self.grid.window)
        free = [axis for axis in range(len(size)) if axis not in self.fixed]
        if free:
            size[free[-1]] += self.grid.step[free[-1]]
        return tuple(size)

    def check(self, shape: Sequence[int], dtype: object) -> None:
        """Check the shape and type of images that the network is called with.

        Raises
        ------
        ImageError
            If they are no real numbers, have another rank or number of channels, or another size
            along a fixed axis.
        """
        check_numbers("fcn(images)", dtype)
        rank = len(self.axes.split(","))
        if len(shape) != rank:
            number = {2: "two", 3: "three", 4: "four", 5: "five"}[rank]
            raise ImageError(
                f"fcn(images): expected {self.axes}, {number} axes; got shape {tuple(shape)}. For "
                f"one image add the first axis: images[None]."
            )
        if self.takes != "cells" and shape[1] != self.channels:
            raise ImageError(
                f"fcn(images): the model takes {self.channels} channels, {self.axes}; got "
                f"{shape[1]} in shape {tuple(shape)}. Convert the image, or move its channel axis "
                f"to the second place."
            )
        self.check_size(shape[rank - self.grid.dimensions :])

    def check_size(self, size: Sequence[int]) -> None:
        """Check that an image is as long as the window along every fixed axis."""
        window = self.grid.window
        if any(size[axis] != window[axis] for axis in self.fixed):
            things = unit(self.grid.dimensions, many=True)
            axis = next(axis for axis in self.fixed if size[axis] != window[axis])
            raise ImageError(
                f"the network was converted for images of {window[axis]} {things} along axis "
                f"{axis}, as long as its window of {sized(window)}; got {sized(size)}. Convert it "
                f"again without image=, or for this image."
            )

    def as_map(self, images: Any) -> Any:
        """Return images as the network takes them as ``(N, C, *size)``."""
        return images[:, None] if self.takes == "cells" else images

    def from_map(self, images: Any) -> Any:
        """Return images ``(N, C, *size)`` as the network takes them."""
        return images[:, 0] if self.takes == "cells" else images

    def as_crops(self, crops: Any) -> Any:
        """Return crops ``(N, C, *window)`` as the classifier takes them."""
        return taken_as(crops, self.takes)


def in_place_of(takes: Takes) -> Takes:
    """Return what the converted network takes as a crop, in place of a classifier."""
    return "map" if takes == "features" else takes


def ranks(dimensions: int) -> str:
    """Return the axes of arrays that are read, as messages name them: (H, W) or (H, W, C)."""
    axes = ", ".join(LETTERS[dimensions])
    return f"({axes}{',' * (dimensions == 1)}) or ({axes}, C)"


def taken_as(crops: Any, takes: Takes) -> Any:
    """Return crops ``(N, C, *window)`` as a classifier takes them."""
    if takes == "features":
        return crops.reshape(crops.shape[:2])
    return crops[:, 0] if takes == "cells" else crops


NUMBERS = ("float", "bfloat", "int", "uint", "bool")
"""How the names of types begin that are real numbers, in every framework."""


def check_numbers(call: str, dtype: object) -> None:
    """Refuse complex numbers, text, dates and objects.

    Raises
    ------
    ImageError
        With the name of the type.
    """
    name = str(getattr(dtype, "name", dtype)).removeprefix("torch.")
    if not name.startswith(NUMBERS):
        raise ImageError(
            f"{call}: expected whole or floating-point numbers; got {name}. Convert the array."
        )
