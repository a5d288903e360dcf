"""Loads converted models, and the settings that model files carry beside the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fullconv.conversion import stored
from fullconv.conversion.backgrounds import usual_background
from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.embedded import Embedded
from fullconv.errors import FullconvError, ModelError, first_line
from fullconv.frameworks import Framework, find
from fullconv.geometry.images import ImageShape
from fullconv.lift.memory import Size
from fullconv.preprocessing import Preprocessing
from fullconv.system.files import check_local


def load(path: str | Path) -> FullyConvolutional:
    """Load a converted model that `FullyConvolutional.save` wrote.

    Raises
    ------
    ModelError
        If the file is broken, or holds a model that fullconv has not converted.
    """
    path = check_local("load(path)", path, reads=True)
    framework = find(path)
    model, metadata = framework.open(path)
    if "fullconv.report" not in metadata:
        raise ModelError(
            f"load({str(path)!r}): the file holds a model that is not converted yet; use "
            f"fullconv.convert({str(path)!r})."
        )
    return from_metadata(framework, model, metadata, path)


def from_metadata(
    framework: Framework, model: Any, metadata: Mapping[str, str], path: Path
) -> FullyConvolutional:
    """Return the converted model that a file's metadata describes."""
    try:
        report = stored.report(_value(metadata, "report"))
        dimensions = report.grid.dimensions
        shape = stored.shape(metadata, report.grid)
        footprint = stored.items(
            _value(metadata, "footprint"),
            lambda size: Size(stored.items(size, stored.count, 2**dimensions)),
        )
        products = stored.products(metadata.get("fullconv.products", "null"), dimensions)
        halo = stored.halo(_value(metadata, "halo"), dimensions)
        settings = stored_metadata(metadata)
        embedded = Embedded.of(metadata)
    except (KeyError, ValueError, FullconvError) as error:
        raise ModelError(
            f"load({str(path)!r}): its fullconv metadata cannot be read ({first_line(error)}); "
            f"convert the original model again."
        ) from None
    if embedded and framework.name != "onnx":
        raise ModelError(
            f"load({str(path)!r}): only ONNX models hold an activation or preprocessing; convert "
            f"the original model again."
        )
    # A run needs memory for its image, even if the file says otherwise.
    image = _of_image(shape)
    if not any(all(a >= b for a, b in zip(size, image, strict=True)) for size in footprint):
        footprint = (*footprint, image)
    return FullyConvolutional(
        framework.loaded(model, shape),
        shape,
        report,
        framework,
        classes=settings.classes,
        background=settings.background,
        preprocessing=settings.preprocessing,
        embedded=embedded,
        footprint=footprint,
        products=products,
        halo=halo,
    )


def _of_image(shape: ImageShape) -> Size:
    """Return the elements of an image, whose sides are ``step * (windows - 1) + window``."""
    sides = zip(shape.grid.window, shape.grid.step, strict=True)
    return Size.of_cells(shape.channels, [(step, window - step) for window, step in sides])


class ModelMetadata(NamedTuple):
    """The settings that a model file carries beside the network."""

    classes: tuple[str, ...]
    background: str | None
    preprocessing: Preprocessing | None


def stored_metadata(metadata: Mapping[str, str]) -> ModelMetadata:
    """Return the class names, background and preprocessing that a model file carries.

    Raises
    ------
    ValueError
        If they cannot be read.
    """
    classes: tuple[str, ...] = ()
    if "fullconv.classes" in metadata:
        classes = stored.items(_value(metadata, "classes"), stored.text)
    text = metadata.get("fullconv.preprocessing")
    return ModelMetadata(
        classes,
        metadata.get("fullconv.background", usual_background(classes)),
        Preprocessing.from_json(text) if text else None,
    )


def _value(metadata: Mapping[str, str], name: str) -> Any:
    try:
        return stored.value_of(metadata[f"fullconv.{name}"])
    except KeyError:
        raise ValueError(f"fullconv.{name} is missing") from None
