"""Limits on the memory that a model may ask for.

A file of a kilobyte can declare a constant of terabytes. So every size is computed before its
tensor is made, and compared with the sizes of the image and the weights, which are known to exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from fullconv.errors import ModelError, TooLargeError

MOST_NODES = 50_000
"""Most operators in one model, after functions, branches and loops are expanded."""

MOST_WRITTEN = 10_000
"""Most operators that may replace branches, loops and lists; each takes under a millisecond."""

MOST_TURNS = 1000
"""Most iterations of one loop, or pieces of one list, that are expanded."""

LARGEST = 1 << 28
"""Most numbers in one tensor of one window: one gigabyte in single precision."""

FEW = 1 << 24
"""Numbers that a tensor may always have, even when the image and the weights are smaller."""

GROWTH = 1024
"""Numbers that a tensor may have for each number of the image."""

FOLDED = 1 << 25
"""Most numbers in all constants together that are computed while a model is read."""


class Bounds:
    """The memory that a model has asked for so far, in numbers (not bytes).

    Parameters
    ----------
    image : int
        Numbers in the image of one window.
    weights : int
        Numbers in all weights together.
    """

    def __init__(self, image: int, weights: int) -> None:
        self.of_image = min(LARGEST, max(FEW, GROWTH * image))
        self.of_weights = max(FEW, 2 * weights)
        self.folded = 0
        self.nodes = self.written = 0

    def take_node(self) -> None:
        """Count an operator."""
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise _too_many(MOST_NODES, "functions and loops")

    def write_node(self) -> None:
        """Count an operator that replaces a branch, a loop or a list."""
        self.written += 1
        if self.written > MOST_WRITTEN:
            raise _too_many(MOST_WRITTEN, "branches, loops and lists")

    def most(self, of_image: bool) -> int:
        """Return the most numbers that a tensor made from the image, or from weights, may have."""
        return self.of_image if of_image else self.of_weights

    def check(self, what: str, shape: Sequence[int], of_image: bool) -> None:
        """Refuse a tensor that is far larger than the image or the weights it is made from."""
        limit = self.most(of_image)
        if any(size < 0 for size in shape) or prod(shape) > limit:
            raise too_large(what, shape, limit)

    def fold(self, what: str, shape: Sequence[int]) -> None:
        """Count a constant that is about to be computed."""
        self.folded += prod(shape)
        if self.folded > FOLDED:
            raise too_large(what, shape, FOLDED)


def _too_many(most: int, written: str) -> ModelError:
    return ModelError(
        f"convert: the model has more than {most} operators, with its {written} written out; "
        f"export it in a smaller form."
    )


def too_large(what: str, shape: Sequence[int], limit: int) -> TooLargeError:
    """Return the error for a tensor with too many numbers."""
    return TooLargeError(
        f"convert: {what} would have {'x'.join(map(str, shape))} numbers, and fullconv makes at "
        f"most {limit} for one window of this model; check the sizes in the model, or give a "
        f"smaller window."
    )
