"""The other operations of a window classifier, at its native size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fullconv.geometry.grid import HeightWidth
from fullconv.operations.base import Operation, PaddingMode


@dataclass(frozen=True)
class Linear(Operation):
    """Inputs: x ``(..., in)``, weight ``(out, in)``, bias ``(out,)`` or None."""


@dataclass(frozen=True)
class Reduce(Operation):
    """Mean, sum, maximum, Euclidean norm ("l2"), variance or standard deviation over whole axes.

    A variance of ``n`` numbers is the sum of squares around their mean over ``n - correction``.
    """

    kind: Literal["mean", "sum", "max", "l2", "var", "std"]
    axes: tuple[int, ...]
    keepdims: bool
    correction: int = 0

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return f"Reduce{self.kind.capitalize()}"


@dataclass(frozen=True)
class Pointwise(Operation):
    """Any function of corresponding elements, with broadcasting; inputs: the tensors."""

    name: str

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name


@dataclass(frozen=True)
class PerChannel(Operation):
    """Pointwise with parameters along axis 1: batch normalization in eval mode, PReLU.

    Inputs: x, then parameters of shape ``(C,)`` or ``(1,)``, or None.
    """

    name: str

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name


@dataclass(frozen=True)
class AlongAxis(Operation):
    """Mixes along one axis and nothing else: softmax, log-softmax, LRN (axis 1)."""

    name: str
    axis: int
    ordered: bool = False

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name


@dataclass(frozen=True)
class LayerNormalization(Operation):
    """Normalizes over the last ``axes`` axes; inputs: x, scale or None, bias or None."""

    axes: int
    epsilon: float


@dataclass(frozen=True)
class GroupNormalization(Operation):
    """Normalizes over each of ``groups`` runs of axis 1 and all axes behind it.

    With as many groups as channels it is instance normalization. Inputs: x, scale or None, bias or
    None, one number per channel or one per group.
    """

    groups: int
    epsilon: float


@dataclass(frozen=True)
class Concat(Operation):
    """Joins its inputs along one axis."""

    axis: int


@dataclass(frozen=True)
class Slice(Operation):
    """Keeps ``start:stop:step`` of one axis (all non-negative, in range)."""

    axis: int
    start: int
    stop: int
    step: int = 1


@dataclass(frozen=True)
class Take(Operation):
    """Keeps or reorders the entries of one axis: a flip, a roll, an index of constants."""

    axis: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Pad(Operation):
    """Adds (or, where negative, removes) cells before and after each axis."""

    pads: tuple[HeightWidth, ...]
    mode: PaddingMode = "constant"
    value: float = 0.0


@dataclass(frozen=True)
class Reshape(Operation):
    """Flatten, view, squeeze, unsqueeze: regroups elements into ``shape``, row-major.

    In a classifier ``shape`` is the native shape, for the number of images that the network was
    read with; on one tensor per window the axis with the windows is -1.
    """

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Permute(Operation):
    """Reorders axes."""

    order: tuple[int, ...]


@dataclass(frozen=True)
class Identity(Operation):
    """Changes nothing when the network is evaluated: dropout, contiguous, identity."""

    name: str


@dataclass(frozen=True)
class Standing:
    """The axes in which the windows of an image may stand, one behind the other.

    An operation that treats the entries of an axis alone gives the same results whether they belong
    to one window or to many.

    Attributes
    ----------
    inputs : tuple of int or None
        An axis of each input; None for one that is the same for all windows (a weight).
    outputs : tuple of int
        The axis of each result in which they then stand.
    """

    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Opaque(Operation):
    """An operation without a rule; it runs as it is, on one tensor per window.

    ``standing`` is None where it is unknown how the operation treats its axes; it then runs on each
    window alone: see Note [A batch of one] in `fullconv.lift.windows`. ``products`` counts its
    multiply-accumulates on native tensors, as far as they are known (`fullconv.lift.cost`).
    """

    name: str
    standing: Standing | None = None
    products: int = 0

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name


@dataclass(frozen=True)
class Random(Operation):
    """Draws random numbers: its results are no function of its inputs."""

    name: str

    @property
    def title(self) -> str:
        """The operation's name in reports."""
        return self.name
