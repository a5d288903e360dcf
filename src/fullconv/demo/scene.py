"""Synthetic street scenes with dresses in them, drawn from a seed.

The demonstration needs pictures that nobody has to download or license, and whose answer is known.
A scene is a street: sky, houses, a road with cars, two pavements, and passers-by.
Those who wear a dress are what the packaged classifier looks for; everything else is there to be
mistaken for one: people in trousers and shirts of the same colours, parasols, cones, clipped trees.

Drawing functions take a `Pen`, a place in image pixels as (x, y), and the random generator; they
return nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
Point = tuple[float, float]

DRESS_SIZE = (128, 64)
"""Height and width of the largest dress, in pixels: the window of the packaged classifier."""

SMALLEST_SCENE = (320, 512)
"""Least height and width at which three dresses always find room, in pixels."""

# The canvas is drawn larger than the image and averaged down, because Pillow draws hard edges.
SUPERSAMPLING = 3

SKIN: tuple[Colour, ...] = ((244, 208, 180), (224, 172, 134), (176, 118, 82), (112, 72, 52))
HAIR: tuple[Colour, ...] = (
    (44, 34, 32),
    (92, 58, 38),
    (150, 98, 52),
    (214, 170, 92),
    (132, 52, 36),
)
CLOTHES: tuple[Colour, ...] = (
    (204, 44, 62),
    (226, 92, 122),
    (236, 142, 54),
    (240, 194, 66),
    (46, 142, 116),
    (38, 112, 176),
    (112, 74, 160),
    (30, 52, 104),
    (158, 34, 92),
    (72, 170, 190),
)
TROUSERS: tuple[Colour, ...] = (
    (46, 52, 66),
    (58, 78, 118),
    (92, 84, 74),
    (128, 108, 84),
    (38, 38, 42),
)
FACADES: tuple[Colour, ...] = (
    (226, 196, 160),
    (214, 164, 132),
    (194, 130, 108),
    (176, 186, 178),
    (208, 204, 190),
    (158, 172, 188),
    (228, 210, 172),
)
SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((108, 164, 214), (214, 230, 238)),
    ((128, 178, 208), (244, 226, 198)),
    ((112, 132, 186), (248, 204, 170)),
)
FOLIAGE: tuple[Colour, ...] = ((92, 142, 76), (72, 122, 80), (120, 156, 74), (142, 148, 60))
WHITE: Colour = (246, 243, 236)
DARK: Colour = (44, 46, 54)


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


class Pen:
    """Draws filled shapes on an enlarged canvas; every coordinate and length is an image pixel.

    Parameters
    ----------
    size : (height, width)
        Size of the image in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._image = Image.new("RGB", (size[1] * SUPERSAMPLING, size[0] * SUPERSAMPLING))
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Iterable[Point], colour: Colour) -> None:
        """Fill the polygon through `points` (x, y)."""
        self._draw.polygon([(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points], fill=colour)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: Colour) -> None:
        """Fill the half-open rectangle."""
        self.polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill the ellipse around (x, y) with half-axes `rx` and `ry`."""
        box = [(x - rx) * SUPERSAMPLING, (y - ry) * SUPERSAMPLING]
        box += [(x + rx) * SUPERSAMPLING, (y + ry) * SUPERSAMPLING]
        self._draw.ellipse(box, fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Stroke the open path through `points` with round ends and joints."""
        enlarged = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in points]
        self._draw.line(enlarged, fill=colour, width=max(1, round(width * SUPERSAMPLING)))
        for x, y in points:
            self.ellipse(x, y, width / 2, width / 2, colour)

    def gradient(self, y0: int, y1: int, top: Colour, bottom: Colour) -> None:
        """Fill the rows [y0, y1) of the whole width, from `top` to `bottom`."""
        for y in range(y0, y1):
            colour = mix(top, bottom, (y - y0) / (y1 - y0))
            self.rectangle(0, y, self.size[1], y + 1, colour)

    def colour_at(self, x: float, y: float) -> Colour:
        """Return the colour drawn so far at (x, y), which may lie just outside the image."""
        H, W = self.size
        place = (
            int(np.clip(x, 0, W - 1)) * SUPERSAMPLING,
            int(np.clip(y, 0, H - 1)) * SUPERSAMPLING,
        )
        red, green, blue = self._image.getpixel(place)  # type: ignore[misc]
        return red, green, blue

    def pixels(self) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) at its own size, with smooth edges."""
        return np.asarray(self._image.reduce(SUPERSAMPLING), dtype=np.uint8)


class Drawing(Protocol):
    """A function that draws one thing into its box."""

    def __call__(self, pen: Pen, box: Box, rng: np.random.Generator) -> None: ...


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return the colour that is `share` (0 to 1) of the way from `first` to `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def pick(rng: np.random.Generator, choices: Sequence[Colour], jitter: int = 12) -> Colour:
    """Return one of `choices`, each channel moved by up to `jitter`."""
    colour = np.asarray(choices[int(rng.integers(len(choices)))])
    red, green, blue = np.clip(colour + rng.integers(-jitter, jitter + 1, 3), 0, 255).tolist()
    return red, green, blue


def inside(box: Box) -> Callable[[float, float], Point]:
    """Return the map from (across, down) in 0..1 to (x, y) inside `box`."""
    x0, y0, x1, y1 = box
    return lambda u, v: (x0 + u * (x1 - x0), y0 + v * (y1 - y0))


# People. Their box is 1:2 and they fill its height; proportions are shares of the box.


def draw_shadow(pen: Pen, box: Box) -> None:
    """Draw the soft shadow on the ground at the foot of `box`."""
    x0, _, x1, y1 = box
    ground = pen.colour_at(x0, y1)
    pen.ellipse((x0 + x1) / 2, y1 - 4, (x1 - x0) * 0.40, 3.0, mix(ground, DARK, 0.35))


def draw_head(pen: Pen, box: Box, skin: Colour, rng: np.random.Generator, long: bool) -> None:
    """Draw a head with hair (long, or short) at the top of `box`."""
    at, height = inside(box), box[3] - box[1]
    hair = pick(rng, HAIR)
    x, y = at(0.5, 0.1)
    r = height * 0.062
    style = int(rng.integers(3)) if long else 3
    if style == 0:  # to the shoulders
        pen.ellipse(x, y + r * 0.9, r * 1.3, r * 2.0, hair)
    elif style == 1:  # a bun
        pen.ellipse(x, y - r * 1.05, r * 0.5, r * 0.42, hair)
    pen.ellipse(x, y - r * 0.12, r * 1.12, r * 1.12, hair)
    pen.line((at(0.5, 0.12), at(0.5, 0.18)), height * 0.04, mix(skin, DARK, 0.12))
    pen.ellipse(x, y + r * 0.22, r * 0.82, r * 0.95, skin)
    if style == 2:  # a summer hat
        hat = mix(pick(rng, CLOTHES), WHITE, 0.6)
        pen.ellipse(x, y - r * 0.35, r * 1.75, r * 0.42, hat)
        pen.ellipse(x, y - r * 0.7, r * 0.95, r * 0.62, hat)


def draw_dress(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a passer-by in a dress with a wide skirt: what the classifier looks for."""
    at, height = inside(box), box[3] - box[1]
    skin, cloth = pick(rng, SKIN, 6), pick(rng, CLOTHES)
    shade, accent = mix(cloth, DARK, 0.25), mix(cloth, WHITE, 0.75)
    hem, half = rng.uniform(0.76, 0.84), rng.uniform(0.40, 0.46)
    sway = rng.uniform(-0.03, 0.03)
    draw_shadow(pen, box)
    for side in (-1, 1):
        foot = at(0.5 + side * rng.uniform(0.07, 0.13), 0.965)
        pen.line((at(0.5 + side * 0.08, hem - 0.02), foot), height * 0.032, skin)
        pen.ellipse(foot[0], foot[1] + 1, height * 0.026, height * 0.018, shade)
    draw_head(pen, box, skin, rng, long=True)
    elbow = rng.uniform(0.22, 0.30)
    for side in (-1, 1):
        hand = at(0.5 + side * rng.uniform(0.22, 0.34), rng.uniform(0.44, 0.52))
        arm = (at(0.5 + side * 0.17, 0.20), at(0.5 + side * elbow, 0.34), hand)
        pen.line(arm, height * 0.030, skin)
    left, right = 0.5 - half + sway, 0.5 + half + sway
    across = np.linspace(0, 1, 13)
    edge = [at(left + (right - left) * t, hem + 0.035 * np.sin(np.pi * t)) for t in across]
    pen.polygon([at(0.43, 0.40), at(0.33, 0.52), *edge, at(0.67, 0.52), at(0.57, 0.40)], cloth)
    for fold in (0.25, 0.5, 0.75):
        foot_of_fold = at(left + (right - left) * fold, hem + 0.02)
        pen.line((at(0.46 + 0.08 * fold, 0.46), foot_of_fold), 1.2, shade)
    pattern = int(rng.integers(4))
    if pattern == 1:  # dots
        for row, v in enumerate(np.arange(0.50, hem, 0.075)):
            spread = half * (v - 0.36) / (hem - 0.36) * 0.82
            for u in np.linspace(-spread, spread, 3 + row):
                pen.ellipse(*at(0.5 + sway + u, v), 1.7, 1.7, accent)
    elif pattern == 2:  # a band along the hem
        low = [(x, y - height * 0.05) for x, y in edge]
        pen.line(low[1:-1], 3.0, accent)
    shoulders = ((0.34, 0.18), (0.44, 0.175), (0.5, 0.215), (0.56, 0.175), (0.66, 0.18))
    waist = ((0.63, 0.27), (0.58, 0.41), (0.42, 0.41), (0.37, 0.27))
    pen.polygon([at(u, v) for u, v in shoulders + waist], cloth)
    belt = accent if pattern != 3 else shade
    pen.line((at(0.43, 0.41), at(0.57, 0.41)), height * 0.022, belt)


