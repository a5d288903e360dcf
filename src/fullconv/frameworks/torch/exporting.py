"""Exporting modules: classifiers at their native size, converted models at any size."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from math import prod
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from fullconv.errors import ExportError, ModelError, WindowError, first_line
from fullconv.frameworks.torch.filled import finish_lazy
from fullconv.frameworks.torch.one_by_one import VECTORIZED
from fullconv.frameworks.torch.places import depends_on_pixels, where
from fullconv.images import ImageShape

LARGEST_TRIED = 1 << 21
"""Pixels of a window on which a module is run for its own words of refusal."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode, and back as it was.

    A model that is in eval mode itself stays as it is: a layer that trains in it was left so on
    purpose, and is part of the classifier. What such a layer keeps is given back, too.
    """
    # A frozen module of TorchScript has no mode.
    training = [module for module in model.modules() if getattr(module, "training", False)]
    kept = []
    if getattr(model, "training", False):
        model.eval()
    else:
        held = {id(b): b for module in training for b in module.buffers(recurse=False)}
        kept = [(buffer, buffer.clone()) for buffer in held.values()]
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
    """Silence what PyTorch's exporter warns of, logs and prints, on its own behalf."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def export(
    model: nn.Module, window: tuple[int, int], channels: int | None = None
) -> ExportedProgram:
    """Export for one image of the native size: what a classifier is of a crop alone."""
    failures: list[Exception] = []
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
    raise _export_failed(model, window, candidates, failures[0])


def trace(model: nn.Module, image: torch.Tensor, *others: Any) -> ExportedProgram:
    """Export for images like these, and as many."""
    return torch.export.export(model, (image, *others))


def channels_wanted(error: Exception) -> int | None:
    """Return how many channels the first convolution wants, if that is what PyTorch says."""
    wanted = re.search(r"to have (\d+) channels", str(error))
    return None if wanted is None else int(wanted[1])


def likely_channels(model: nn.Module, window: tuple[int, int]) -> list[int]:
    """Guess the image's channels: from the first weights, else the usual ones."""
    found = [m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)][:1]
    found += [p.shape[1] for p in model.parameters() if p.dim() == 4][:1]
    if not found:
        pixels = window[0] * window[1]
        dense = [p.shape[1] for p in model.parameters() if p.dim() == 2][:1]
        found += [n // pixels for n in dense if n % pixels == 0]
    return list(dict.fromkeys([*(n for n in found if n), 3, 1, 2, 4]))


def _export_failed(
    model: nn.Module, window: tuple[int, int], channels: Sequence[int], error: Exception
) -> Exception:
    import inspect

    takes = list(inspect.signature(model.forward).parameters.values())
    needed = [p for p in takes if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(needed) != 1:
        names = ", ".join(p.name for p in needed) or "none"
        return ModelError(
            f"convert: expected a model with one image input, forward(image); its forward takes "
            f"{len(needed)} inputs: {names}. Wrap it in a module that takes the image alone."
        )
    place = where(error)
    if depends_on_pixels(error):
        return ModelError(
            f"convert: the model decides by the pixels what to compute"
            f"{f' ({place})' if place else ''}, and windows would go different ways. Keep it in "
            f"tensors: torch.where in the place of an if, a mask in the place of a list."
        )
    refusal = _refusal(model, window, channels)
    if refusal is not None:
        return WindowError(
            f"convert(window={window}): the model does not take images of {window[1]}x"
            f"{window[0]} pixels (width x height): {first_line(refusal)}. Give the size it was "
            f"trained on; a model of feature vectors instead of images cannot be converted."
        )
    return ModelError(
        f"convert: torch.export cannot trace the model: {first_line(error)}"
        f"{f' ({place})' if place else ''}. See "
        f"https://pytorch.org/docs/stable/export.html, or export it to ONNX and convert that."
    )


def _refusal(
    model: nn.Module, window: tuple[int, int], channels: Sequence[int]
) -> Exception | None:
    """Return what the model itself says to images of this size; None where it takes them.

    It says it more plainly than its trace does, whose sizes are symbols.
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
    """Return an empty image where the model is, of its kind of numbers."""
    parameter = next(iter([*model.parameters(), *model.buffers()]), torch.zeros(()))
    dtype = parameter.dtype if parameter.is_floating_point() else torch.float32
    return torch.zeros(shape, dtype=dtype, device=parameter.device)


def export_free(
    model: nn.Module, shape: ImageShape, *, vectorized: bool = False
) -> ExportedProgram:
    """Export a converted model with the number of images, height and width free.

    ``vectorized`` is `fullconv.frameworks.torch.one_by_one.VECTORIZED`.
    """
    parameter = next(iter([*model.parameters(), *model.buffers()]), torch.zeros(()))
    dtype = parameter.dtype if parameter.is_floating_point() else torch.float32
    (height, width), (sy, sx) = shape.grid.window, shape.grid.step
    # An example with several windows either way, so that no size looks like a constant.
    size = (2, shape.channels, height + 2 * sy + 1, width + 3 * sx + 1)
    image = torch.zeros(size, dtype=dtype, device=parameter.device)
    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    token = VECTORIZED.set(vectorized)
    try:
        # No size is special to a converted model; the tracer must not assume that 1 is.
        any_size: Any = torch.fx.experimental._config
        with quiet(), any_size.patch(backed_size_oblivious=True):
            return torch.export.export(model, (image,), dynamic_shapes=(free,))
    except Exception as error:
        raise ExportError(
            f"save: this converted model cannot be exported with free height and width "
            f"({first_line(error)}). Convert it with exact=False (--approximate), whose plain "
            f"convolutions export always; or save the original model and convert it when loaded."
        ) from None
    finally:
        VECTORIZED.reset(token)
