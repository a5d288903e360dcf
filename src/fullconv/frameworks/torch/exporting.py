"""Export modules: classifiers at their native size, converted models at any size."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from fullconv.errors import ExportError, ModelError, WindowError, first_line
from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.filled import finish_lazy
from fullconv.frameworks.torch.one_axis import with_free_lengths
from fullconv.frameworks.torch.places import depends_on_pixels, where
from fullconv.geometry.grid import Sizes
from fullconv.geometry.images import ImageShape
from fullconv.wording import measured, unit

LARGEST_TRIED = 1 << 21
"""Largest window, in pixels, on which a module is run to see whether it takes it."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode, and restore its mode afterwards.

    A model in eval mode is not changed: a layer that is in training mode within it was left so on
    purpose, and is part of the classifier. The buffers of such layers are restored, too.
    """
    # A frozen module of TorchScript has no mode.
    training = [module for module in model.modules() if getattr(module, "training", False)]
    kept = []
    if getattr(model, "training", False):
        model.eval()
    else:
        buffers = {id(b): b for module in training for b in module.buffers(recurse=False)}
        kept = [(buffer, buffer.clone()) for buffer in buffers.values()]
    try:
        yield
    finally:
        for module in training:
            module.training = True
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings, logs and standard error of PyTorch's exporter."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def export(
    model: nn.Module, window: Sizes, channels: int | None = None, crop: Sizes | None = None
) -> ExportedProgram:
    """Export a classifier for one image of the native size.

    ``channels`` is the number of channels of the image, where it is known. ``crop`` is the shape of
    one image, where it is known to lack the axis of channels, or the axes of cells.
    """
    failures: list[Exception] = []
    if crop is not None:
        try:
            with quiet():
                return trace(model, blank((1, *crop), model))
        except Exception as error:
            raise _export_failed(model, window, [], error) from None
    candidates = likely_channels(model, window) if channels is None else [channels]
    for count in candidates:
        try:
            with quiet():
                image = blank((1, count, *window), model)
                finish_lazy(model, image)
                return trace(model, image)
        except Exception as error:
            wanted = channels_wanted(error)
            if wanted is None:
                failures.insert(0, error)
            elif wanted not in candidates:
                candidates.append(wanted)
            failures.append(error)
    for crop in other_crops(model, window) if channels is None else ():
        with contextlib.suppress(Exception), quiet():
            return trace(model, blank((1, *crop), model))
    raise _export_failed(model, window, candidates, failures[0])


def other_crops(model: nn.Module, window: Sizes) -> list[tuple[int, ...]]:
    """Return shapes of crops that a model takes, other than ``(C, *window)`` with usual channels.

    These are tried: no axis of channels; as many channels as some weight has entries along an axis,
    as in networks for electrodes; and, for a window of one pixel, a vector of features.
    """
    sizes = [size for p in model.parameters() if p.dim() > 1 for size in p.shape[1:]]
    crops = [window, *((n, *window) for n in dict.fromkeys(sizes) if n > 1)]
    if prod(window) == 1:
        dense = [m.in_features for m in model.modules() if isinstance(m, nn.Linear)]
        crops += [(n,) for n in dense[:1]]
    return [crop for crop in crops if takes(model, crop)]


def takes(model: nn.Module, crop: tuple[int, ...]) -> bool:
    """Whether a model scores batches of two crops of this shape; or, failing that, of one."""
    for images in (2, 1):
        with contextlib.suppress(Exception), torch.no_grad(), quiet():
            scores = pytree.tree_leaves(model(blank((images, *crop), model)))
            return all(
                isinstance(x, torch.Tensor) and x.shape[:1] in ((images,), ()) for x in scores
            )
    return False


def trace(model: nn.Module, image: torch.Tensor, *others: Any) -> ExportedProgram:
    """Export for images of this shape and number."""
    return torch.export.export(model, (image, *others))


def channels_wanted(error: Exception) -> int | None:
    """Return how many channels the first convolution expects, if PyTorch's error says so."""
    wanted = re.search(r"to have (\d+) channels", str(error))
    return None if wanted is None else int(wanted[1])


