"""Check that a program converted from TorchScript computes the same as the original.

PyTorch's converter is silently wrong in places: a ``.to()`` that changes nothing becomes a copy, so
later writes into it are lost (torch 2.13, ``torch/_export/converter.py``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from fullconv.errors import ModelError
from fullconv.frameworks.torch import aten
from fullconv.frameworks.torch.exporting import quiet


def check_calls(program: ExportedProgram) -> None:
    """Refuse a program that does not compute each image by itself.

    Raises
    ------
    ModelError
        If it was traced in training mode, which eval() does not undo, or if it branches on the
        numbers of an image.
    """
    parts = [m for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    for node in (node for part in parts for node in part.graph.nodes):
        if node.target in (torch.ops.higher_order.cond, torch.ops.higher_order.while_loop):
            raise ModelError(
                f"convert: the model decides by the numbers of an image what to compute "
                f"({node.target}), and would decide once for all images of a batch. Compute both "
                f"ways and choose with torch.where, image by image."
            )
        if isinstance(node.target, torch._ops.OpOverload):
            bound = aten.arguments(node)
            if bound.get("train") or (bound.get("training") and bound.get("running_mean")):
                raise ModelError(
                    f"convert: the model was traced in training mode ({aten.base_name(node.target)}"
                    f" is that of training); trace it again after model.eval()."
                )


def same_scores(
    program: ExportedProgram, model: torch.jit.ScriptModule, image: torch.Tensor, *others: Any
) -> bool:
    """Whether both give the same scores of two random crops, up to rounding.

    Both run the same operators on the same weights, so most scores are equal to the last bit. The
    bound is half the digits of the image's type, relative to the largest score: rounding stays
    below it, and a missing step of the computation is far above.

    Parameters
    ----------
    image : Tensor, shape (N, C, height, width)
        Images in the shape and number that both take.
    *others
        The other inputs of both.
    """
    bound = torch.finfo(image.dtype).eps ** 0.5
    run = program.module(check_guards=False)
    drawn = torch.default_generator
    with torch.random.fork_rng(devices=[]), torch.no_grad(), quiet():
        for seed in range(2 // len(image)):
            drawn.manual_seed(seed)
            crops = torch.randn(image.shape).to(image)
            # Either may overwrite its crops, or draw numbers itself.
            drawn.manual_seed(seed)
            expected = pytree.tree_leaves(model(crops.clone(), *others))
            drawn.manual_seed(seed)
            actual = pytree.tree_leaves(run(crops.clone(), *others))
            if len(actual) != len(expected):
                return False
            if not all(_alike(a, e, bound) for a, e in zip(actual, expected, strict=True)):
                return False
    return True


def _alike(actual: Any, expected: torch.Tensor, bound: float) -> bool:
    if not isinstance(actual, torch.Tensor) or actual.shape != expected.shape:
        return False
    actual, expected = actual.double(), expected.double()
    largest = expected.nan_to_num(0, 0, 0).abs().amax().item() if expected.numel() else 0
    return torch.allclose(actual, expected, rtol=0, atol=bound * largest, equal_nan=True)
