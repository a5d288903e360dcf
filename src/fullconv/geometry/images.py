"""The shape of the images that a converted model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fullconv.errors import ImageError
from fullconv.geometry.grid import Grid
from fullconv.graph.graph import Graph
from fullconv.wording import sized, unit

Takes = Literal["map", "cells", "features"]
"""The layout of a classifier's crops. "map": ``(N, C, *window)``. "cells": ``(N, *window)``,
without channels. "features": vectors ``(N, C)``, where a window is one pixel."""

LETTERS = {1: ("L",), 2: ("H", "W"), 3: ("D", "H", "W")}


@dataclass(frozen=True)
class ImageShape:
    """The channels of the images, and the grid of windows in them.

    Attributes
    ----------
    channels : int
        Channels; 1 where the classifier's crops have no channel axis.
    grid : Grid
        Window and step.
    takes : str
        Layout of the classifier's crops; see `Takes`.
    fixed : tuple of int
        Axes along which every image must be as long as the window.
    """

    channels: int
    grid: Grid
    takes: Takes = "map"
    fixed: tuple[int, ...] = ()

    @classmethod
    def of(cls, graph: Graph, grid: Grid, fixed: Sequence[int] = ()) -> ImageShape:
        """Return the shape of the images that a classifier's converted network takes."""
        axes = len(graph.shapes[graph.image]) - 1
        takes: Takes = "map"
        if graph.takes_cells:
            takes = "cells"
        elif axes <= grid.dimensions:
            takes = "features"
        return cls(graph.channels, grid, takes, tuple(sorted(fixed)))

    @property
    def axes(self) -> str:
        """The axes of images, as messages show them: ``(N, 3, H, W)``."""
        channels = () if self.takes == "cells" else (str(self.channels),)
        return f"({', '.join(('N', *channels, *LETTERS[self.grid.dimensions]))})"

    @property
    def two_windows(self) -> tuple[int, ...]:
        """The size of an image of two windows along its last free axis, and of one elsewhere."""
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
            If the numbers are not real, or the rank, the number of channels or the size along a
            fixed axis differs.
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
        """Return the network's images as ``(N, C, *size)``."""
        return images[:, None] if self.takes == "cells" else images

    def from_map(self, images: Any) -> Any:
        """Return images ``(N, C, *size)`` in the layout that the network takes."""
        return images[:, 0] if self.takes == "cells" else images

    def as_crops(self, crops: Any) -> Any:
        """Return crops ``(N, C, *window)`` in the layout that the classifier takes."""
        return taken_as(crops, self.takes)


def in_place_of(takes: Takes) -> Takes:
    """Return the layout of the converted network's crops, from that of the classifier's."""
    return "map" if takes == "features" else takes


def ranks(dimensions: int) -> str:
    """Return the axes of the arrays that can be read, for messages: "(H, W) or (H, W, C)"."""
    axes = ", ".join(LETTERS[dimensions])
    return f"({axes}{',' * (dimensions == 1)}) or ({axes}, C)"


def taken_as(crops: Any, takes: Takes) -> Any:
    """Return crops ``(N, C, *window)`` in the layout ``takes``."""
    if takes == "features":
        return crops.reshape(crops.shape[:2])
    return crops[:, 0] if takes == "cells" else crops


NUMBERS = ("float", "bfloat", "int", "uint", "bool")
"""The beginnings of the names of real-number types, in every framework."""


def check_numbers(call: str, dtype: object) -> None:
    """Refuse complex numbers, text, dates and objects.

    Raises
    ------
    ImageError
        If the type is not one of real numbers; it names the type.
    """
    name = str(getattr(dtype, "name", dtype)).removeprefix("torch.")
    if not name.startswith(NUMBERS):
        raise ImageError(
            f"{call}: expected whole or floating-point numbers; got {name}. Convert the array."
        )
