"""Write a converted model that was loaded from a ``.pt2`` as ONNX, by PyTorch's exporter."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.export import ExportedProgram

from fullconv.errors import ExportError, MissingExtraError, first_line
from fullconv.frameworks.torch.aten import base_name, draws

MOST_CALLS = 400
"""Calls of a program that PyTorch's exporter writes in half a minute.

The exporter simplifies the size of every map, an expression in the size of the image. With PyTorch
2.13, six padded convolutions, a program of 800 calls, took two minutes.
"""


def check_short(program: ExportedProgram) -> None:
    """Refuse a converted network, loaded as a program, that would take minutes to write.

    Raises
    ------
    ExportError
        If it has more than `MOST_CALLS`.
    """
    calls = sum(node.op == "call_function" for node in program.graph.nodes)
    if calls > MOST_CALLS:
        raise ExportError(
            f"save: this network was loaded from a .pt2 of {calls} calls, and PyTorch's exporter "
            f"takes minutes for more than {MOST_CALLS}; convert the classifier that it was made of "
            f"again, and save that as .onnx."
        )


def program_to_onnx(program: ExportedProgram, metadata: Mapping[str, str]) -> Any:
    """Return an ``onnx.ModelProto`` with free height and width, and the given metadata.

    Raises
    ------
    ExportError
        If PyTorch cannot write it, or it draws random numbers.
    MissingExtraError
        If a package is missing that PyTorch needs.
    """
    _refuse_random(program)
    _divide_outside(program)
    try:
        proto = exported(program).model_proto
    except MissingExtraError:
        raise
    except Exception as error:
        raise ExportError(
            f"save: PyTorch cannot write this model as ONNX ({first_line(error)}). Convert the "
            f"classifier that it was made of, and save that; or save it as .pt2."
        ) from None
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    return proto


def exported(program: ExportedProgram, opset: int | None = None) -> Any:
    """Return a program as PyTorch's exporter writes it.

    Raises
    ------
    MissingExtraError
        If a package is missing that PyTorch needs.
    Exception
        The exporter's own error where it cannot write the program.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError("Writing a PyTorch model as ONNX", "torch") from None
    # The exporter prints its progress, and warns of packages that it does not need here.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            written = torch.onnx.export(program, dynamo=True, verbose=False, opset_version=opset)
    finally:
        logger.setLevel(level)
    assert written is not None
    return written


def _refuse_random(program: ExportedProgram) -> None:
    """Refuse a program that draws random numbers: its ONNX form could not be compared with it."""
    drawn = (node for node in program.graph.nodes if node.op == "call_function" and draws(node))
    if (node := next(drawn, None)) is not None:
        raise ExportError(
            f"save: this model draws random numbers ({base_name(node.target)}), so that nobody can "
            f"tell whether the ONNX of it is right. Save it as .pt2."
        )


def _divide_outside(program: ExportedProgram) -> None:
    """Replace averages that have a divisor of their own by plain averages and a multiplication.

    The exporter drops ``divisor_override`` without a warning (measured with PyTorch 2.13).
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
