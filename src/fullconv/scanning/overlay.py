"""A heatmap drawn over the image that it was computed from."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

# From violet over red to yellow: the ramp reads as heat, and grows brighter with the score, so that
# it survives black-and-white printing and every common colour blindness.
HEAT_AT = (0.0, 0.25, 0.5, 0.75, 1.0)
HEAT_RGB = ((70, 20, 90), (170, 35, 95), (230, 60, 55), (250, 140, 30), (255, 225, 70))
STRONGEST_TINT = 0.72

# Pixels that score 0 are greyed and darkened, so that the heat stands out from a colourful image.
COLOUR_KEPT, LIGHT_KEPT = 0.3, 0.85

OUTLINE, OUTLINE_EDGE = (255, 255, 255), (20, 20, 24)


Centres = tuple[NDArray[np.float64], NDArray[np.float64]]


def _spread_rows(
    values: NDArray[np.float64], centres: NDArray[np.float64], step: float, length: int
) -> NDArray[np.float64]:
    """Return `values` along axis 0 spread over `length` pixels, linear between window centres.

    The centre of pixel `p` is ``p + 0.5``. Beyond the first and the last centre the values fall to
    0 within a step, as if the windows outside scored nothing.
    """
    padded = np.pad(values, ((1, 1), (0, 0)))
    at = np.concatenate([[centres[0] - step], centres, [centres[-1] + step]])
    pixel = np.clip(np.arange(length) + 0.5, at[0], at[-1])
    above = np.clip(np.searchsorted(at, pixel, "right") - 1, 0, len(at) - 2)
    share = ((pixel - at[above]) / (at[above + 1] - at[above]))[:, None]
    spread: NDArray[np.float64] = padded[above] * (1 - share) + padded[above + 1] * share
    return spread


def spread_heatmap(
    heatmap: ArrayLike,
    grid_window: tuple[float, float],
    step: float | tuple[float, float],
    size: tuple[int, int],
    centres: Centres | None = None,
) -> NDArray[np.float64]:
    """Return the heatmap at the image's size, each cell at the centre of its window.

    Parameters
    ----------
    heatmap : array_like
        Probabilities (rows, columns) in 0..1, one per window.
    grid_window : (height, width)
        Size of a window in pixels.
    step : number or (y, x)
        Distance between neighbouring windows in pixels.
    size : (height, width)
        Size of the image in pixels.
    centres : (array, array), optional
        Centres of the windows of every row and of every column, in pixels; by default a step apart.

    Returns
    -------
    numpy.ndarray
        Probabilities (H, W), linear between the centres of the windows, falling to 0 within a
        step outside the outermost centres.
    """
    scores = np.clip(np.asarray(heatmap, dtype=np.float64), 0, 1)
    if scores.ndim != 2 or scores.size == 0:
        raise ValueError(
            f"draw_overlay: expected a heatmap of shape (rows, columns), got {scores.shape}; "
            f"choose one image and one class, as in scores[0, 1]"
        )
    steps = step if isinstance(step, tuple) else (step, step)
    if centres is None:
        y, x = (
            np.arange(count) * each + window / 2
            for count, each, window in zip(scores.shape, steps, grid_window, strict=True)
        )
    else:
        y, x = centres
    rows = _spread_rows(scores, y, steps[0], size[0])
    return _spread_rows(rows.T, x, steps[1], size[1]).T


def _outline(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
    """Draw the outline of a half-open box, white within a dark edge, visible on any ground."""
    x0, y0, x1, y1 = (round(edge) for edge in box)
    draw.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=6, outline=OUTLINE_EDGE, width=5)
    draw.rounded_rectangle((x0 + 1, y0 + 1, x1 - 2, y1 - 2), radius=5, outline=OUTLINE, width=3)


def draw_overlay(
    image: NDArray[np.uint8],
    heatmap: ArrayLike,
    grid_window: tuple[float, float],
    step: float | tuple[float, float],
    boxes: Iterable[tuple[float, float, float, float]] = (),
    centres: Centres | None = None,
) -> Image.Image:
    """Draw a heatmap over its image, and an outline around each detected window.

    Parameters
    ----------
    image : numpy.ndarray
        Pixels (H, W, 3), uint8, RGB.
    heatmap : array_like
        Probabilities (rows, columns) in 0..1 of one class, one per window.
    grid_window : (height, width)
        Size of a window in pixels.
    step : number or (y, x)
        Distance between neighbouring windows in pixels.
    boxes : iterable of (x0, y0, x1, y1)
        Half-open boxes of the detected windows, in pixels.
    centres : (array, array), optional
        As for `spread_heatmap`.

    Returns
    -------
    PIL.Image.Image
        An RGB picture of the image's size: grey where the score is 0, in colour and tinted from
        red to yellow where it is high.

    Raises
    ------
    ValueError
        If the heatmap does not have two axes.
    """
    height, width = image.shape[:2]
    heat = spread_heatmap(heatmap, grid_window, step, (height, width), centres)[..., None]
    colour = image.astype(np.float64)
    grey = colour @ np.array([0.299, 0.587, 0.114])
    muted = LIGHT_KEPT * (COLOUR_KEPT * colour + (1 - COLOUR_KEPT) * grey[..., None])
    lit = muted + (colour - muted) * np.minimum(1, 1.5 * heat)
    tint = np.stack(
        [np.interp(heat[..., 0], HEAT_AT, channel) for channel in zip(*HEAT_RGB, strict=True)],
        axis=-1,
    )
    blended = lit + (tint - lit) * (STRONGEST_TINT * heat)
    picture = Image.fromarray(np.round(blended).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for box in boxes:
        _outline(draw, box)
    return picture
