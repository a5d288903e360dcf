"""Boxes drawn on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from fullconv.detections.palette import colour_of

EDGE = (20, 20, 24)
"""Colour around every line and caption, so that they stand out on any ground."""

LINE = 400
"""Pixels of the picture's longer side per pixel of a line's width, which is at least two."""


def draw_boxes(
    picture: Any,
    boxes: ArrayLike,
    labels: ArrayLike,
    scores: ArrayLike,
    classes: Sequence[str],
    scale: float = 1.0,
) -> Image.Image:
    """Return a picture with boxes drawn on it, in one colour for each class.

    The class and the score stand above a box where it is wide enough for them. The best boxes are
    drawn last, over the others.

    Parameters
    ----------
    picture : PIL.Image.Image or numpy.ndarray
        Any picture, or pixels (H, W) or (H, W, 3), uint8. It stays as it is.
    boxes : array_like
        ``(n, 4)`` as x0, y0, x1, y1 in pixels of the original image, half-open.
    labels, scores : array_like
        ``(n,)``: class numbers, and scores.
    classes : sequence of str
        Class names.
    scale : float
        Pixels of the picture for one of the original image: 0.1 for a picture ten times smaller.
    """
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(np.asarray(picture))
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    width = max(2, round(max(image.size) / LINE))
    each = np.asarray(boxes, dtype=np.float64).reshape(-1, 4) * scale
    numbers, values = np.asarray(labels, dtype=np.int64), np.asarray(scores, dtype=np.float64)
    for place in np.argsort(values, kind="stable"):
        label = int(numbers[place])
        x0, y0, x1, y1 = (round(edge) for edge in each[place].tolist())
        # A box smaller than a pixel of a small picture is still a dot.
        corners = (x0, y0, max(x1, x0 + 1), max(y1, y0 + 1))
        outline(draw, corners, colour_of(label), width)
        _caption(draw, corners, f"{classes[label]} {values[place]:.2f}", colour_of(label), width)
    return image


def outline(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    colour: tuple[int, int, int],
    width: int,
) -> None:
    """Draw the outline of a half-open box within the box, in a dark edge one pixel wide outside."""
    x0, y0, x1, y1 = box
    draw.rectangle((x0 - 1, y0 - 1, x1, y1), outline=EDGE, width=width + 2)
    draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=colour, width=width)


def _caption(
    draw: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    text: str,
    colour: tuple[int, int, int],
    line: int,
) -> None:
    """Write a text above a box, or inside its top where the picture ends, if it is wide enough."""
    size = max(10, 5 * line)
    left, top, right, bottom = draw.textbbox((0, 0), text, font_size=size)
    high, wide = round(bottom - top) + 4, round(right - left) + 4
    x, y = box[0], box[1] - high
    if wide > box[2] - box[0]:
        return
    if y < 0:
        y = box[1] + line
    draw.rectangle((x - 1, y - 1, x + wide, y + high), fill=colour, outline=EDGE)
    draw.text((x + 2 - left, y + 2 - top), text, fill=EDGE, font_size=size)
