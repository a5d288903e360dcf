"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fullconv.cli.sizes import Step, Window

Decorated = Callable[..., Any]

MODEL_HELP = """MODEL is an .onnx or .pt2 file, or the code of a PyTorch model as
package.module:callable, where the callable takes nothing and returns a torch.nn.Module; its
weights come from --weights."""


def model(command: Decorated) -> Decorated:
    """Add MODEL, and how it is converted."""
    for add in (
        click.option(
            "--weights",
            type=click.Path(path_type=Path),
            help="State dict for package.module:callable: .safetensors, .pt or .pth.",
        ),
        click.option(
            "--approximate",
            is_flag=True,
            help="Pad at the image's border only: the classical conversion. Always one pass, but "
            "for networks that pad, the scores are no longer those of the crops.",
        ),
        click.option(
            "--step",
            type=Step(),
            metavar="N|WIDTHxHEIGHT",
            help="Pixels between neighbouring windows. Default: the network's own stride.",
        ),
        click.option(
            "--window",
            type=Window(),
            metavar="WIDTHxHEIGHT",
            help="Size of the crops it was trained on, as in 64x128. May be left out where the "
            "model fixes it.",
        ),
        click.argument("model", metavar="MODEL"),
    ):
        command = add(command)
    return command


def as_json(command: Decorated) -> Decorated:
    """Add --json."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
    )(command)
