"""One spatial axis of a field, split where windows stop sharing: pure integers.

Note [Parts of a window]
Padding puts zeros (or mirrored cells) at the border of the crop, where the image has pixels. A cell
that reads them belongs to one window only; so does every cell that reads such a cell. Along one
axis these are the first ``low`` and the last ``high`` cells of a window; the cells between do not
depend on the window's border, and all windows that cover them share them. Every axis is handled
alone, and a map is their product: 3, 9 or 27 parts over one, two or three axes, each computed once
at its own level of sharing. Over two:

    rows \\ columns   low               middle              high
    low              per window        per window row      per window
    middle           per window column shared by all       per window column
    high             per window        per window row      per window

An unpadded network has the middle alone. Where the middle is empty the axis is *private*: ``low``
holds all its cells, and with all axes private there is one tensor per window.

A part's stored map is ``(N, C, *cells)``. Along a shared axis it holds the cells of the image,
along a private one the cells of one window, and the windows are then entries of the batch:
``N * rows``, ``N * columns`` or ``N * rows * columns``, row-major.

An axis along which the image is as long as the window is *fixed*: there is one window along it,
whose border is the image's. It is private from the start, and nothing is gathered for it.

docs/theory.md, "Parts of a window", derives which cells an operation puts into which part.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from fullconv.geometry.grid import Axis, Sliding

SHARING_PAYS = 0.9
"""Parts are kept while they cost less than this times the cost of whole windows.

The difference pays for computing up to nine small maps in place of one; measured with VGG16 and
ResNet-50 (`benchmarks`)."""

IDLE_CELLS = 1.25
"""An axis without margins is gathered only where it stores more than this times the cells of a
window: neighbours then lie too far apart, or between each other's cells, to have any in common."""


EACH = Sliding(1)
"""Every cell as it is."""


class Part(enum.Enum):
    """The place of cells along an axis of a window; see Note [Parts of a window]."""

    LOW = "lo"
    MIDDLE = "mid"
    HIGH = "hi"


@dataclass(frozen=True)
class PartInput:
    """The cells that the outputs of one part read along one axis.

    Attributes
    ----------
    cells : tuple of int or None
        Cells of the window, in order; None for the shared middle, without those of `skip`.
    skip : (int, int)
        Stored cells of the shared middle that are dropped first, at its start and end.
    sliding : Sliding
        How the kernel moves over them, in stored cells, with the padding that is left to add.
    """

    cells: tuple[int, ...] | None
    sliding: Sliding = EACH
    skip: tuple[int, int] = (0, 0)


SHARED_MIDDLE = PartInput(None)
"""The shared middle as it is."""


