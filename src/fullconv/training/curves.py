"""The course of a training as a picture, by matplotlib where it is installed, else by Pillow."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from fullconv.detections.palette import colour_of
from fullconv.training.telling import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAPER, INK, FAINT = (255, 255, 255), (30, 30, 36), (214, 214, 220)
TEXT = 15
WIDTH, HEIGHT = 760, 240
"""Of each of the two charts."""


@dataclass(frozen=True)
class Chart:
    """One chart over the epochs.

    Attributes
    ----------
    title : str
    curves : mapping of str to sequence of float
        The value of every epoch, by the curve's name; a single curve is called "".
    least : float or None
        Start of the value axis; None for the least value.
    """

    title: str
    curves: Mapping[str, Sequence[float]]
    least: float | None = None


def draw_curves(history: Sequence[Epoch], best: int) -> Image.Image:
    """Return loss and hold-out accuracy over the epochs, with the best one marked.

    A vertical line through both charts marks each addition of hard negatives.
    """
    numbers = [epoch.number for epoch in history]
    phases = [
        after.number - 0.5 for before, after in pairwise(history) if before.phase != after.phase
    ]
    loss = {
        "learning": [epoch.loss for epoch in history],
        "held out": [epoch.held_out_loss for epoch in history],
    }
    accuracy = {"": [epoch.accuracy for epoch in history]}
    charts = [Chart("loss", loss, least=0.0), Chart("accuracy, held out", accuracy)]
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return _plain(charts, numbers, phases, best)
    return _by_matplotlib(charts, numbers, phases, best)


def _by_matplotlib(
    charts: Sequence[Chart], numbers: Sequence[int], phases: Sequence[float], best: int
) -> Image.Image:
    """Return the charts one below the other.

    Matplotlib's global state is not touched: a notebook may be drawing at the same time.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    dpi = 100
    size = WIDTH / dpi, len(charts) * HEIGHT / dpi
    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    panes: Sequence[Axes] = figure.subplots(len(charts), sharex=True)
    for pane, chart in zip(panes, charts, strict=True):
        pane.set_title(chart.title, loc="left")
        for name, values in chart.curves.items():
            pane.plot(numbers, values, label=name, marker="o", markevery=[numbers.index(best)])
        if len(chart.curves) > 1:
            pane.legend()
        if chart.least is not None:
            pane.set_ylim(bottom=chart.least)
        for between in phases:
            pane.axvline(between, color="black", linewidth=1)
        pane.grid(alpha=0.4)
        pane.xaxis.set_major_locator(MaxNLocator(integer=True))
    panes[-1].set_xlabel("epoch")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return Image.open(drawn).convert("RGB")


def _plain(
    charts: Sequence[Chart], numbers: Sequence[int], phases: Sequence[float], best: int
) -> Image.Image:
    """Return the charts one below the other, drawn by Pillow alone."""
    picture = Image.new("RGB", (WIDTH, len(charts) * HEIGHT), PAPER)
    for place, chart in enumerate(charts):
        picture.paste(_pane(chart, numbers, phases, best), (0, place * HEIGHT))
    return picture


def _pane(chart: Chart, numbers: Sequence[int], phases: Sequence[float], best: int) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(picture)
    left, right, high, low = 64, WIDTH - 20, 40, HEIGHT - 34
    values = [value for curve in chart.curves.values() for value in curve]
    least = min(values) if chart.least is None else chart.least
    most = max(values) if max(values) > least else least + 1
    first, last = numbers[0], max(numbers[-1], numbers[0] + 1)

    def at(number: float, value: float) -> tuple[float, float]:
        x = left + (number - first) / (last - first) * (right - left)
        return x, low - (value - least) / (most - least) * (low - high)

    pen.text((12, 10), chart.title, fill=INK, font_size=TEXT)
    for value in (least, (least + most) / 2, most):
        y = at(first, value)[1]
        pen.line((left, y, right, y), fill=FAINT)
        pen.text((left - 8, y), f"{value:.3g}", fill=INK, font_size=TEXT - 3, anchor="rm")
    for number in (first, last):
        x = at(number, least)[0]
        pen.text((x, low + 8), f"{number}", fill=INK, font_size=TEXT - 3, anchor="mt")
    pen.text(((left + right) / 2, low + 8), "epoch", fill=INK, font_size=TEXT - 3, anchor="mt")
    for between in phases:
        x = at(between, least)[0]
        pen.line((x, high, x, low), fill=INK)
    for place, (name, curve) in enumerate(chart.curves.items()):
        colour = colour_of(place)
        points = [at(number, value) for number, value in zip(numbers, curve, strict=True)]
        pen.line(points, fill=colour, width=3, joint="curve")
        x, y = points[numbers.index(best)]
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour, outline=INK)
        pen.text((220 + 110 * place, 10), name, fill=colour, font_size=TEXT)
    return picture
