"""The network in a model file: what it takes and gives, its operations and its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fullconv.wording import few

Dimension = int | str | None
"""A size, the name that a file has for a free one, or None for a free one without a name."""

MOST_KINDS = 8
"""So many kinds of operations are counted in a line, the most frequent first."""


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of a network.

    Attributes
    ----------
    name : str
    shape : tuple or None
        None where the file does not say.
    dtype : str
        As NumPy calls it; empty where the file does not say.
    """

    name: str
    shape: tuple[Dimension, ...] | None
    dtype: str = ""

    def __str__(self) -> str:
        """Return its name, sizes and type."""
        sizes = ""
        if self.shape is not None:
            sizes = ", ".join("any" if n is None else str(n) for n in self.shape)
            sizes = f" ({sizes})"
        return f"{self.name}{sizes}{f' {self.dtype}' if self.dtype else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; a free size is null, or its name."""
        shape = None if self.shape is None else list(self.shape)
        return {"name": self.name, "shape": shape, "dtype": self.dtype or None}


@dataclass(frozen=True)
class Weights:
    """How many numbers a file holds.

    Attributes
    ----------
    numbers : int or None
        None where that cannot be told without loading them.
    bytes : int
    types : mapping
        Numbers of each type.
    """

    numbers: int | None
    bytes: int
    types: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, int, int]]) -> Weights:
        """Add up the type, the numbers and the bytes of each tensor."""
        types: Counter[str] = Counter()
        size_bytes = 0
        for dtype, numbers, size in tensors:
            types[dtype] += numbers
            size_bytes += size
        return cls(types.total(), size_bytes, dict(types.most_common()))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"numbers": self.numbers, "bytes": self.bytes, "types": dict(self.types)}


@dataclass(frozen=True)
class ModelContents:
    """A network as a file holds it.

    Attributes
    ----------
    format : str
        ``ONNX``, ``PyTorch (torch.export)``, ``TorchScript`` or ``Keras``.
    versions : mapping
        What the file says of the form that it is written in, and of who wrote it.
    inputs, outputs : tuple of TensorInfo
    operations : mapping
        How often each kind of operation or layer occurs; of a ``.keras`` file the layers.
    weights : Weights or None
        None where the file holds none, or they cannot be read here.
    metadata : mapping
        Every text that the file carries beside the network.
    """

    format: str
    versions: Mapping[str, str]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operations: Mapping[str, int]
    weights: Weights | None
    metadata: Mapping[str, str]

    @property
    def kinds(self) -> str:
        """How many operations of which kinds, the most frequent first: 3: 2 Conv, 1 Relu."""
        total = sum(self.operations.values())
        counted = sorted(self.operations.items(), key=lambda kind: (-kind[1], kind[0]))
        return f"{total}: {few([f'{count} {kind}' for kind, count in counted], MOST_KINDS)}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "versions": dict(self.versions),
            "inputs": [value.as_dict() for value in self.inputs],
            "outputs": [value.as_dict() for value in self.outputs],
            "nodes": sum(self.operations.values()),
            "operations": dict(self.operations),
            "weights": None if self.weights is None else self.weights.as_dict(),
        }
