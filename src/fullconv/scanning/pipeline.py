"""Reading, computing and writing side by side, a bounded number of tiles ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

AHEAD = 2
"""Tiles that are read before they are needed: one while another is computed, and one to spare."""

READERS = 2
"""Threads that read; more would take the processor from the network."""

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")


def run(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Item, Read], Made],
    write: Callable[[Item, Made], None],
) -> Iterator[tuple[Item, Made]]:
    """Take items through three stages, and yield each with what was made when it is written.

    ``read`` runs in threads, ``compute`` in the caller's, ``write`` in one more, so that what was
    made last is written while the next is computed. What a stage raises is raised here, after
    everything computed before it is written.
    """
    ahead = iter(items)
    with (
        ThreadPoolExecutor(READERS, "read") as readers,
        ThreadPoolExecutor(1, "write") as writer,
    ):
        pending: deque[tuple[Item, Future[Read]]] = deque()
        writing: tuple[Item, Made, Future[None]] | None = None
        try:
            for item in islice(ahead, AHEAD):
                pending.append((item, readers.submit(read, item)))
            while pending:
                item, future = pending.popleft()
                held = future.result()
                for later in islice(ahead, 1):
                    pending.append((later, readers.submit(read, later)))
                made = compute(item, held)
                del held, future
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
