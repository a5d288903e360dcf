"""Axes split into low, middle and high, cell by cell: pure integers, no framework."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullconv.geometry.grid import Axis, Sliding
from fullconv.lift import split
from fullconv.lift.split import Moved, Part, Split

STEP = 4


@st.composite
def axes(draw) -> Split:
    """Draw an axis of cells as dense as pixels, with margins that leave a middle."""
    low, middle, high = draw(st.integers(0, 4)), draw(st.integers(1, 30)), draw(st.integers(0, 4))
    return Split(low, Axis(middle, Fraction(1), Fraction(1), Fraction(1)), high)


@st.composite
def kernels(draw) -> Sliding:
    kernel = draw(st.integers(1, 5))
    return Sliding(
        kernel,
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        draw(st.integers(0, 3)),
        draw(st.integers(0, 3)),
    )


def taken(axis: Split, sliding: Sliding, output: int) -> list[int]:
    """Return the cells under an output's taps; those beyond the ends are padding."""
    first = output * sliding.stride - sliding.before
    return [first + k * sliding.dilation for k in range(sliding.kernel)]


def between(axis: Split, sliding: Sliding, output: int) -> range:
    cells = taken(axis, sliding, output)
    return range(cells[0], cells[-1] + 1)


def read_by(moved: Moved, axis: Split, part: Part, index: int) -> list[int]:
    """Return the window's cells under the taps of one output of a part, as its read says."""
    read = moved.reads[part]
    if read.cells is None:
        start, scale = axis.low + read.skip[0], 1
    else:
        start, scale = read.cells[0] - read.sliding.before, 1
    first = start + index * read.sliding.stride * scale
    return [first + k * read.sliding.dilation for k in range(read.sliding.kernel)]


@given(axes(), kernels())
def test_every_part_reads_what_its_outputs_take(axis: Split, sliding: Sliding) -> None:
    if sliding.output(axis.extent) < 1:
        return
    moved = axis.slide(sliding, 1)
    outputs = [cell for cells in moved.axis.parts.values() for cell in cells]
    assert outputs == list(range(sliding.output(axis.extent)))
    for part, cells in moved.axis.parts.items():
        if part is Part.MIDDLE and moved.reads[part].sliding.stride != sliding.stride:
            continue  # stored more densely than a window's own cells: at this step, every one
        for index, output in enumerate(cells):
            assert read_by(moved, axis, part, index) == taken(axis, sliding, output)
        held = moved.reads[part].cells
        if held is not None:
            assert len(held) > 0, "there must be something to pad"
            inside = {c for o in cells for c in taken(axis, sliding, o)} & set(range(axis.extent))
            assert inside <= set(held) <= set(range(axis.extent))


@given(axes(), kernels())
def test_the_middle_is_what_no_border_reaches(axis: Split, sliding: Sliding) -> None:
    outputs = sliding.output(axis.extent)
    if outputs < 1:
        return
    shared = range(axis.low, axis.extent - axis.high)
    free = [o for o in range(outputs) if all(cell in shared for cell in between(axis, sliding, o))]
    moved = axis.slide(sliding, 1)
    middle = list(moved.axis.parts.get(Part.MIDDLE, range(0)))
    assert set(middle) <= set(free)
    if middle:
        # All of them but those that were given away so that a margin has a cell to read.
        pure = [
            o
            for o in range(outputs)
            if not set(between(axis, sliding, o)) & set(range(axis.extent))
        ]
        assert middle == free or pure


@pytest.mark.parametrize("window_step", [1, 2, 4, 8, 40])
@given(axes(), kernels())
def test_parts_are_kept_only_while_they_are_cheaper(
    window_step: int, axis: Split, sliding: Sliding
) -> None:
    if sliding.output(axis.extent) < 1:
        return
    result = axis.slide(sliding, window_step).axis
    cost = result.cost(window_step)
    if result.private:
        assert cost == result.extent
    elif result.shared:
        assert cost <= split.IDLE_CELLS * result.extent
    else:
        assert cost < split.SHARING_PAYS * result.extent


@given(axes(), st.data())
def test_a_cut_keeps_the_cells_of_a_slice(axis: Split, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, axis.extent - 1))
    stop = data.draw(st.integers(start + 1, axis.extent))
    stride = data.draw(st.integers(1, 3))
    moved = axis.cut(start, stop, stride, 1)
    kept = list(range(start, stop, stride))
    assert moved.axis.extent == len(kept)
    for part, cells in moved.axis.parts.items():
        read = moved.reads[part]
        wanted = [kept[cell] for cell in cells]
        if read.cells is not None:
            assert list(read.cells) == wanted
        else:
            assert axis.low + read.skip[0] == wanted[0]
            assert axis.extent - axis.high - 1 - read.skip[1] == wanted[-1]


@pytest.mark.parametrize(
    ("mode", "cells"),
    [
        ("reflect", [2, 1, 0, 1, 2, 3, 4, 3]),
        ("replicate", [0, 0, 0, 1, 2, 3, 4, 4]),
        ("circular", [3, 4, 0, 1, 2, 3, 4, 0]),
    ],
)
def test_cells_beyond_the_ends_repeat_the_window_s_own(mode: str, cells: list[int]) -> None:
    """The results are NumPy's own for these modes: reflect, edge and wrap."""
    import numpy as np

    names = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    assert np.pad(np.arange(5), (2, 1), mode=names[mode]).tolist() == cells
    axis = Split(0, Axis(5, Fraction(1), Fraction(1), Fraction(1)))
    moved = axis.extended(2, 1, mode, 1)
    middle = list(range(5))
    read = [
        cell
        for part in moved.axis.parts
        for cell in (middle if moved.reads[part].cells is None else moved.reads[part].cells)
    ]
    assert read == cells


@given(axes(), st.integers(0, 6), st.integers(0, 6))
def test_wider_margins_hold_the_same_cells(axis: Split, low: int, high: int) -> None:
    moved = axis.narrowed(low, high, 1)
    assert moved.axis.extent == axis.extent
    if not moved.axis.private:
        assert moved.axis.low == max(low, axis.low)
        assert moved.axis.high == max(high, axis.high)
        skip = moved.reads[Part.MIDDLE].skip
        assert skip == (moved.axis.low - axis.low, moved.axis.high - axis.high)


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), max_size=4),
    st.integers(1, 12),
    st.integers(0, 25),
)
def test_the_length_of_a_map_that_was_cut_is_known(
    extent: int, layers: list[tuple[int, int]], window_step: int, more: int
) -> None:
    """`Axis.kept` against counting: kernels over a map that was cut to the cells windows own."""
    axis = Axis.of_pixels(extent).cut_to_windows(window_step)
    windows = more // window_step + 1
    cells = window_step * (windows - 1) + extent
    for kernel, stride in layers:
        sliding = Sliding(kernel, stride)
        if sliding.output(axis.extent) < 1:
            break
        axis, stored = axis.slide(sliding, window_step)
        cells = stored.output(cells)
        assert axis.kept is not None
        assert cells == axis.stride(window_step) * (windows - 1) + axis.kept
