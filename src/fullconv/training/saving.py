"""Writing a trained classifier to a file that every command takes without further flags."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from fullconv.errors import ExportError, InputError, first_line
from fullconv.frameworks.torch.framework import METADATA_FILE
from fullconv.frameworks.torch.program_to_onnx import program_to_onnx
from fullconv.geometry.grid import HeightWidth
from fullconv.preprocessing import Preprocessing
from fullconv.system.files import whole

ENDINGS = (".onnx", ".pt2")


def check_ending(out: Path) -> None:
    """Check before the work that the ending is one of `ENDINGS`.

    Raises
    ------
    InputError
        If it is another.
    """
    if out.suffix not in ENDINGS:
        raise InputError(
            f"train -o {out}: the kind of model is told by its ending; use .onnx, or .pt2 for "
            f"PyTorch."
        )


def metadata_of(
    window: HeightWidth,
    classes: Sequence[str],
    background: str | None,
    preprocessing: Preprocessing,
) -> dict[str, str]:
    """Return the metadata of the file, under the keys that `convert` reads."""
    from fullconv import __version__

    metadata = {
        "fullconv.trained": __version__,
        "fullconv.window": json.dumps(window),
        "fullconv.classes": json.dumps(classes),
        "fullconv.preprocessing": preprocessing.to_json(),
    }
    return metadata if background is None else metadata | {"fullconv.background": background}


def save_classifier(
    classifier: nn.Module, channels: int, metadata: dict[str, str], out: Path
) -> None:
    """Write a classifier at its native size, with a free batch size.

    Raises
    ------
    ExportError
        If PyTorch cannot write it.
    OutputError
        If the file cannot be written; nothing is left half-written.
    """
    window = json.loads(metadata["fullconv.window"])
    data = _bytes(classifier.eval(), (2, channels, *window), metadata, out)
    with whole(out) as temporary:
        temporary.write_bytes(data)


def _bytes(
    classifier: nn.Module, shape: tuple[int, ...], metadata: dict[str, str], out: Path
) -> bytes:
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # The exporter's warnings concern its developers, not our user.
            warnings.simplefilter("ignore")
            program = torch.export.export(
                classifier,
                (torch.zeros(shape),),
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            )
            if out.suffix == ".onnx":
                data: bytes = program_to_onnx(program, metadata).SerializeToString()
                return data
            # Into memory first, so that a full disk raises OSError and not one of PyTorch's errors.
            buffer = io.BytesIO()
            files = {METADATA_FILE: json.dumps(metadata)}
            torch.export.save(program, buffer, extra_files=files)
            return buffer.getvalue()
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"train -o {out}: PyTorch cannot write the trained network ({first_line(error)})."
        ) from None
    finally:
        logging.disable(disabled)
