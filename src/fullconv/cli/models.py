"""Models as the command line names them: a file or folder, code, or a library's model."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fullconv
from fullconv.cli import zoos
from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.loading import from_metadata
from fullconv.errors import InputError, MissingExtraError, ModelError, first_line
from fullconv.frameworks import find
from fullconv.frameworks.folders import weights_of
from fullconv.frameworks.wsinfer import WsinferConfig
from fullconv.wording import type_name

if TYPE_CHECKING:
    from fullconv.cli.options import Conversion, ModelFlags
    from fullconv.scanning.engine import Engine

CODE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
"""``package.module:callable``."""

UNPROVED = "unproved the conversion was not compared with crops (--no-check)"
"""The line of a report on a network that was converted without the comparison."""


def find_model(named: str, weights: Path | None) -> Any:
    """Return the path of a model file, or the module that a folder holds or code builds.

    Raises
    ------
    InputError
        If the code does not exist, or weights are given for a file that holds its own.
    ModelError
        If the code fails or builds something else, or the weights do not fit.
    MissingExtraError
        If PyTorch is not installed.
    """
    path = Path(named)
    if zoos.NAMED.fullmatch(named) and not path.exists():
        return _from_library(named, weights)
    if CODE.fullmatch(named) and not path.exists():
        return _from_code(named, weights)
    if weights is not None and path.suffix.lower() == ".json" and path.is_file():
        return _from_architecture(path, weights)
    if weights is not None:
        raise InputError(
            f"--weights {weights}: {named} is a {'folder' if path.is_dir() else 'file'} and holds "
            f"its own weights; leave --weights out, or name the model's code: "
            f"package.module:callable."
        )
    return find(path).open(path)[0] if path.is_dir() else path


@dataclass(frozen=True)
class Opened:
    """An opened MODEL: the converted network, the classifier behind it, and its origin."""

    fcn: FullyConvolutional
    classifier: Any
    is_converted: bool
    origin: dict[str, str]

    @cached_property
    def engine(self) -> Engine:
        """The engine that scans with the network; it is shared by all images."""
        from fullconv.scanning.engine import Engine

        return Engine(self.fcn)


def open_model(
    command: str,
    model: ModelFlags,
    conversion: Conversion,
    config: WsinferConfig | None = None,
) -> Opened:
    """Return the converted network in MODEL, or convert the classifier in it.

    A ``config`` gives the window and class names that a classifier's file leaves open.

    Raises
    ------
    InputError
        If MODEL is converted already, and flags ask for another conversion.
    """
    named, weights = model.named, model.weights
    classifier = find_model(named, weights)
    is_path = isinstance(classifier, Path) or Path(named).exists()
    origin = {"model": str(Path(named).absolute()) if is_path else named}
    if weights is not None:
        origin["weights"] = str(weights.absolute())
    if (digest := file_hash(Path(weights or named))) is not None:
        origin["sha256"] = digest
    fcn = _converted(classifier) if isinstance(classifier, Path) else None
    if fcn is None:
        classes = None
        if config is not None:
            model, classes = replace(model, window=model.window or config.window), config.classes
        fcn = convert(classifier, model, conversion, classes=classes)
        _note_unproved(fcn)
        return Opened(fcn, classifier, False, origin)
    if model.given:
        wrong = ", ".join(model.given)
        raise InputError(
            f"{command} {named} {wrong}: the model is converted already, with its own window and "
            f"step; leave {wrong} out, or give the classifier."
        )
    _note_unproved(fcn)
    if fcn.report.precision and command in ("scan", "detect"):
        click.echo(
            f"note     the model is in {fcn.report.precision}, and its crops are scored by itself; "
            f"'fullconv verify' with --original MODEL compares with the classifier's"
        )
    return Opened(fcn, fcn.model, True, origin)


def convert(
    classifier: Any,
    model: ModelFlags,
    conversion: Conversion,
    *,
    classes: Sequence[str] | None = None,
    background: str | None = None,
    precision: str | None = None,
) -> FullyConvolutional:
    """Convert a classifier as the options of a command say."""
    fcn = fullconv.convert(
        classifier,
        model.window,
        model.step,
        exact=not model.approximate,
        classes=classes,
        background=background,
        check=conversion.check,
        allow_random=conversion.allow_random,
        precision=precision,
    )
    if not conversion.check:
        fcn.report = replace(fcn.report, check=UNPROVED)
    return fcn


def _note_unproved(fcn: FullyConvolutional) -> None:
    """Print a line if the network was never compared with crops."""
    if fcn.report.check.startswith(UNPROVED.split()[0]):
        click.echo(UNPROVED)


def file_hash(path: Path) -> str | None:
    """Return the SHA-256 of the file that holds a model's weights; None where there is none."""
    try:
        with weights_of(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ModelError):
        return None


