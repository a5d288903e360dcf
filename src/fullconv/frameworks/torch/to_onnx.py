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

from fullconv.errors import ExportError, MissingExtraError, first_line


def to_onnx(program: ExportedProgram, metadata: Mapping[str, str]) -> Any:
    """Return an ``onnx.ModelProto`` with free height and width, and the given metadata."""
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
