"""Items go through reading, computing and writing side by side, and come out in order."""

from __future__ import annotations

import threading

import pytest

from fullconv.scanning.pipeline import run


class Stages:
    """Doubles numbers; notes what was written, and how many were computed at a time."""

    def __init__(self, together: int = 1) -> None:
        self.written: list[int] = []
        self.computing = self.most = 0
        self.meeting = threading.Barrier(together)
        self.lock = threading.Lock()

    def read(self, item: int) -> int:
        return item

    def compute(self, item: int, held: int) -> int:
        with self.lock:
            self.computing += 1
            self.most = max(self.most, self.computing)
        self.meeting.wait(60)  # for as many as are to be computed at a time
        with self.lock:
            self.computing -= 1
        if item == 7:
            raise ZeroDivisionError
        return 2 * held

    def write(self, item: int, made: int) -> None:
        self.written.append(made)


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_items_are_written_and_yielded_in_their_order(lanes: int) -> None:
    stages = Stages()
    made = list(run(range(6), stages.read, stages.compute, stages.write, lanes))
    assert made == [(item, 2 * item) for item in range(6)]
    assert stages.written == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_as_many_items_are_computed_at_a_time_as_there_are_lanes(lanes: int) -> None:
    stages = Stages(together=lanes)
    list(run(range(6), stages.read, stages.compute, stages.write, lanes))
    assert stages.most == lanes


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_what_was_computed_before_a_failure_is_written(lanes: int) -> None:
    stages = Stages()
    with pytest.raises(ZeroDivisionError):
        list(run(range(9), stages.read, stages.compute, stages.write, lanes))
    assert stages.written == [0, 2, 4, 6, 8, 10, 12]
