"""The whole way to a network in integers: calibrate, compare, leave layers out, measure."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fullconv.checking import is_number, is_whole
from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.precision import INT8
from fullconv.errors import InputError, ModelError
from fullconv.frameworks import find
from fullconv.frameworks.onnx.channels import is_last
from fullconv.frameworks.orders import to_last
from fullconv.quantizing.agreement import Agreement, crop_scorer, measure
from fullconv.quantizing.integers import by_error, fused, layers, quantized
from fullconv.quantizing.photos import PhotoPart, draw
from fullconv.system.files import check_local

BATCH = 16
"""Windows that are calibrated on at once."""

WATCHED = 2
"""Batches by which layers are compared."""

ROUNDS = 7
SECONDS = 20.0
"""Rounds of the measurement of speed; fewer where they take longer."""

AGREEMENT = 0.98


@dataclass(frozen=True)
class Quantized:
    """A network in 8-bit integers, and what that costs and saves.

    Attributes
    ----------
    fcn : FullyConvolutional
        In ONNX; `save` writes it.
    agreement : Agreement
        With crops of photos that were kept back.
    photos : int
        How many were kept back; 0 where windows of the only photo were.
    layers : int
        How many layers there are.
    left_out : tuple of str
        Those that stay in float32 because agreement demands it.
    bytes_before, bytes_after : int
    seconds_before, seconds_after : float
        Medians over one image, in ONNX Runtime, measured in turns.
    """

    fcn: FullyConvolutional
    agreement: Agreement
    photos: int
    layers: int
    left_out: tuple[str, ...]
    bytes_before: int
    bytes_after: int
    seconds_before: float
    seconds_after: float

    def __str__(self) -> str:
        """Return lines that people can read."""
        kept = (
            f"{self.photos} photo{'s' if self.photos > 1 else ''} kept back"
            if self.photos
            else "windows of the only photo kept back"
        )
        return "\n".join(
            [
                f"agrees   {self.agreement}",
                f"         with their crops in f32, of {kept}",
                f"layers   {self.layers - len(self.left_out)} of {self.layers} in int8"
                + (f"; in f32: {', '.join(self.left_out)}" if self.left_out else ""),
                f"size     {self.bytes_after / 1e6:.3g} MB, {self.bytes_before / 1e6:.3g} MB "
                f"before ({self.bytes_after / self.bytes_before:.2f} of it)",
                f"speed    {self.seconds_after * 1e3:.3g} ms, {self.seconds_before * 1e3:.3g} ms "
                f"before ({self.seconds_after / self.seconds_before:.2f} of it; ONNX Runtime, in "
                f"turns)",
            ]
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "measured": self.agreement.as_dict(),
            "photos_kept_back": self.photos,
            "layers": self.layers,
            "left_out": list(self.left_out),
            "bytes": {"before": self.bytes_before, "after": self.bytes_after},
            "seconds": {"before": self.seconds_before, "after": self.seconds_after},
        }


def quantize(
    fcn: FullyConvolutional,
    photos: Sequence[Any] | Any,
    *,
    classifier: Any = None,
    agreement: float = AGREEMENT,
    windows: int = 256,
    seed: int = 0,
) -> Quantized:
    """Return a converted network in 8-bit integers, calibrated on windows of photos.

    Some photos (of one photo, some windows) are kept back, and the network's scores there compared
    with those of crops. While fewer windows have the same best class than asked for, layers are
    left in float32: those that add most error. It is never exact, and its report says so.

    Parameters
    ----------
    fcn : FullyConvolutional
        Of any framework; the result is ONNX.
    photos : sequence of path, array or Source
        Of the kind that will be scanned; as `scan` takes them.
    classifier : optional
        What scores the crops, as `convert` takes it; by default the converted network, run on each.
    agreement : float
        The least share of the windows that must have the same best class.
    windows : int
        So many to calibrate on, and so many to compare, at most.
    seed : int
        Draws them.

    Raises
    ------
    InputError
        If there are too few windows, or an argument is none of those.
    ImageError
        If a photo cannot be read, or does not fit the network.
    ModelError
        If no layer can be quantized so that windows agree, or the network is in less than single
        precision already, or holds its preprocessing or activation.
    """
    if isinstance(photos, str | Path) or hasattr(photos, "shape") or hasattr(photos, "read"):
        photos = [photos]
    _check(fcn, photos, agreement, windows)
    from fullconv.runtimes.choosing import in_onnx

    single = in_onnx(fcn)
    single.preprocessing = fcn.preprocessing
    drawn = draw(single, photos, windows, seed)
    model = fused(single.model)
    batches = _batches(single, drawn.calibration)
    names = layers(model)
    if isinstance(classifier, str | Path):
        path = check_local("quantize(classifier)", classifier, reads=True)
        classifier, _ = find(path).open(path)
    scorer = crop_scorer(single, single.model if classifier is None else classifier)
    of_crops = [scorer(part) for part in drawn.kept]
    best, left_out = _agreeing(single, model, batches, names, agreement, drawn.kept, of_crops)
    found = measure(best, drawn.kept, of_crops)
    best.report = replace(best.report, check=_line(found, agreement, names, left_out))
    before_s, after_s = _times(single, best, drawn.kept[0].pixels)
    return Quantized(
        best,
        found,
        drawn.photos,
        len(names),
        left_out,
        single.model.ByteSize(),
        best.model.ByteSize(),
        before_s,
        after_s,
    )


def _check(fcn: FullyConvolutional, photos: Sequence[Any], agreement: Any, windows: Any) -> None:
    if not isinstance(fcn, FullyConvolutional):
        raise InputError(
            f"quantize(fcn): expected a converted network, from fullconv.convert or "
            f"fullconv.load; got {type(fcn).__qualname__}."
        )
    if fcn.report.precision:
        raise ModelError(
            f"quantize: the network is in {fcn.report.precision} already; give the one in single "
            f"precision, or the classifier."
        )
    if fcn.embedded:
        raise ModelError(
            "quantize: the network holds its preprocessing or activation already, and integers are "
            "for what lies between them; give the one without, or the classifier."
        )
    if not len(photos):
        raise InputError("quantize(photos): there is none; give at least one.")
    if not is_number(agreement) or not 0 <= agreement <= 1:
        raise InputError(
            f"quantize(agreement={agreement!r}): expected a share of the windows, from 0 to 1, as "
            f"in 0.98."
        )
    if not is_whole(windows, 2):
        raise InputError(f"quantize(windows={windows!r}): expected a whole number, 2 at least.")


def _batches(fcn: FullyConvolutional, parts: Sequence[PhotoPart]) -> list[Any]:
    """Return the windows to calibrate on as the model takes them."""
    crops = [crop for part in parts for crop in part.crops(fcn)]
    batches = []
    for first in range(0, len(crops), BATCH):
        images = fcn.shape.from_map(np.concatenate(crops[first : first + BATCH]))
        batches.append(np.ascontiguousarray(to_last(images) if is_last(fcn.model) else images))
    return batches


def _agreeing(
    fcn: FullyConvolutional,
    model: onnx.ModelProto,
    batches: Sequence[Any],
    names: Sequence[str],
    agreement: float,
    kept: Sequence[PhotoPart],
    of_crops: Sequence[Any],
) -> tuple[FullyConvolutional, tuple[str, ...]]:
    """Return the network with as many layers in integers as agreement allows, and the others.

    The layers that add most error are left out, twice as many each time.
    """
    ranked: list[str] = []
    count = 0
    while count < len(names):
        left_out = tuple(ranked[:count])
        wanted = [name for name in names if name not in left_out]
        integers = quantized(model, batches, wanted)
        made = _in_integers(fcn, integers, agreement)
        if measure(made, kept, of_crops).same_class >= agreement:
            return made, left_out
        if not ranked:
            ranked = by_error(model, integers, batches[:WATCHED], names)
        count = 2 * count or 1
    raise ModelError(
        f"quantize: with even one of {len(names)} layers in int8, fewer than "
        f"{100 * agreement:.4g} % of the windows have the same best class; ask for less "
        f"(agreement=, --agreement), give more photos, or take half precision: 'fullconv convert "
        f"--precision f16'."
        if names
        else "quantize: the network has no layer with weights but those that give the scores, "
        "which stay in f32; there is nothing to gain."
    )


def _in_integers(
    fcn: FullyConvolutional, model: onnx.ModelProto, agreement: float
) -> FullyConvolutional:
    report = replace(
        fcn.report, exact=False, precision=INT8, rounded=False, agreement=agreement, check=""
    )
    made = copy.copy(fcn)
    made.model, made.report = model, report
    return made


def _line(found: Agreement, agreement: float, names: Sequence[str], left_out: Sequence[str]) -> str:
    layers = f"; {len(left_out)} of {len(names)} layers stay in f32" if left_out else ""
    return f"measured {found}; {100 * agreement:.4g} % was asked for{layers}"


def _times(
    before: FullyConvolutional, after: FullyConvolutional, image: Any
) -> tuple[float, float]:
    """Return the median times of two networks for an image, run in turns after a first round."""
    runs: list[Callable[[], Any]] = [
        lambda: before.scores(before.framework.images(before.model, image)),
        lambda: after.scores(after.framework.images(after.model, image)),
    ]
    times: list[list[float]] = [[], []]
    start = time.perf_counter()
    for round_ in range(ROUNDS + 1):
        for run, own in zip(runs, times, strict=True):
            begun = time.perf_counter()
            run()
            if round_:
                own.append(time.perf_counter() - begun)
        if round_ and time.perf_counter() - start > SECONDS:
            break
    first, second = (statistics.median(own) for own in times)
    return first, second
