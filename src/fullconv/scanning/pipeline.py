"""Reading, computing and writing side by side, a bounded number of tiles ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

AHEAD = 2
"""Tiles that are read ahead of a single lane: one while another is computed, and one to spare."""

READERS = 2
"""Threads that read for a single lane; more would take the processor from the network."""

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")


def run(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Item, Read], Made],
    write: Callable[[Item, Made], None],
    lanes: int = 1,
) -> Iterator[tuple[Item, Made]]:
    """Take items through three stages, and yield each with its result when that is written.

    ``read`` runs in threads, ``compute`` in the caller's, ``write`` in one more, so that one result
    is written while the next is computed. With several lanes each is a thread that reads an item
    and computes it: one reads while another computes, and no core has two things to do.
    An error of a stage is raised here, after everything computed before it is written.
    """
    if lanes > 1:
        both = partial(_read_and_computed, read, compute)
        yield from _run(items, both, _handed_on, write, lanes, lanes + 1)
    else:
        yield from _run(items, read, compute, write, READERS, AHEAD)


def _read_and_computed(
    read: Callable[[Item], Read], compute: Callable[[Item, Read], Made], item: Item
) -> Made:
    return compute(item, read(item))


def _handed_on(_: Item, made: Made) -> Made:
    return made


def _run(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Item, Read], Made],
    write: Callable[[Item, Made], None],
    threads: int,
    most: int,
) -> Iterator[tuple[Item, Made]]:
    """Go through the stages with ``threads`` that read, at most ``most`` items ahead."""
    ahead = iter(items)
    with (
        ThreadPoolExecutor(threads, "read") as readers,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        pending: deque[tuple[Item, Future[Read]]] = deque()
        writing: tuple[Item, Made, Future[None]] | None = None
        try:
            for item in islice(ahead, most):
                pending.append((item, readers.submit(read, item)))
            while pending:
                item, future = pending.popleft()
                value = future.result()
                for later in islice(ahead, 1):
                    pending.append((later, readers.submit(read, later)))
                made = compute(item, value)
                del value, future
                if writing is not None:
                    writing[2].result()
                    yield writing[:2]
                writing = item, made, writer.submit(write, item, made)
                del made
            if writing is not None:
                writing[2].result()
                yield writing[:2]
        finally:
            for _, future in pending:
                future.cancel()