def _converted(path: Path) -> FullyConvolutional | None:
    """Return the converted model that a file holds; None where it holds a classifier."""
    framework = find(path)
    model, metadata = framework.open(path)
    if "fullconv.report" not in metadata:
        return None
    return from_metadata(framework, model, metadata, path)


def _from_library(named: str, weights: Path | None) -> Any:
    _check_weights(weights)
    model = zoos.build(named, trained=weights is None)
    if weights is not None and zoos.takes_state_dict(named):
        _fill(model, named, weights)
    elif weights is not None:
        zoos.load_weights(model, named, weights)
    return model


def _fill(model: Any, named: str, weights: Path) -> None:
    from fullconv.frameworks.torch.state import fill, read_checkpoint

    call = f"--weights {weights}"
    fill(model, read_checkpoint(weights, call), named, call)


def _from_architecture(path: Path, weights: Path) -> Any:
    _check_weights(weights)
    find(path)  # Keras, if it is installed
    from fullconv.frameworks.keras.architecture import open_architecture

    return open_architecture(path, weights)


def _check_weights(weights: Path | None) -> None:
    if weights is not None and not weights.is_file():
        raise InputError(f"--weights {weights}: no such file; check its path.")


def _from_code(named: str, weights: Path | None) -> Any:
    try:
        import torch
    except ImportError:
        raise MissingExtraError("A PyTorch model", "torch") from None
    _check_weights(weights)
    build = attribute(named)
    model = build
    if not isinstance(build, torch.nn.Module):
        if not callable(build):
            raise ModelError(
                f"{named}: expected a callable that returns a torch.nn.Module; it is "
                f"{type_name(build)}."
            )
        try:
            model = build()
        except Exception as error:
            raise ModelError(
                f"{named}: calling it without arguments failed with {type(error).__name__}: "
                f"{first_line(error)}. Name a function that builds the model by itself."
            ) from error
    if not isinstance(model, torch.nn.Module):
        raise ModelError(
            f"{named}: expected a callable that returns a torch.nn.Module; it returned "
            f"{type_name(model)}."
        )
    if weights is not None:
        _fill(model, named, weights)
    return model


def attribute(named: str) -> Any:
    """Return the object that ``package.module:name`` names.

    The module is imported with the current folder first on the path.
    """
    module_name, _, path = named.partition(":")
    if sys.path[:1] != [""]:
        sys.path.insert(0, "")
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ModelError(
                f"{named}: importing {module_name} failed, because there is no module "
                f"{error.name!r}; install it."
            ) from error
        raise InputError(
            f"{named}: there is no module {error.name!r}, neither in the current folder nor "
            f"among the installed packages; check its name."
        ) from None
    except Exception as error:
        raise ModelError(
            f"{named}: importing {module_name} failed with {type(error).__name__}: "
            f"{first_line(error)}. Fix it, and try again."
        ) from error
    for part in path.split("."):
        if not hasattr(value, part):
            raise InputError(
                f"{named}: {module_name} has no {path!r}; check the name after the colon."
            )
        value = getattr(value, part)
    return value
