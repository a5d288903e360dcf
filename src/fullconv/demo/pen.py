"""A pen for smooth filled shapes, and the colours of a street."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]
Point = tuple[float, float]

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
