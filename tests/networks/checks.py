"""Convert a network and hold it against its crops: what the tests on networks have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import fullconv
from networks.specs import Network
from networks.weights import pixels
from oracle import (
    assert_close,
    assert_same,
    leaves,
    onnx_classifier,
    scores_of_crops,
    self_difference,
    torch_classifier,
    windows_of,
)

Step = None | int | tuple[int, int]
Form = Callable[[Network], tuple[Any, Any]]


def in_torch(network: Network) -> tuple[Any, Any]:
    """Return (model, classifier) of the PyTorch form."""
    torch = pytest.importorskip("torch")
    from networks.torch_form import torch_form

    torch.set_num_threads(1)
    model = torch_form(network)
    return model, torch_classifier(model)


def in_onnx(network: Network) -> tuple[Any, Any]:
    """Return (model, classifier) of the ONNX form."""
    from networks.onnx_form import onnx_form

    model = onnx_form(network)
    return model, onnx_classifier(model)


def traced(model: Any, images: Any) -> Any:
    """Return a PyTorch module as an exported program, which converts again and again for little.

    An ONNX model comes back as it is.
    """
    try:
        import torch
    except ModuleNotFoundError:
        return model
    if not isinstance(model, torch.nn.Module):
        return model
    many = torch.cat([images, images])
    return torch.export.export(model, (many,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))


def images_for(network: Network, count: int, size: tuple[int, int], form: Form) -> Any:
    """Return random images in the framework's own arrays."""
    images = pixels(network, count, size, seed=1)
    if form is in_onnx:
        return images
    import torch

    return torch.from_numpy(images)


def pair(step: int | tuple[int, int]) -> tuple[int, int]:
    return step if isinstance(step, tuple) else (step, step)


def compare(fcn: Any, classify: Any, images: Any, batch: int = 1) -> None:
    """Require that a converted network gives exactly its crops' scores, and says so."""
    scores = as_one_sequence(fcn(images))
    rows_and_columns = fcn.grid.shape(tuple(images.shape[-2:]))
    for path, leaf in leaves(scores):
        assert tuple(leaf.shape[-2:]) == rows_and_columns, f"{path}: {tuple(leaf.shape)}"
    expected = scores_of_crops(classify, images, fcn.grid.window, fcn.grid.step, batch)
    assert_same(scores, as_one_sequence(expected))
    assert_unmended(fcn)


def compare_closely(fcn: Any, classify: Any, images: Any, multiple: int) -> None:
    """Require agreement within a multiple of what the classifier differs from itself."""
    window, step = fcn.grid.window, fcn.grid.step
    unit = self_difference(classify, windows_of(images, window, step))
    expected = scores_of_crops(classify, images, window, step)
    assert_close(as_one_sequence(fcn(images)), as_one_sequence(expected), unit, multiple)
    assert_unmended(fcn)


def assert_unmended(fcn: Any) -> None:
    """Require that it is exact by its rules, and not because a probe found them wrong."""
    assert fcn.report.exact, fcn.report.reasons
    assert not [reason for reason in fcn.report.reasons if "a probe has shown" in reason.why]


def as_one_sequence(scores: Any) -> Any:
    """Return the several outputs of an ONNX model as a tuple, whether they come as list or tuple.

    Arrays of NumPy alone: what a PyTorch module returns must come back as it is.
    """
    import numpy as np

    if isinstance(scores, (list, tuple)) and all(isinstance(s, np.ndarray) for s in scores):
        return tuple(scores)
    return scores


def convert(network: Network, model: Any, step: Step, **options: Any) -> Any:
    """Convert at a step, and require that the grid says the same."""
    fcn = fullconv.convert(model, window=network.window, step=step, **options)
    assert fcn.grid.window == network.window
    if step is not None:
        assert fcn.grid.step == pair(step)
    elif network.shares_at(network.stride):
        assert fcn.grid.step == network.stride
    return fcn


def check(network: Network, step: Step, size: tuple[int, int], count: int, form: Form) -> Any:
    """Convert, compare with the crops, and return the converted network."""
    model, classify = form(network)
    fcn = convert(network, model, step)
    compare(fcn, classify, images_for(network, count, size, form), network.batch or 1)
    return fcn


def assert_shared(fcn: Any) -> None:
    """Require that windows shared what they have in common: that rules did it, not the fallback.

    Where windows have next to nothing in common, at a step as large as the window, rules compute
    them one by one; that is no fallback, and has no reason.
    """
    assert not list(fcn.report.reasons), [str(reason) for reason in fcn.report.reasons]
    assert fcn.report.cost.exact <= fcn.report.cost.crops * 1.25
