"""What a framework does for the core."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fullconv.geometry import Grid, Sizes
from fullconv.graph import Graph
from fullconv.images import ImageShape, Takes
from fullconv.lift.pace import Pace

METADATA = "fullconv_metadata"
"""Attribute by which a module in memory may carry what a model file says beside the network."""

TORCHSCRIPT = (".pt", ".torchscript", ".ts")
"""Endings of TorchScript files; a ``.pt`` may also be a pickle."""

Held = Callable[[Any], int]
"""Bytes that a run holds at once, from its images."""


def nothing_held(images: Any) -> int:
    """Say nothing about what a run holds."""
    return 0


class Framework(ABC):
    """What a framework does for the core: read, write, run, save."""

    name: str
    suffix: str
    pace = Pace()
    """What it takes for other things than multiplying; the usual is PyTorch's, as measured."""
    crops_at_once = 64
    """Windows that it computes fastest at once where they share nothing, as measured."""

    @abstractmethod
    def open(self, path: Path) -> tuple[Any, dict[str, str]]:
        """Load a model file without running code from it; return it with its metadata."""

    @abstractmethod
    def metadata(self, model: Any) -> dict[str, str]:
        """Return the metadata that a model in memory carries."""

    @abstractmethod
    def read(self, model: Any, window: Sizes | None) -> Any:
        """Return the model's source: its vocabulary graph as ``.graph``, and what writing needs."""

    def axes(self, model: Any, length: int) -> int | None:
        """Return over how many axes the windows of a model lie, which are so long along each.

        None where nothing tells.
        """
        return None

    def order(self, source: Any) -> str:
        """Return how a model takes its images, where that is not the framework's usual order."""
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
            Whatever the framework says where it cannot; so may the function, when it is called.
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
        """Return the distance from 1 to the next number of the type that a model's images have.

        0 where they are whole numbers.
        """
        return 0.0

    def loaded(self, model: Any, shape: ImageShape) -> Any:
        """Return a converted model as `open` gives it in the form that `write` gives it.

        Raises
        ------
        ModelError
            If it is not the converted model that its file says.
        """
        return model

    @abstractmethod
    def runner(self, model: Any, held: Held = nothing_held) -> Callable[[Any], Any]:
        """Return a converted model as a function from images to scores.

        ``held`` estimates how many bytes of tensors a run holds at once.
        """

    def computes_in_cache(self, model: Any, images: Any) -> bool:
        """Whether a model computes images by the caches of this processor, part after part.

        Not on another device, nor while it trains, when images of a batch may belong together.
        """
        return "cpu" in str(getattr(images, "device", "cpu")).lower()

    def inward(self, model: Any, images: Any) -> Any:
        """Return a caller's images for a converted model with their axes as `check` wants them."""
        return images

    def outward(self, model: Any, scores: Any) -> Any:
        """Return scores ``(N, K, rows, columns)`` with their axes as the model gives them."""
        return scores

    @abstractmethod
    def check(self, images: Any, shape: ImageShape) -> Any:
        """Return images as this framework's arrays ``(N, C, H, W)``, or raise `ImageError`."""

    @abstractmethod
    def images(self, model: Any, pixels: Any) -> Any:
        """Return prepared pixels ``(N, C, H, W)``, NumPy's float32, as a model takes them."""

    @abstractmethod
    def join(self, arrays: Sequence[Any], axis: int) -> Any:
        """Concatenate arrays."""

    @abstractmethod
    def to_numpy(self, array: Any) -> Any:
        """Return an array of this framework as NumPy's."""

    @abstractmethod
    def save(self, model: Any, shape: ImageShape, path: Path, metadata: Mapping[str, str]) -> None:
        """Write a converted model with free height and width, whole or not at all."""

    def alike(self, model: Any, other: Any, shape: ImageShape) -> bool:
        """Whether another form of a converted model holds the same weights, and scores alike."""
        return False

    @abstractmethod
    def digest(self, model: Any) -> str:
        """Return a hash of all that decides a converted model's scores."""

    @abstractmethod
    def odd_weights(self, source: Any) -> list[str]:
        """Name the parameters that hold NaN or infinity."""

    def kept(self, model: Any) -> Mapping[str, Any]:
        """Return copies of what a classifier in memory may overwrite when it is called, by name."""
        return {}

    def overwriting(self, model: Any) -> list[str]:
        """Name operations of a classifier in memory that may overwrite its weights."""
        return []