@dataclass(frozen=True)
class Split:
    """The cells of one window along one axis: ``low``, the shared middle, ``high``.

    Attributes
    ----------
    low, high : int
        Cells at the ends that every window has for itself.
    middle : Axis
        The cells between, and how all windows store them.
    fixed : bool
        Whether there is one window along the axis.
    """

    low: int
    middle: Axis
    high: int = 0
    fixed: bool = False

    @classmethod
    def of_pixels(cls, window: int, *, fixed: bool = False) -> Split:
        """Return the axis of the input image itself."""
        return cls.fixed_to(window) if fixed else cls(0, Axis.of_pixels(window))

    @classmethod
    def fixed_to(cls, extent: int) -> Split:
        """Return an axis of ``extent`` cells along which there is one window."""
        return cls(extent, Axis.of_pixels(0), fixed=True)

    @property
    def extent(self) -> int:
        """Cells in one window."""
        return self.low + self.middle.extent + self.high

    @property
    def private(self) -> bool:
        """Whether windows share nothing along this axis."""
        return self.middle.extent == 0

    @property
    def shared(self) -> bool:
        """Whether windows share everything along this axis."""
        return self.low == 0 and self.high == 0 and not self.private

    @property
    def dilation(self) -> int:
        """Stored cells between neighbouring cells of a window."""
        return 1 if self.private else self.middle.dilation

    @property
    def parts(self) -> Mapping[Part, range]:
        """The parts that hold cells, with the cells of the window that they hold."""
        middle = self.low + self.middle.extent
        ranges = {
            Part.LOW: range(self.low),
            Part.MIDDLE: range(self.low, middle),
            Part.HIGH: range(middle, self.extent),
        }
        return {part: cells for part, cells in ranges.items() if len(cells)}

    def density(self, part: Part, window_step: int) -> int:
        """Return the stored cells of a part per window, in an image of many windows."""
        if part is Part.MIDDLE:
            return self.middle.stride(window_step)
        return len(self.parts[part])

    def cost(self, window_step: int) -> int:
        """Return the stored cells of all parts per window, in an image of many windows."""
        return sum(self.density(part, window_step) for part in self.parts)

    def pays(self, window_step: int) -> bool:
        """Whether parts are cheaper than whole windows.

        The numbers of operations and of stored cells along one axis are proportional to
        ``low + s + high`` with parts, where ``s`` middle cells are stored per window, and to
        the extent without; the other axis multiplies both.
        """
        if self.private:
            return False
        if self.shared:
            return self.cost(window_step) <= IDLE_CELLS * self.extent
        return self.cost(window_step) < SHARING_PAYS * self.extent

    def taken(self, cells: Sequence[int], sliding: Sliding = EACH) -> Moved:
        """Give every window these of its cells, on a private axis, and move a kernel over them."""
        axis = self.of_own(sliding.output(len(cells)))
        return Moved(axis, {Part.LOW: PartInput(tuple(cells), sliding)})

    def of_own(self, extent: int) -> Split:
        """Return this axis with ``extent`` cells, all of which every window has for itself."""
        return replace(self, low=extent, middle=replace(self.middle, extent=0), high=0)

    def gathered(self) -> Moved:
        """Give every window all its cells."""
        return self.taken(range(self.extent))

    def as_it_is(self) -> Moved:
        """Leave every part as it is."""
        return Moved(self, self._reading(range(self.extent)))

    def _reading(
        self, cells: Sequence[int], middle: PartInput = SHARED_MIDDLE
    ) -> dict[Part, PartInput]:
        """Return the reads of every part: ``middle`` for the shared one, these cells for others."""
        return {
            part: middle if part is Part.MIDDLE else PartInput(tuple(cells[own.start : own.stop]))
            for part, own in self.parts.items()
        }

    # How operations change an axis.

    def slide(self, sliding: Sliding, window_step: int) -> Moved:
        """Move a kernel along this axis, every window in its own padding.

        Output ``o`` reads the cells ``o * t - p`` to ``o * t - p + span - 1``. It is in ``low``
        where that range starts below ``low`` here, in ``high`` where it ends at or beyond
        ``extent - high``. Padding is added where the kernel is applied; ``low`` and ``high`` grow
        until each reads one cell at least, so that there is a block to pad.
        """
        outputs, (_, stride, _, before, _) = sliding.output(self.extent), sliding
        span = sliding.span
        low = max(0, -(-(self.low + before) // stride))
        while low and (low - 1) * stride - before + span <= 0:
            low += 1
        end = (self.extent - self.high + before - span) // stride + 1
        while end < outputs and end * stride - before >= self.extent:
            end -= 1
        end = min(end, outputs)
        if self.private or low >= end:
            return self.taken(range(self.extent), sliding)
        skip = low * stride - before - self.low
        dropped = skip * self.middle.dilation
        # Cells behind the last one that is read stay, unread.
        shared = self.middle.shortened(self.middle.extent - skip, dropped)
        middle, stored = shared.slide(sliding._replace(before=0, after=0), window_step)
        axis = Split(low, replace(middle, extent=end - low), outputs - end)
        if not axis.pays(window_step):
            return self.taken(range(self.extent), sliding)
        reads = {Part.MIDDLE: PartInput(None, stored, (dropped, 0))}
        for part, cells in axis.parts.items():
            if part is not Part.MIDDLE:
                reads[part] = self._own(sliding, cells)
        return Moved(axis, reads)

    def _own(self, sliding: Sliding, outputs: range) -> PartInput:
        start = outputs[0] * sliding.stride - sliding.before
        stop = outputs[-1] * sliding.stride - sliding.before + sliding.span
        cells = tuple(range(max(0, start), min(stop, self.extent)))
        padding = max(0, -start), max(0, stop - self.extent)
        return PartInput(cells, sliding._replace(before=padding[0], after=padding[1]))

    def cut(
        self, start: int, stop: int, stride: int, window_step: int, *, gather: bool = True
    ) -> Moved:
        """Keep the cells ``start:stop:stride``."""
        kept = range(start, stop, stride)
        low = len([cell for cell in kept if cell < self.low])
        high = len([cell for cell in kept if cell >= self.extent - self.high])
        return self._keep(kept, low, high, window_step, gather=gather)

    def _keep(
        self, kept: range, low: int, high: int, window_step: int, *, gather: bool = True
    ) -> Moved:
        """Keep some cells; every window has the first ``low`` and last ``high`` for itself."""
        inside = kept[low : len(kept) - high]
        if not inside:
            return self.taken(kept)
        start, stop = inside[0] - self.low, inside[-1] + 1 - self.low
        middle, cut = self.middle.cut(start, stop, kept.step, window_step)
        axis = Split(low, middle, high)
        if gather and not axis.pays(window_step):
            return self.taken(kept)
        shared = PartInput(None, Sliding(1, cut.stride), (cut.before, cut.after))
        return Moved(axis, axis._reading(kept, shared))

    def extended(self, before: int, after: int, mode: str, window_step: int) -> Moved:
        """Add cells at both ends that repeat others of the window.

        ``mode`` is reflect, replicate or circular, as PyTorch and ONNX name them.
        """
        a = self.extent
        cells = [_repeated(j, a, mode) for j in range(-before, a + after)]
        axis = Split(self.low + before, self.middle, self.high + after)
        if (before or after) and not axis.pays(window_step):
            return self.taken(cells)
        return Moved(axis, axis._reading(cells))

    @property
    def apart(self) -> bool:
        """Whether no window stores cells between those of another.

        Otherwise, where cells are spread over finer ones, one place would hold a different finer
        cell for each of these windows.
        """
        return self.private or self.middle.dilation == 1

    def repeated(self, factor: int) -> Split:
        """Return the axis with ``factor`` cells in place of each, in every part of the window."""
        middle = self.middle
        longer = replace(
            middle,
            extent=middle.extent * factor,
            pitch=middle.pitch / factor,
            step=middle.step / factor,
            reach=middle.reach if factor == 1 else None,
            kept=None if middle.kept is None else middle.kept * factor,
        )
        return replace(self, low=self.low * factor, middle=longer, high=self.high * factor)

    def narrowed(self, low: int, high: int, window_step: int) -> Moved:
        """Move cells from the middle to the margins, which become at least as large as these."""
        low, high = max(low, self.low), max(high, self.high)
        if self.private or low + high >= self.extent:
            return self.gathered()
        if (low, high) == (self.low, self.high):
            return self.as_it_is()
        return self._keep(range(self.extent), low, high, window_step)


@dataclass(frozen=True)
class Moved:
    """An axis as an operation leaves it, and the reads of each of its parts."""

    axis: Split
    reads: Mapping[Part, PartInput]


def on_window_grid(window: int, window_step: int) -> Axis:
    """Return the axis of one number per window: exactly as many cells as there are windows."""
    step = Fraction(window_step)
    return Axis(1, step, step, Fraction(window))


def _repeated(cell: int, extent: int, mode: str) -> int:
    """Return the cell of the window that is repeated at a place beyond its ends."""
    if mode == "circular":
        return cell % extent
    if mode == "replicate":
        return min(max(cell, 0), extent - 1)
    if cell < 0:
        return -cell
    return cell if cell < extent else 2 * (extent - 1) - cell