def draw_walker(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a passer-by in shirt and trousers: as large and as colourful as a dress, but none."""
    at, height = inside(box), box[3] - box[1]
    skin, shirt, cloth = pick(rng, SKIN, 6), pick(rng, CLOTHES), pick(rng, TROUSERS)
    stance = rng.uniform(0.04, 0.17)
    draw_shadow(pen, box)
    for side in (-1, 1):
        foot = at(0.5 + side * stance, 0.965)
        leg = mix(cloth, DARK, 0.2 if side < 0 else 0.0)
        pen.line((at(0.5 + side * 0.075, 0.50), foot), height * 0.072, leg)
        pen.ellipse(foot[0] + 1.5, foot[1] + 1, height * 0.036, height * 0.02, DARK)
    draw_head(pen, box, skin, rng, long=bool(rng.random() < 0.4))
    for side in (-1, 1):
        hand = at(0.5 + side * rng.uniform(0.24, 0.34), rng.uniform(0.48, 0.54))
        sleeve = at(0.5 + side * 0.26, 0.35)
        pen.line((sleeve, hand), height * 0.03, skin)
        pen.line((at(0.5 + side * 0.18, 0.21), sleeve), height * 0.05, mix(shirt, DARK, 0.12))
    torso = ((0.30, 0.20), (0.42, 0.17), (0.58, 0.17), (0.70, 0.20), (0.66, 0.54), (0.34, 0.54))
    pen.polygon([at(u, v) for u, v in torso], shirt)
    if rng.random() < 0.4:
        pen.line((at(0.36, 0.20), at(0.64, 0.50)), 2.5, mix(cloth, WHITE, 0.3))


# Street furniture.


def draw_house(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a house: roof, rows of windows, and a shop with an awning at street level."""
    x0, y0, x1, y1 = box
    wall = pick(rng, FACADES)
    trim, pane = mix(wall, WHITE, 0.55), (88, 110, 132)
    roof = mix(wall, (110, 60, 56), 0.7)
    if rng.random() < 0.5:
        pen.polygon(((x0 - 3, y0), (x0 + 12, y0 - 22), (x1 - 12, y0 - 22), (x1 + 3, y0)), roof)
        chimney = x0 + 0.25 * (x1 - x0)
        pen.rectangle(chimney, y0 - 34, chimney + 10, y0 - 20, mix(roof, DARK, 0.2))
    pen.rectangle(x0, y0, x1, y1, wall)
    pen.rectangle(x0, y0, x1, y0 + 5, trim)
    shutter = mix(pick(rng, CLOTHES), wall, 0.35) if rng.random() < 0.5 else None
    columns = max(2, (x1 - x0) // 38)
    pitch = (x1 - x0) / columns
    shop = y1 - 54
    for y in range(y0 + 16, shop - 34, 44):
        for column in range(columns):
            x = x0 + (column + 0.5) * pitch
            lit = (250, 218, 142) if rng.random() < 0.2 else pane
            if shutter is not None:
                pen.rectangle(x - 15, y, x + 15, y + 28, shutter)
            pen.rectangle(x - 10, y - 1, x + 10, y + 29, trim)
            pen.rectangle(x - 8, y + 1, x + 8, y + 27, lit)
            pen.line(((x, y + 1), (x, y + 27)), 1.2, trim)
            pen.line(((x - 8, y + 10), (x + 8, y + 10)), 1.2, trim)
    pen.rectangle(x0, shop - 6, x1, shop - 2, trim)
    pen.rectangle(x0 + 8, shop + 8, x1 - 34, y1 - 8, mix(pane, DARK, 0.25))
    pen.polygon(
        ((x0 + 16, shop + 8), (x0 + 30, shop + 8), (x0 + 20, y1 - 8), (x0 + 8, y1 - 8)),
        mix(pane, WHITE, 0.2),
    )
    pen.rectangle(x1 - 27, shop + 6, x1 - 9, y1, mix(roof, DARK, 0.3))
    awning = pick(rng, CLOTHES)
    for index, x in enumerate(range(x0 + 4, x1 - 31, 9)):
        colour = WHITE if index % 2 else awning
        pen.polygon(((x, shop), (x + 9, shop), (x + 9, shop + 15), (x, shop + 15)), colour)
        pen.ellipse(x + 4.5, shop + 15, 4.5, 4, colour)


def draw_tree(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a street tree with a round crown."""
    at, width = inside(box), box[2] - box[0]
    leaves = pick(rng, FOLIAGE)
    pen.line((at(0.5, 0.5), at(0.5, 0.99)), width * 0.09, (104, 78, 58))
    pen.line((at(0.5, 0.72), at(0.68, 0.52)), width * 0.05, (104, 78, 58))
    for share, shift in ((-0.18, 0.05), (0.0, 0.0), (0.16, -0.03)):
        colour = mix(leaves, WHITE if share > 0 else DARK, abs(share))
        for _ in range(6):
            x, y = at(0.5 + shift + rng.uniform(-0.22, 0.22), 0.32 - share / 3)
            y += rng.uniform(-0.14, 0.14) * (box[3] - box[1])
            pen.ellipse(x, y, width * 0.24, width * 0.22, colour)


def draw_clipped_tree(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a conical tree in a pot: the outline of a skirt."""
    at, leaves = inside(box), pick(rng, FOLIAGE)
    pen.line((at(0.5, 0.6), at(0.5, 0.85)), 4, (104, 78, 58))
    pen.polygon((at(0.5, 0.0), at(0.12, 0.72), at(0.5, 0.76), at(0.88, 0.72)), leaves)
    pen.polygon((at(0.5, 0.0), at(0.5, 0.76), at(0.88, 0.72)), mix(leaves, DARK, 0.2))
    pot = pick(rng, ((178, 104, 76), (120, 124, 130)))
    pen.polygon((at(0.24, 0.82), at(0.76, 0.82), at(0.66, 1.0), at(0.34, 1.0)), pot)


def draw_parasol(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a café table under a parasol, in the colours of a dress."""
    at, cloth = inside(box), pick(rng, CLOTHES)
    pen.line((at(0.5, 0.05), at(0.5, 0.98)), 2.5, (150, 140, 128))
    for index in range(6):
        colour = WHITE if index % 2 else cloth
        foot = (at(index / 6, 0.33), at((index + 1) / 6, 0.33))
        pen.polygon((at(0.5, 0.02), *foot), colour)
        middle = at((index + 0.5) / 6, 0.33)
        pen.ellipse(*middle, (foot[1][0] - foot[0][0]) / 2, 3, colour)
    pen.ellipse(*at(0.5, 0.70), (box[2] - box[0]) * 0.3, 4, WHITE)
    pen.ellipse(*at(0.5, 0.98), 11, 3, (120, 112, 104))


def draw_cone(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a traffic cone."""
    at, cloth = inside(box), pick(rng, ((238, 112, 44),))
    pen.polygon((at(0.44, 0.0), at(0.56, 0.0), at(0.82, 0.9), at(0.18, 0.9)), cloth)
    pen.polygon((at(0.37, 0.32), at(0.63, 0.32), at(0.71, 0.58), at(0.29, 0.58)), WHITE)
    pen.rectangle(*at(0.02, 0.88), *at(0.98, 1.0), mix(cloth, DARK, 0.3))


def draw_postbox(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a pillar box in a dress's colour."""
    at, colour = inside(box), pick(rng, CLOTHES)
    x, y = at(0.5, 0.14)
    pen.ellipse(x, y, (box[2] - box[0]) * 0.5, (box[3] - box[1]) * 0.13, mix(colour, DARK, 0.2))
    pen.rectangle(*at(0.06, 0.16), *at(0.94, 0.95), colour)
    pen.rectangle(*at(0.22, 0.28), *at(0.78, 0.33), DARK)
    pen.rectangle(*at(0.0, 0.93), *at(1.0, 1.0), DARK)


def draw_lamp(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a lamp post with one or two lanterns."""
    at = inside(box)
    iron = mix(DARK, (70, 110, 96), float(rng.uniform(0, 0.6)))
    pen.line((at(0.5, 0.06), at(0.5, 0.98)), 4, iron)
    pen.polygon((at(0.4, 1.0), at(0.6, 1.0), at(0.56, 0.86), at(0.44, 0.86)), iron)
    for u in (0.16, 0.84):
        pen.line((at(0.5, 0.10), at(u, 0.07)), 2.5, iron)
        x, y = at(u, 0.11)
        pen.polygon(
            ((x - 5, y - 9), (x + 5, y - 9), (x + 7, y + 4), (x - 7, y + 4)), (255, 232, 168)
        )
        pen.polygon(((x - 7, y - 8), (x, y - 14), (x + 7, y - 8)), iron)


def draw_car(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a car from its side."""
    at, height = inside(box), box[3] - box[1]
    paint = pick(rng, (*CLOTHES, WHITE, (150, 158, 166), DARK))
    flip: Callable[[float], float] = (lambda u: 1 - u) if rng.random() < 0.5 else (lambda u: u)
    x, y = at(0.5, 0.97)
    pen.ellipse(x, y, (box[2] - box[0]) * 0.5, 4, (62, 64, 70))
    cabin = ((0.20, 0.46), (0.33, 0.02), (0.66, 0.02), (0.80, 0.46))
    body = ((0.01, 0.56), (0.04, 0.44), (0.80, 0.40), (0.97, 0.50), (1.0, 0.82), (0.01, 0.82))
    pen.polygon([at(flip(u), v) for u, v in cabin], paint)
    pen.polygon([at(flip(u), v) for u, v in body], paint)
    glass = (176, 202, 214)
    for pane in (
        ((0.26, 0.44), (0.36, 0.10), (0.48, 0.10), (0.48, 0.44)),
        ((0.51, 0.44), (0.51, 0.10), (0.64, 0.10), (0.75, 0.44)),
    ):
        pen.polygon([at(flip(u), v) for u, v in pane], glass)
    pen.rectangle(*at(0.01, 0.70), *at(1.0, 0.83), mix(paint, DARK, 0.25))
    pen.ellipse(*at(flip(0.97), 0.60), 3, 3, (255, 240, 190))
    for u in (0.22, 0.78):
        pen.ellipse(*at(u, 0.82), height * 0.19, height * 0.19, (36, 36, 40))
        pen.ellipse(*at(u, 0.82), height * 0.09, height * 0.09, (170, 172, 176))


# The street: where things stand, as shares of the image's height.

HOUSES_END, ROAD_BEGINS, ROAD_ENDS = 0.50, 0.60, 0.735


def draw_street(pen: Pen, rng: np.random.Generator) -> None:
    """Draw what never moves: sky, clouds, houses, pavements and road."""
    H, W = pen.size
    street, road, kerb = round(H * HOUSES_END), round(H * ROAD_BEGINS), round(H * ROAD_ENDS)
    top, bottom = SKIES[int(rng.integers(len(SKIES)))]
    pen.gradient(0, street, top, bottom)
    pen.ellipse(rng.uniform(0.1, 0.9) * W, H * 0.09, 20, 20, mix(bottom, (255, 244, 200), 0.8))
    for _ in range(max(3, W // 200)):
        x, y = rng.uniform(0, W), rng.uniform(0.03, 0.22) * H
        for _ in range(5):
            rx = rng.uniform(18, 36)
            pen.ellipse(
                x + rng.uniform(-40, 40), y + rng.uniform(-5, 5), rx, rx / 3, mix(top, WHITE, 0.7)
            )
    left = -int(rng.integers(0, 60))
    while left < W:
        right = left + int(rng.integers(96, 190))
        roof = round(street - rng.uniform(0.26, 0.42) * H)
        draw_house(pen, (left, roof, right, street), rng)
        left = right + (int(rng.integers(8, 40)) if rng.random() < 0.2 else 0)
    paving = mix((206, 200, 190), bottom, 0.15)
    pen.rectangle(0, street, W, road, mix(paving, DARK, 0.08))
    pen.rectangle(0, road - 4, W, road, mix(paving, WHITE, 0.35))
    pen.rectangle(0, road, W, kerb, (104, 106, 112))
    middle = (road + kerb) / 2
    for x in range(-int(rng.integers(0, 56)), W, 56):
        pen.rectangle(x, middle - 1.5, x + 30, middle + 1.5, (222, 216, 200))
    pen.rectangle(0, kerb, W, H, paving)
    pen.rectangle(0, kerb, W, kerb + 5, mix(paving, WHITE, 0.4))
    # The joints of the slabs run to a vanishing point, which gives the flat drawing its depth.
    joint = mix(paving, DARK, 0.14)
    for share in (0.12, 0.30, 0.56, 0.84):
        y = kerb + 5 + share * (H - kerb - 5)
        pen.line(((0, y), (W, y)), 1, joint)
    for x in range(-W, 2 * W, 72):
        far = W / 2 + (x - W / 2) * 0.8
        pen.line(((far, kerb + 5), (x, H)), 1, joint)


@dataclass(frozen=True)
class _Placed:
    """A thing with its place; what stands lower in the image is drawn later."""

    box: Box
    draw: Drawing


def _overlap(first: Box, second: Box, margin: int = 0) -> bool:
    """Say whether two boxes come nearer to each other than `margin` pixels."""
    columns = first[0] < second[2] + margin and second[0] < first[2] + margin
    rows = first[1] < second[3] + margin and second[1] < first[3] + margin
    return columns and rows


def _apart(first: Box, second: Box) -> bool:
    """Say whether no window on the classifier's grid can belong to both dresses.

    A dress lies within half a step (16) of its nearest window in each direction, so that dresses
    96 columns or 160 rows apart have nearest windows that do not overlap at all: suppressing the
    overlapping windows of one can then never remove the other.
    """
    columns = abs(first[0] + first[2] - second[0] - second[2]) / 2
    rows = abs(first[1] + first[3] - second[1] - second[3]) / 2
    return columns >= DRESS_SIZE[1] + 32 or rows >= DRESS_SIZE[0] + 32


def _place_person(size: tuple[int, int], rng: np.random.Generator) -> Box:
    """Return a box for a person on one of the pavements: the farther away, the smaller."""
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
    dresses = place_dresses(size, rng)
    things = _place_others(size, dresses, rng) + [_Placed(box, draw_dress) for box in dresses]
    for thing in sorted(things, key=lambda thing: thing.box[3]):
        thing.draw(pen, thing.box, rng)
    # Grain keeps flat areas from being one exact colour, which no photograph has.
    grain = rng.normal(0, 2.5, (*size, 1))
    image = np.clip(pen.pixels() + grain, 0, 255).astype(np.uint8)
    return Scene(image, tuple(sorted(dresses)))
