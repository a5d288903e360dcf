"""Histograms of oriented gradients and a linear support vector machine: the classical detector.

Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection" (2005): square root of the
pixels, 9 orientations, blocks of 2x2 cells that overlap by a cell and are normalised by L2-Hys,
the strongest channel at each pixel, and one round of hard negatives. The side of a cell, whether
roots are taken, and C are chosen by cross-validation. Several classes are one against the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import LinearSVC

Numbers = NDArray[np.float32]

CELLS = (4, 7, 8)
"""Sides of a cell that are tried, in pixels, where they divide the window."""

C_VALUES = (0.003, 0.01, 0.03, 0.1, 0.3)
FOLDS = 3
MOST_TO_CHOOSE = 6000
"""Crops of all classes together by which cell, root and C are chosen."""


@dataclass(frozen=True)
class Descriptor:
    """How a window becomes numbers.

    Attributes
    ----------
    window : (int, int)
        Height and width; whole cells.
    cell : int
        Side of a cell, and the pixels from one window to the next.
    is_rooted : bool
        Whether the square root of the pixels is taken first.
    """

    window: tuple[int, int]
    cell: int
    is_rooted: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of blocks in a window."""
        h, w = self.window
        return h // self.cell - 1, w // self.cell - 1

    def blocks(self, image: NDArray[np.uint8]) -> Numbers:
        """Return the blocks ``(rows, columns, 36)`` of pixels ``(H, W)`` or ``(H, W, C)``.

        A gradient at the border needs the pixel beyond it, which a crop does not show: images are
        continued by their odd reflection, under which a slope goes on. So a window has nearly the
        same blocks as a crop and inside of an image, whose windows share them.
        """
        whole = [n // self.cell * self.cell for n in image.shape[:2]]
        held = image[: whole[0], : whole[1]] / np.float32(255)
        held = np.sqrt(held) if self.is_rooted else held
        edges = [(self.cell, self.cell)] * 2 + [(0, 0)] * (image.ndim - 2)
        found = hog(
            np.pad(held, edges, mode="reflect", reflect_type="odd"),
            orientations=9,
            pixels_per_cell=(self.cell, self.cell),
            cells_per_block=(2, 2),
            block_norm="L2-Hys",
            channel_axis=-1 if image.ndim == 3 else None,
            feature_vector=False,
        )
        inner: Numbers = found[1:-1, 1:-1].reshape(whole[0] // self.cell - 1, -1, 36)
        return inner.astype(np.float32)

    def of_crops(self, crops: NDArray[np.uint8]) -> Numbers:
        """Return ``(N, numbers)`` for crops ``(N, h, w)`` or ``(N, h, w, C)``."""
        rows, columns = self.shape
        held = np.empty((len(crops), rows * columns * 36), np.float32)
        for number, crop in enumerate(crops):
            held[number] = self.blocks(crop).ravel()
        return held

    def at(self, blocks: Numbers, row: int, column: int) -> Numbers:
        """Return the numbers of one window, by its row and column on the grid of cells."""
        rows, columns = self.shape
        return blocks[row : row + rows, column : column + columns].ravel()


@dataclass(frozen=True, eq=False)
class Detector:
    """A trained machine.

    Attributes
    ----------
    descriptor : Descriptor
    classes : tuple of str
    weights : numpy.ndarray
        ``(K, numbers)``.
    offsets : numpy.ndarray
        ``(K,)``.
    """

    descriptor: Descriptor
    classes: tuple[str, ...]
    weights: Numbers
    offsets: Numbers

    def margins(self, described: Numbers) -> Numbers:
        """Return ``(N, K)``: how far each window is on the side of each class."""
        return described @ self.weights.T + self.offsets

    def heatmap(self, image: NDArray[np.uint8]) -> Numbers:
        """Return margins ``(K, rows, columns)`` of all windows of an image, a cell apart."""
        return self.of_blocks(self.descriptor.blocks(image))

    def of_blocks(self, blocks: Numbers) -> Numbers:
        """Return margins ``(K, rows, columns)`` of all windows over blocks.

        Blocks are computed once for all windows, and each place in the window adds its part.
        """
        down, across = self.descriptor.shape
        rows, columns = blocks.shape[0] - down + 1, blocks.shape[1] - across + 1
        weights = self.weights.reshape(-1, down, across, 36)
        margins = np.tile(self.offsets, (rows, columns, 1))
        for y in range(down):
            for x in range(across):
                margins += blocks[y : y + rows, x : x + columns] @ weights[:, y, x].T
        return margins.transpose(2, 0, 1)


@dataclass(frozen=True)
class Choice:
    """What cross-validation has chosen, and its accuracy there."""

    descriptor: Descriptor
    c: float
    accuracy: float


def choose(crops: NDArray[np.uint8], labels: NDArray[np.int64], seed: int = 0) -> Choice:
    """Return the best descriptor and C by cross-validation on some of the crops.

    The descriptor is chosen at a middling C, then C for it.
    """
    some = np.random.default_rng(seed).permutation(len(crops))[:MOST_TO_CHOOSE]
    crops, labels = crops[some], labels[some]
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)

    def accuracy(described: Numbers, c: float) -> float:
        return float(cross_val_score(machine(c), described, labels, cv=folds).mean())

    middle = C_VALUES[len(C_VALUES) // 2]
    tried = {one: accuracy(one.of_crops(crops), middle) for one in _descriptors(crops.shape[1:3])}
    best = max(tried, key=tried.__getitem__)
    described = best.of_crops(crops)
    by_c = {c: accuracy(described, c) for c in C_VALUES}
    c = max(by_c, key=by_c.__getitem__)
    return Choice(best, c, by_c[c])


def machine(c: float) -> LinearSVC:
    """Return an untrained machine."""
    return LinearSVC(C=c, random_state=0, max_iter=3000)


def fit(
    choice: Choice, described: Numbers, labels: NDArray[np.int64], classes: Sequence[str]
) -> Detector:
    """Return a detector that has learnt described windows."""
    learnt = machine(choice.c).fit(described, labels)
    weights, offsets = learnt.coef_, learnt.intercept_
    if len(classes) == 2:  # one machine, for the second class
        weights, offsets = np.stack([-weights[0], weights[0]]), np.array([-offsets[0], offsets[0]])
    return Detector(
        choice.descriptor, tuple(classes), weights.astype(np.float32), offsets.astype(np.float32)
    )


def lead(margins: Numbers) -> Numbers:
    """Return how far each class ``(K, ...)`` is ahead of the best other one."""
    ordered = np.sort(margins, axis=0)
    return margins - np.where(margins == ordered[-1], ordered[-2], ordered[-1])


def _descriptors(window: tuple[int, int]) -> Iterator[Descriptor]:
    for cell in CELLS:
        if all(n % cell == 0 for n in window):
            for is_rooted in (True, False):
                yield Descriptor(window, cell, is_rooted)
