"""``fullconv inspect``: everything that a model file holds."""

from __future__ import annotations

from pathlib import Path

import click

from fullconv.cli import options
from fullconv.cli.output import print_json
from fullconv.cli.paths import LocalPath


@click.command("inspect")
@click.argument("file", metavar="FILE", type=LocalPath(reads=True))
@options.as_json
def command(file: Path, as_json: bool) -> None:
    """Say what FILE holds: a converted model, or a classifier.

    FILE is an .onnx, .pt2, .keras, .h5, .hdf5 or TorchScript .pt file. Of a converted one that is
    its window and step, whether it is exact, and what became of each layer; its classes and what is
    done to pixels first; what it takes and gives, its operations and weights, and the versions that
    it was written with. Nothing is run or unpickled, and neither PyTorch nor Keras is needed.
    """
    from fullconv.inspecting import inspect

    found = inspect(file)
    if as_json:
        print_json(found.as_dict())
    else:
        click.echo(str(found))
