"""The contents of a model file, as a table and as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fullconv.conversion import stored
from fullconv.conversion.embedded import Embedded
from fullconv.conversion.loading import ModelMetadata, stored_metadata
from fullconv.conversion.report import Report, thousands
from fullconv.errors import FullconvError, ModelError, first_line
from fullconv.geometry.images import ImageShape
from fullconv.inspecting.contents import ModelContents
from fullconv.preprocessing import Preprocessing

LONGEST = 90
"""Letters of a text beside the network that a table shows."""

SHOWN = frozenset(
    f"fullconv.{name}"
    for name in (
        *("report", "window", "step", "version", "classes", "background", "preprocessing"),
        *("channels", "takes", "fixed", "embedded"),
    )
)
"""Texts beside the network that have lines of their own in a table."""


@dataclass(frozen=True)
class Inspection:
    """The contents of a model file.

    Attributes
    ----------
    path : Path
    size_bytes : int
        Of the file; weights may lie in others beside it.
    contents : ModelContents
        The network.
    report : Report or None
        What its conversion did; None for a classifier that is not converted.
    shape : ImageShape or None
        What the converted network takes; None for a classifier that is not converted.
    settings : ModelMetadata
        Class names, background and preprocessing.
    embedded : Embedded
        The preprocessing and activation that the model holds itself; none in a classifier.
    """

    path: Path
    size_bytes: int
    contents: ModelContents
    report: Report | None
    shape: ImageShape | None
    settings: ModelMetadata
    embedded: Embedded

    @classmethod
    def of(cls, path: Path, contents: ModelContents) -> Inspection:
        """Read what a file says beside its network, with distrust.

        Raises
        ------
        ModelError
            If that cannot be read.
        """
        metadata = contents.metadata
        report = shape = None
        try:
            if "fullconv.report" in metadata:
                report = stored.report(stored.value_of(metadata["fullconv.report"]))
                shape = stored.shape(metadata, report.grid)
            settings, embedded = stored_metadata(metadata), Embedded.of(metadata)
        except (KeyError, ValueError, FullconvError) as error:
            raise ModelError(
                f"inspect {path}: its fullconv metadata cannot be read ({first_line(error)}); "
                f"convert the original model again."
            ) from None
        return cls(path, path.stat().st_size, contents, report, shape, settings, embedded)

    @property
    def converted_by(self) -> str | None:
        """The version of fullconv that converted it; None for a classifier."""
        return self.contents.metadata.get("fullconv.version")

    def __str__(self) -> str:
        """Return a table that people can read."""
        contents = self.contents
        lines = [f"file     {self.path} ({_bytes(self.size_bytes)}), {contents.format}"]
        if self.report is None:
            lines.append(f"result   not converted; 'fullconv convert {self.path} -o OUT' does that")
        else:
            lines.append(f"by       fullconv {self.converted_by or 'of an unknown version'}")
            lines.extend(str(self.report).splitlines())
        if self.shape is not None:
            lines.append(f"channels {self.shape.channels}{_without_axis(self.shape)}")
        lines.extend(self._settings())
        if contents.versions:
            versions = (f"{name} {version}" for name, version in contents.versions.items())
            lines.append(f"written  {', '.join(versions)}")
        lines.extend(f"input    {value}" for value in contents.inputs)
        lines.extend(f"output   {value}" for value in contents.outputs)
        lines.append(f"nodes    {contents.kinds}" if contents.operations else "nodes    not listed")
        lines.append(f"weights  {_weights(contents)}")
        lines.extend(
            f"beside   {name} = {_shortened(text)}"
            for name, text in contents.metadata.items()
            if name not in SHOWN
        )
        return "\n".join(lines)

    def _settings(self) -> list[str]:
        classes, background, preprocessing = self.settings
        lines = []
        if classes:
            lines.append(f"classes  {', '.join(classes)}")
        elif self.report is not None:
            lines.append("classes  without names")
        if background is not None:
            lines.append(f"         the background is {background!r}")
        if preprocessing is not None:
            lines.append(f"pixels   {_prepared(preprocessing)}")
        elif self.report is not None and self.embedded.preprocessing is None:
            lines.append("pixels   taken as they are: no preprocessing is stored")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON; sizes are (rows, columns)."""
        classes, background, preprocessing = self.settings
        shape = self.shape
        return {
            "file": str(self.path),
            "format": self.contents.format,
            "bytes": self.size_bytes,
            "converted": self.report is not None,
            "fullconv": self.converted_by,
            "report": None if self.report is None else self.report.as_dict(),
            "channels": None if shape is None else shape.channels,
            "takes": None if shape is None else shape.takes,
            "fixed": None if shape is None else list(shape.fixed),
            "classes": list(classes),
            "background": background,
            "preprocessing": None if preprocessing is None else asdict(preprocessing),
            "embedded": self.embedded.as_dict(),
            **self.contents.as_dict(),
            "metadata": _values(self.contents.metadata),
        }


def _values(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return every text beside the network, ours as the values that they hold."""
    values: dict[str, Any] = {}
    for name, text in metadata.items():
        values[name] = text
        if name.startswith("fullconv."):
            try:
                values[name] = stored.value_of(text)
            except ValueError:  # a text that is one, as a version
                continue
    return values


def _weights(contents: ModelContents) -> str:
    weights = contents.weights
    if weights is None:
        return "none in this file, or none that can be read here"
    if weights.numbers is None:
        return _bytes(weights.bytes)
    types = ", ".join(
        dtype if len(weights.types) == 1 else f"{thousands(count)} {dtype}"
        for dtype, count in weights.types.items()
    )
    suffix = f" ({types})" if types else ""
    return f"{thousands(weights.numbers)} numbers, {_bytes(weights.bytes)}{suffix}"


def _prepared(preprocessing: Preprocessing) -> str:
    scaling = preprocessing.mean, preprocessing.std
    mean, std = (", ".join(f"{n:.6g}" for n in numbers) for numbers in scaling)
    resolution = preprocessing.um_per_pixel
    suffix = f", at {resolution:g} um per pixel" if resolution is not None else ""
    return (
        f"(pixel * {preprocessing.scale:.6g} - mean) / std, mean {mean}, std {std}, channels as "
        f"{preprocessing.channel_order}{suffix}"
    )


def _without_axis(shape: ImageShape) -> str:
    return "" if shape.takes == "map" else f", taken as {shape.takes}"


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}... ({len(text)} letters; --json)"


def _bytes(count: int) -> str:
    for size, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count} bytes"
