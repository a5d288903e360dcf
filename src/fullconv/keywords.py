"""The keywords of the verbs, as type checkers see them; `scan`, `detect` and `train` document them.

The defaults stand in records, which the library and the command line both read:
`fullconv.scanning.options`, `fullconv.detections.search`, and `fullconv.training.settings`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Self, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fullconv.choices import Cover, Dtype, Flips, Precision, RuntimeChoice
    from fullconv.geometry.grid import Sizes
    from fullconv.preprocessing import Preprocessing
    from fullconv.scanning.progress import Listener as ScanListener
    from fullconv.sources.given import ImageLike
    from fullconv.training.telling import Listener as TrainListener


class Keywords:
    """Base of the frozen records that hold some of a verb's keywords, with their defaults."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return the record's own among some keywords; other keywords are ignored."""
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        return cls(**{name: given[name] for name in names if name in given})


class RunOptions(TypedDict, total=False):
    """The keywords that `scan`, `detect` and `train` share."""

    device: str | None
    resume: bool
    overwrite: bool


class ScanOptions(RunOptions, total=False):
    """The keywords that `scan` and `detect` share; `scan` explains them."""

    classifier: Any
    origin: Mapping[str, str] | None
    preprocessing: Preprocessing | None
    level: int | None
    um_per_pixel: float | None
    own_um_per_pixel: float | None
    bands: Sequence[int] | None
    cover: Cover
    roi: Sequence[float] | None
    mask: ImageLike | None
    output: int
    dtype: Dtype
    runtime: RuntimeChoice
    precision: Precision
    tile: Sizes | None
    memory_bytes: int | None
    windows_to_check: int
    repair: bool
    progress: ScanListener | None


class TrainOptions(RunOptions, total=False):
    """The keywords of `train`, which explains them."""

    background: str | None
    negatives: str | Path | Sequence[str | Path] | None
    truth: str | Path | None
    scales: Sequence[float]
    arch: Callable[..., Any] | None
    epochs: int
    patience: int | None
    seed: int
    flips: Flips
    from_scratch_fcn: bool
    rounds: int
    holdout: float
    batch: int | None
    learning_rate: float
    progress: TrainListener


def check_keywords(verb: str, known: type, given: Mapping[str, object]) -> None:
    """Refuse a keyword that the verb does not have.

    Raises
    ------
    TypeError
        As Python itself does for the keywords of a function.
    """
    for name in given:
        if name not in known.__annotations__:
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}")
