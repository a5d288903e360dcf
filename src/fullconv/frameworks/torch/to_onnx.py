"""A converted PyTorch model as ONNX, through PyTorch's own exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from fullconv.errors import ExportError, MissingExtraError, first_line
from fullconv.frameworks.torch.aten import base_name, draws


def to_onnx(program: ExportedProgram, metadata: Mapping[str, str]) -> Any:
    """Return an ``onnx.ModelProto`` with free height and width, and the given metadata.

    Raises
    ------
    ExportError
        If PyTorch cannot write it, or it draws random numbers.
    MissingExtraError
        If a package is missing that PyTorch needs.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError("Writing a PyTorch model as ONNX", "torch") from None
    _refuse_random(program)
    _divide_outside(program)
    # The exporter prints its progress, and warns of packages that it does not need here.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            exported = torch.onnx.export(program, dynamo=True, verbose=False)
    except Exception as error:
        raise ExportError(
            f"save: PyTorch cannot write this model as ONNX ({first_line(error)}). Convert it "
            f"with exact=False (--approximate), or save it as .pt2."
        ) from None
    finally:
        logger.setLevel(level)
    assert exported is not None
    proto = exported.model_proto
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    return proto


def check_same(proto: Any, model: torch.nn.Module, image: torch.Tensor) -> None:
    """Check that an ONNX model scores random pixels as the module does, but for roundings.

    Half the digits of the largest score are more than roundings take.

    Raises
    ------
    ExportError
        If it does not, or cannot run.
    """
    from fullconv.frameworks.onnx.session import session

    draw = torch.Generator().manual_seed(0)
    pixels = torch.rand(image.shape, generator=draw).to(image)
    with torch.no_grad():
        wanted = [leaf for leaf in tree_leaves(model(pixels)) if isinstance(leaf, torch.Tensor)]
    try:
        found = session(proto)(pixels.cpu().numpy())
    except Exception as error:
        found, why = None, first_line(error)
    else:
        why = "its scores are others"
        found = found if isinstance(found, tuple) else (found,)
    if found is None or not all(
        torch.allclose(torch.from_numpy(own), leaf.cpu(), rtol=0, atol=_half(leaf), equal_nan=True)
        for own, leaf in zip(found, wanted, strict=True)
    ):
        raise ExportError(
            f"save: PyTorch writes this model as ONNX, but not right ({why}). Save it as .pt2, or "
            f"run it in PyTorch."
        )


def _half(scores: torch.Tensor) -> float:
    if not scores.is_floating_point():
        return 0.0
    return float(torch.finfo(scores.dtype).eps ** 0.5 * scores.abs().nan_to_num(0.0).max())


def _refuse_random(program: ExportedProgram) -> None:
    """Refuse a program that draws: its ONNX form could not be compared with it."""
    drawn = (node for node in program.graph.nodes if node.op == "call_function" and draws(node))
    if (node := next(drawn, None)) is not None:
        raise ExportError(
            f"save: this model draws random numbers ({base_name(node.target)}), so that nobody can "
            f"tell whether the ONNX that PyTorch writes of it is right. Save it as .pt2."
        )


def _divide_outside(program: ExportedProgram) -> None:
    """Turn averages with a divisor of their own, which the exporter drops, into plain ones, scaled.

    Measured with PyTorch 2.13: ``divisor_override`` is not written, and nothing says so.
    """
    graph = program.graph
    average, times = torch.ops.aten.avg_pool2d.default, torch.ops.aten.mul.Tensor
    for node in list(graph.find_nodes(op="call_function", target=average)):
        given = (*node.args, *[None] * (7 - len(node.args)))
        kernel, ceil = given[1], given[4]
        divisor = given[6] or node.kwargs.get("divisor_override")
        if divisor is None:
            continue
        if ceil or node.kwargs.get("ceil_mode"):
            raise ExportError(
                "save: ONNX has no average pool with ceil_mode and a divisor_override. Save it as "
                ".pt2, or run it in PyTorch."
            )
        node.args, node.kwargs = (*given[:4], False, True), {}
        scaling = kernel[0] * kernel[-1] / divisor
        with graph.inserting_after(node):
            scaled = graph.call_function(times, (node, scaling))
        scaled.meta = dict(node.meta)
        node.replace_all_uses_with(scaled)
        scaled.args = (node, scaling)
