"""Synthetic street scenes with dresses in them, drawn from a seed.

The demonstration needs pictures that nobody has to download or license, and whose answer is known.
A scene is a street: sky, houses, a road with cars, two pavements, and passers-by.
The packaged classifier looks for people in dresses. Everything else may be mistaken for one: people
in trousers and shirts of the same colours, parasols, cones, clipped trees.

Drawing functions take a `Pen`, a place in image pixels as (x, y), and the random generator; they
return nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullconv.demo.pen import Box, Drawing, Pen
from fullconv.demo.people import draw_dress, draw_walker
from fullconv.demo.street import (
    HOUSES_END,
    ROAD_BEGINS,
    ROAD_ENDS,
    draw_car,
    draw_clipped_tree,
    draw_cone,
    draw_lamp,
    draw_parasol,
    draw_postbox,
    draw_street,
    draw_tree,
)

DRESS_SIZE = (128, 64)
"""Height and width of the largest dress, in pixels: the window of the packaged classifier."""

SMALLEST_SCENE = (320, 512)
"""Least height and width at which three dresses always find room, in pixels."""


@dataclass(frozen=True)
class Scene:
    """A drawn street and where its dresses are.

    Attributes
    ----------
    image : numpy.ndarray
        Pixels (H, W, 3), uint8, RGB.
    dresses : tuple of (x0, y0, x1, y1)
        One half-open box in pixels per dress, head and feet included, from left to right.
    """

    image: NDArray[np.uint8]
    dresses: tuple[Box, ...]

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Scene(size=({height}, {width}), dresses={len(self.dresses)})"


@dataclass(frozen=True)
class _Placed:
    """A thing with its place; things that stand lower in the image are drawn later."""

    box: Box
    draw: Drawing


def _overlap(first: Box, second: Box, margin: int = 0) -> bool:
    """Return whether two boxes are less than `margin` pixels apart."""
    columns = first[0] < second[2] + margin and second[0] < first[2] + margin
    rows = first[1] < second[3] + margin and second[1] < first[3] + margin
    return columns and rows


def _apart(first: Box, second: Box) -> bool:
    """Return whether two dresses are so far apart that no window can belong to both.

    A dress lies within half a step (16) of its nearest window in each direction. So the nearest
    windows of dresses that are 96 columns or 160 rows apart do not overlap, and suppression of the
    overlapping windows of one cannot remove the other.
    """
    columns = abs(first[0] + first[2] - second[0] - second[2]) / 2
    rows = abs(first[1] + first[3] - second[1] - second[3]) / 2
    return columns >= DRESS_SIZE[1] + 32 or rows >= DRESS_SIZE[0] + 32


def _place_person(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """Return a box for a person on one of the pavements; boxes farther away are smaller."""
    H, W = size
    far, near = (HOUSES_END + 0.03, ROAD_BEGINS - 0.01), (ROAD_ENDS + 0.04, 1.0)
    low, high = far if rng.random() < 0.35 else near
    feet = rng.uniform(low, high)
    scale = 0.82 + 0.16 * (feet - far[0]) / (near[1] - far[0]) + rng.uniform(-0.02, 0.02)
    height, width = (round(length * scale) for length in DRESS_SIZE)
    y1 = min(H, round(feet * H))
    x0 = int(rng.integers(0, W - width + 1))
    return x0, y1 - height, x0 + width, y1


def place_dresses(size: tuple[int, int], rng: np.random.Generator) -> list[Box]:
    """Return three to six boxes for dresses, anywhere on the pavements but `_apart`."""
    wanted = int(rng.integers(3, 7))
    boxes: list[Box] = []
    for _ in range(400):
        box = _place_person(size, rng)
        if all(_apart(box, other) for other in boxes):
            boxes.append(box)
        if len(boxes) == wanted:
            break
    return boxes


def _place_thing(
    size: tuple[int, int],
    box_size: tuple[int, int],
    foot: tuple[float, float],
    rng: np.random.Generator,
) -> Box:
    """Return a box of `box_size` whose foot is in `foot` (shares of the height), maybe cut."""
    H, W = size
    height, width = box_size
    x0 = int(rng.integers(-width // 3, W - 2 * width // 3))
    y1 = round(rng.uniform(*foot) * H)
    return x0, y1 - height, x0 + width, y1


def _place_others(
    size: tuple[int, int], dresses: Sequence[Box], rng: np.random.Generator
) -> list[_Placed]:
    """Return everything else that stands in the street, none of it in front of a dress."""
    W = size[1]
    far, near = (HOUSES_END + 0.03, ROAD_BEGINS - 0.02), (ROAD_ENDS + 0.03, 1.0)
    lanes = ((ROAD_BEGINS + 0.048, ROAD_BEGINS + 0.055), (ROAD_ENDS - 0.022, ROAD_ENDS - 0.012))
    cars: list[_Placed] = []
    for low, high, box_size in (lanes[0] + ((46, 122),), lanes[1] + ((50, 132),)):
        for _ in range(int(rng.poisson(2.5 * W / 1000))):
            car = _place_thing(size, box_size, (low, high), rng)
            if not any(_overlap(car, other.box, 12) for other in cars):
                cars.append(_Placed(car, draw_car))
    # How many per thousand columns, what, its height and width, and where its foot may be.
    stock: tuple[tuple[float, Drawing, tuple[int, int], tuple[float, float]], ...] = (
        (3, draw_tree, (150, 96), (far[0] - 0.01, far[0])),
        (3, draw_lamp, (186, 44), (ROAD_ENDS + 0.02, ROAD_ENDS + 0.025)),
        (2, draw_parasol, (118, 88), near),
        (2, draw_clipped_tree, (96, 42), near),
        (1, draw_clipped_tree, (80, 36), far),
        (1, draw_postbox, (56, 28), near),
        (2, draw_cone, (34, 28), (ROAD_ENDS + 0.03, ROAD_ENDS + 0.10)),
    )
    placed: list[_Placed] = []

    def place(box: Box, draw: Drawing) -> None:
        taken = [*dresses, *(other.box for other in placed)]
        if not any(_overlap(box, other, 3) for other in taken):
            placed.append(_Placed(box, draw))

    for _ in range(max(4, W // 120)):
        place(_place_person(size, rng), draw_walker)
    for per_thousand, draw, box_size, foot in stock:
        for _ in range(int(rng.poisson(per_thousand * W / 1000))):
            place(_place_thing(size, box_size, foot, rng), draw)
    return cars + placed


def draw_scene(seed: int, size: tuple[int, int] = (512, 1024)) -> Scene:
    """Draw the street that belongs to a seed.

    Parameters
    ----------
    seed : int
        Any non-negative integer; equal seeds and sizes give equal pixels.
    size : (height, width)
        Size of the image in pixels, at least `SMALLEST_SCENE`. People keep their size in pixels,
        so that a larger image shows more street, not larger dresses.

    Returns
    -------
    Scene
        The image (H, W, 3) and three to six dresses, inside the image, apart from each other and
        not hidden, each 0.8 to 1.0 of `DRESS_SIZE`.

    Raises
    ------
    ValueError
        When `size` is smaller than `SMALLEST_SCENE`.
    """
    if size[0] < SMALLEST_SCENE[0] or size[1] < SMALLEST_SCENE[1]:
        raise ValueError(
            f"draw_scene(seed={seed}, size={size}): expected a size of at least {SMALLEST_SCENE} "
            f"(height, width), because fewer pixels leave no room for three dresses"
        )
    rng = np.random.default_rng(seed)
    pen = Pen(size)
    draw_street(pen, rng)
    return _people(pen, place_dresses(size, rng), rng)


def draw_without_dresses(seed: int, size: tuple[int, int] = (512, 1024)) -> NDArray[np.uint8]:
    """Draw a street (H, W, 3) with everything but dresses; other things take their room.

    Equal seeds and sizes give equal pixels, but another street than `draw_scene` draws.
    """
    rng = np.random.default_rng(seed)
    pen = Pen(size)
    draw_street(pen, rng)
    return _people(pen, [], rng).image


def _people(pen: Pen, dresses: Sequence[Box], rng: np.random.Generator) -> Scene:
    """Return the street on a pen's canvas with dresses, passers-by and things in it."""
    size = pen.size
    things = _place_others(size, dresses, rng) + [_Placed(box, draw_dress) for box in dresses]
    for thing in sorted(things, key=lambda thing: thing.box[3]):
        thing.draw(pen, thing.box, rng)
    # Grain keeps flat areas from being one exact colour, which no photograph has.
    grain = rng.normal(0, 2.5, (*size, 1))
    image = np.clip(pen.pixels() + grain, 0, 255).astype(np.uint8)
    return Scene(image, tuple(sorted(dresses)))
