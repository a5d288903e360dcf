"""Try one architecture: convert it, and compare every window with its crop.

Note [What may differ]: a network of many layers differs from itself when a framework takes its
sums in another order. So the crops are also scored one by one, and some of them by PyTorch's own
kernels instead of oneDNN's; the largest difference is the unit, and `TIMES` of it are allowed.

Note [A second opinion]: what differs by more, or where two windows do not lie `DISTINCT` times as
far apart as that, so that the comparison could hardly fail, is computed again in double precision.
There rounding is 2 ** 29 times as fine, while a cell that is taken from a wrong place stays as
wrong as it was: windows may differ from their crops by `FINER` of what they differ from each other.
"""

from __future__ import annotations

import functools
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from classifiers import Network, network
from torch import Tensor, nn
from weights import EVEN

import fullconv
from fullconv.conversion.report import Reason, Report
from fullconv.frameworks.torch import framework

TIMES = 16
DISTINCT = 20
FINER = 1e-6
LOUD = 300
"""Standard deviation of scores above which a network is given other statistics: it would blow up
rounding, too. For the crops that its weights were scaled by, it is 1."""
HEAVY = 4_500_000_000
"""Multiply-accumulates of a crop above which a smaller window is taken, to save time."""


@dataclass
class Record:
    """What became of one architecture.

    Attributes
    ----------
    outcome : str
        ``equal``; ``wrong``; ``blind``, where two windows have the same scores; or ``fails``.
    """

    name: str
    outcome: str = "fails"
    error: str = ""
    window: tuple[int, int] = (0, 0)
    native: tuple[int, int] = (0, 0)
    step: tuple[int, int] = (0, 0)
    stride: tuple[int, int] = (0, 0)
    windows: tuple[int, int] = (0, 0)
    parameters: int = 0
    one_pass: bool = False
    per_window: bool = False
    reasons: list[Any] = field(default_factory=list)
    trace: str = ""
    approximate_exact: bool = False
    approximate_reasons: dict[str, int] = field(default_factory=dict)
    crops_products: int = 0
    exact_products: int = 0
    approximate_products: int = 0
    error_exact: float = 0.0
    error_double: float | None = None
    unit: float = 0.0
    apart: float = 0.0
    spread: float = 0.0
    error_approximate: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain values, for JSON."""
        return {
            name: value for name, value in asdict(self).items() if value not in ("", [], {}, None)
        }


@contextmanager
def exported_once() -> Iterator[None]:
    """Let conversions of one module at one size share an export, which takes most of the time."""
    before = framework.export
    framework.export = functools.cache(before)
    try:
        yield
    finally:
        framework.export = before


def attempt(name: str, window: int | None = None) -> Record:
    """Return what becomes of an architecture; nothing is raised for what it does."""
    record = Record(name)
    torch.manual_seed(0)
    try:
        with exported_once():
            _try(record, window)
    except Exception as error:
        import traceback

        text = str(error).strip().splitlines()
        record.error = f"{type(error).__name__}: {text[0][:300] if text else ''}"
        record.trace = traceback.format_exc()[-3000:]
    return record


def _try(record: Record, window: int | None) -> None:
    clock = _Clock(record.seconds)
    made = network(record.name, window)
    clock("build")
    size = made.architecture.window
    probe = fullconv.explain(made.model, size)
    clock("explain")
    if window is None and probe.cost.crops > HEAVY:
        made = network(record.name, smaller_window(size, probe.cost.crops))
        size = made.architecture.window
        probe = fullconv.explain(made.model, size)
        clock("again, smaller")
    record.window, record.native = size, made.architecture.native
    record.parameters = made.parameters()
    record.stride = probe.stride
    record.step = step = step_for(size, probe.stride)
    image = picture(size, step)
    crops = _crops(image, size, step)
    enliven(made, crops)
    clock("weights")
    fcn = made.convert(step)
    clock("convert")
    _tell(record, fcn.report)
    record.windows = fcn.grid.shape(image.shape[2:])
    wanted = made.scores(crops, 4)
    clock("crops")
    record.unit = own_difference(made, crops, wanted)
    record.apart, record.spread = _apart(wanted), float((wanted - wanted.mean(0)).std())
    clock("otherwise")
    got = made.heatmap(fcn, image)
    record.error_exact = float((got - wanted).abs().max())
    clock("exact")
    limit = TIMES * record.unit
    if not torch.isfinite(wanted).all() or not record.apart:
        record.outcome = "blind"
    elif record.error_exact <= limit and record.apart >= DISTINCT * limit:
        record.outcome = "equal"
    else:
        record.error_double = error_in_double(made, crops, image, step)
        finer = record.error_double <= FINER * record.apart
        record.outcome = "equal" if finer else "wrong"
        clock("double")
    if not fcn.report.exact:
        record.outcome = "wrong"
    rough = made.convert(step, exact=False)
    record.approximate_exact = rough.report.exact
    record.approximate_reasons = _kinds(rough.report)
    clock("convert approximate")
    record.error_approximate = float((made.heatmap(rough, image) - wanted).abs().max())
    if rough.report.exact and record.error_approximate > max(limit, record.error_exact):
        record.outcome = "wrong"
    clock("approximate")


def enliven(made: Network, crops: Tensor) -> None:
    """Give an architecture random weights that suit a picture like that of the trial."""
    size = made.architecture.window
    quarter = size[0] // 4, size[1] // 4
    others = _crops(picture(size, quarter), size, quarter)
    made.enliven(others[::3])
    if not made.scores(crops, 4).std() < LOUD:
        made.enliven(others, EVEN)


def smaller_window(window: Sequence[int], products: int) -> int:
    """Return the largest of three sizes whose crops cost little, or the smallest of them."""
    for size in (160, 128):
        if size < max(window) and products * (size / max(window)) ** 2 <= HEAVY:
            return size
    return min(96, *window)


def step_for(window: Sequence[int], stride: Sequence[int]) -> tuple[int, int]:
    """Return the step nearest above an eighth of the window that the network's stride divides."""
    rows, columns = (s * max(1, -(-w // (8 * s))) for w, s in zip(window, stride, strict=True))
    return rows, columns


def picture(window: Sequence[int], step: Sequence[int], seed: int = 0) -> Tensor:
    """Return a picture of at most one and a half windows, with detail of every size."""
    draw = torch.Generator().manual_seed(seed)
    height, width = (
        w + s * min(3, max(1, w // (2 * s))) for w, s in zip(window, step, strict=True)
    )
    image = torch.zeros(1, 3, height, width)
    for cells in (2, 5, 11, 23, 47):
        noise = torch.randn(1, 3, cells, cells, generator=draw)
        image += nn.functional.interpolate(noise, (height, width), mode="bilinear") / 2
    return image + 0.2 * torch.randn(image.shape, generator=draw)


def own_difference(made: Network, crops: Tensor, scores: Tensor) -> float:
    """Return Note [What may differ]."""
    alone = made.scores(crops, 1)
    some = crops[:: max(1, len(crops) // 2)][:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # switching it tells what it could do on other devices
        with torch.backends.mkldnn.flags(enabled=False):
            kernels = made.scores(some, 1)
    top = scores.abs().max()
    least = float(torch.nextafter(top, top + 1) - top)
    there = scores[:: max(1, len(crops) // 2)][:2]
    return max(float((alone - scores).abs().max()), float((kernels - there).abs().max()), least)


def error_in_double(made: Network, crops: Tensor, image: Tensor, step: Sequence[int]) -> float:
    """Return how far windows lie from their crops by Note [A second opinion]."""
    double = made.double()
    fcn = double.convert(step)
    wanted = double.scores(crops.double(), 4)
    return float((double.heatmap(fcn, image.double()) - wanted).abs().max())


def _crops(image: Tensor, window: Sequence[int], step: Sequence[int]) -> Tensor:
    cut = image.unfold(2, window[0], step[0]).unfold(3, window[1], step[1])
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, image.shape[1], *window)


def _apart(scores: Tensor) -> float:
    """Return how far the two windows that score most alike lie apart, in their farthest class."""
    nearest = [
        float((scores[index + 1 :] - row).abs().amax(1).min())
        for index, row in enumerate(scores[:-1])
    ]
    return min(nearest, default=0.0)


def _tell(record: Record, report: Report) -> None:
    record.one_pass, record.per_window = report.one_pass, report.per_window
    record.reasons = [(r.operation, r.layer, r.why) for r in report.reasons[:1]]
    cost = report.cost
    record.crops_products = cost.crops
    record.exact_products, record.approximate_products = cost.exact, cost.approximate


def _kinds(report: Report) -> dict[str, int]:
    """Count the reasons of each kind: the operation, and what about it."""
    kinds = Counter(_kind(reason) for reason in report.reasons)
    return dict(kinds.most_common())


def _kind(reason: Reason) -> str:
    if "is put at the border" in reason.why:
        return "padding"
    if "slides along" in reason.why:
        return "gate"
    return f"{reason.operation}: {reason.why.partition(';')[0]}"


class _Clock:
    """Notes the seconds of each part."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self.last = seconds, time.perf_counter()

    def __call__(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part], self.last = round(now - self.last, 2), now
