"""The interface of a framework to the core."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fullconv.geometry.grid import Grid, Sizes
from fullconv.geometry.images import ImageShape, Takes
from fullconv.graph.graph import Graph
from fullconv.lift.pace import Pace

METADATA = "fullconv_metadata"
"""Attribute of a module in memory with the metadata that a model file would have."""

TORCHSCRIPT = (".pt", ".torchscript", ".ts")
"""Endings of TorchScript files; a ``.pt`` may also be a pickle."""

MemoryEstimate = Callable[[Any], int]
"""Estimates the bytes of tensors that a run on these images holds at once."""


def no_estimate(images: Any) -> int:
    """Return 0: the memory of a run is not estimated."""
    return 0


class Framework(ABC):
    """A framework, as the core uses it: reads, writes, runs and saves models."""

    name: str
    suffix: str
    pace = Pace()
    """Costs of work other than multiplications; the default was measured with PyTorch."""
    crops_at_once = 64
    """Windows per batch that are fastest where windows share nothing, as measured."""

    @abstractmethod
    def open(self, path: Path) -> tuple[Any, dict[str, str]]:
        """Return the model in a file and its metadata, without running code from the file."""

    @abstractmethod
    def metadata(self, model: Any) -> dict[str, str]:
        """Return the metadata that a model in memory carries."""

    @abstractmethod
    def read(self, model: Any, window: Sizes | None) -> Any:
        """Return the model's vocabulary graph, as ``.graph``, with all that `write` needs."""

    def axes(self, model: Any, length: int) -> int | None:
        """Return the number of axes of a model's windows, which have this length along each.

        None where it is not known.
        """
        return None

    def order(self, source: Any) -> str:
        """Return the order of the axes of a model's images; empty for the framework's usual one."""
        return ""

    @abstractmethod
    def write(self, graph: Graph, source: Any, grid: Grid) -> Any:
        """Return a lifted graph as a model of this framework."""

    @abstractmethod
    def classifier(self, model: Any, takes: Takes = "map") -> Callable[[Any], Any]:
        """Return the original model as a function from crops to scores.

        Crops are ``(n, C, *window)``, or what the classifier ``takes`` instead.
        """

    def in_double(self, model: Any, takes: Takes = "map") -> Callable[[Any], Any]:
        """Return the original model as `classifier` does, computed in double precision.

        Raises
        ------
        Exception
            The framework's own error where it cannot; the function may raise it when called.
        """
        raise NotImplementedError(f"{self.name} has no double precision here")

    def runner_in_double(self, model: Any) -> Callable[[Any], Any]:
        """Return a converted model as `runner` does, computed in double precision.

        Raises
        ------
        Exception
            As `in_double`.
        """
        raise NotImplementedError(f"{self.name} has no double precision here")

    def epsilon(self, model: Any) -> float:
        """Return the distance from 1 to the next number, in the type of a model's images.

        0 for integer types.
        """
        return 0.0

    def loaded(self, model: Any, shape: ImageShape) -> Any:
        """Turn a converted model from the form that `open` returns into the form of `write`.

        Raises
        ------
        ModelError
            If it does not fit what its file says of it.
        """
        return model

    @abstractmethod
    def runner(self, model: Any, run_bytes: MemoryEstimate = no_estimate) -> Callable[[Any], Any]:
        """Return a converted model as a function from images to scores.

        ``run_bytes`` estimates how many bytes of tensors a run holds at once.
        """

    def computes_in_cache(self, model: Any, images: Any) -> bool:
        """Whether a model may compute images in parts that fit the caches of this processor.

        Not on another device, and not in training, where the images of a batch may depend on one
        another.
        """
        return "cpu" in str(getattr(images, "device", "cpu")).lower()

    def inward(self, model: Any, images: Any) -> Any:
        """Return a caller's images with their axes in the order that `check` expects."""
        return images

    def outward(self, model: Any, scores: Any) -> Any:
        """Return scores ``(N, K, rows, columns)`` with their axes in the order of the model."""
        return scores

    @abstractmethod
    def check(self, images: Any, shape: ImageShape) -> Any:
        """Return images as this framework's arrays ``(N, C, H, W)``, or raise `ImageError`."""

    @abstractmethod
    def images(self, model: Any, pixels: Any) -> Any:
        """Return prepared pixels, float32 ``(N, C, H, W)`` of NumPy, in the form a model takes."""

    @abstractmethod
    def join(self, arrays: Sequence[Any], axis: int) -> Any:
        """Concatenate arrays."""

    @abstractmethod
    def to_numpy(self, array: Any) -> Any:
        """Return an array of this framework as NumPy's."""

    @abstractmethod
    def save(self, model: Any, shape: ImageShape, path: Path, metadata: Mapping[str, str]) -> None:
        """Write a converted model with free height and width; no partial file is left."""

    def alike(self, model: Any, other: Any, shape: ImageShape) -> bool:
        """Whether another form of a converted model has the same weights and the same scores."""
        return False

    @abstractmethod
    def digest(self, model: Any) -> str:
        """Return a hash of everything that a converted model's scores depend on."""

    @abstractmethod
    def non_finite_weights(self, source: Any) -> list[str]:
        """Return the names of the parameters with NaN or infinity."""

    def kept(self, model: Any) -> Mapping[str, Any]:
        """Return copies, by name, of the tensors that a classifier may overwrite when called."""
        return {}

    def overwriting(self, model: Any) -> list[str]:
        """Return the names of a classifier's operations that may overwrite its weights."""
        return []