def likely_channels(model: nn.Module, window: Sizes) -> list[int]:
    """Guess the image's channels: from the first weights, else the usual ones."""
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    counts = [m.in_channels for m in model.modules() if isinstance(m, convolutions)][:1]
    counts += [p.shape[1] for p in model.parameters() if p.dim() == 2 + len(window)][:1]
    if not counts:
        pixels = prod(window)
        dense = [p.shape[1] for p in model.parameters() if p.dim() == 2][:1]
        counts += [n // pixels for n in dense if n % pixels == 0]
    return list(dict.fromkeys([*(n for n in counts if n), 3, 1, 2, 4]))


def _export_failed(
    model: nn.Module, window: Sizes, channels: Sequence[int], error: Exception
) -> Exception:
    import inspect

    parameters = list(inspect.signature(model.forward).parameters.values())
    needed = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(needed) != 1:
        names = ", ".join(p.name for p in needed) or "none"
        return ModelError(
            f"convert: expected a model with one image input, forward(image); its forward takes "
            f"{len(needed)} inputs: {names}. Wrap it in a module that takes the image alone."
        )
    place = where(error)
    if depends_on_pixels(error):
        return ModelError(
            f"convert: the model decides by the {unit(len(window), many=True)} what to compute"
            f"{f' ({place})' if place else ''}, and windows would go different ways. Keep it in "
            f"tensors: torch.where in the place of an if, a mask in the place of a list."
        )
    refusal = _refusal(model, window, channels)
    if refusal is not None:
        return WindowError(
            f"convert(window={window}): the model does not take {measured(window)}: "
            f"{first_line(refusal)}. Give the size it was trained on; of a model of feature "
            f"vectors, window=(1, 1), or --window 1x1."
        )
    return ModelError(
        f"convert: torch.export cannot trace the model: {first_line(error)}"
        f"{f' ({place})' if place else ''}. See "
        f"https://pytorch.org/docs/stable/export.html, or export it to ONNX and convert that."
    )


def _refusal(model: nn.Module, window: Sizes, channels: Sequence[int]) -> Exception | None:
    """Return the error that the model raises on images of this size; None where it takes them.

    It is clearer than the error of a trace, whose sizes are symbols.
    """
    refusals: list[Exception] = []
    for count in channels if prod(window) <= LARGEST_TRIED else ():
        try:
            with torch.no_grad(), quiet():
                model(blank((1, count, *window), model))
        except Exception as error:
            refusals.append(error)
        else:
            return None
    # A wrong guess of the channels says nothing about the window.
    return min(refusals, key=lambda error: "channels" in str(error), default=None)


def blank(shape: tuple[int, ...], model: nn.Module) -> torch.Tensor:
    """Return zeros of this shape, with the type and on the device of the model."""
    parameter = next(iter([*model.parameters(), *model.buffers()]), torch.zeros(()))
    dtype = parameter.dtype if parameter.is_floating_point() else torch.float32
    return torch.zeros(shape, dtype=dtype, device=parameter.device)


def computes_sizes(model: nn.Module) -> bool:
    """Whether a converted model computes sizes in its graph, as an exported program does."""
    calls = model.graph.nodes if isinstance(model, torch.fx.GraphModule) else None
    return calls is None or any(node.target is torch.ops.aten.sym_size.int for node in calls)


MOST_GATHERED = 64
"""Most places where windows are gathered in a network that is exported with free sizes.

PyTorch 2.13 takes a quarter to half a second for each.
"""


def check_exportable(model: nn.Module, path: Path) -> None:
    """Refuse to export a model that would take minutes.

    Raises
    ------
    ExportError
        If windows are gathered, cut or folded in more than `MOST_GATHERED` places.
    """
    nodes = model.graph.nodes if isinstance(model, torch.fx.GraphModule) else ()
    places = sum(getattr(node.target, "__module__", "") == functional.__name__ for node in nodes)
    if places > MOST_GATHERED:
        raise ExportError(
            f"save({str(path)!r}): the exact form gathers windows in {places} places, and "
            f"torch.export, which takes up to {MOST_GATHERED} in half a minute, simplifies the "
            f"sizes of each; save it as .onnx, or save the classifier itself and convert that when "
            f"it is loaded."
        )


def export_free(model: nn.Module, shape: ImageShape) -> ExportedProgram:
    """Export a converted model with the number of images, height and width free."""
    parameter = next(iter([*model.parameters(), *model.buffers()]), torch.zeros(()))
    dtype = parameter.dtype if parameter.is_floating_point() else torch.float32
    # The example has several windows along every axis, so that no size looks like a constant.
    sizes = [
        window if axis in shape.fixed else window + (2 + axis) * step + 1
        for axis, (window, step) in enumerate(zip(shape.grid.window, shape.grid.step, strict=True))
    ]
    image = torch.zeros((2, shape.channels, *sizes), dtype=dtype, device=parameter.device)
    image = shape.from_map(image)
    first = image.dim() - len(sizes)
    moving = [first + axis for axis in range(len(sizes)) if axis not in shape.fixed]
    free = dict.fromkeys([0, *moving], Dim.DYNAMIC)
    try:
        # No size is special to a converted model; the tracer must not assume that 1 is.
        any_size: Any = torch.fx.experimental._config
        with quiet(), any_size.patch(backed_size_oblivious=True):
            traced = with_free_lengths(model)
            return torch.export.export(traced, (image,), dynamic_shapes=(free,))
    except Exception as error:
        raise ExportError(
            f"save: this converted model cannot be exported with free height and width "
            f"({first_line(error)}). Save it as .onnx; convert it with exact=False "
            f"(--approximate), whose plain convolutions export always; or save the original model "
            f"and convert it when loaded."
        ) from None
