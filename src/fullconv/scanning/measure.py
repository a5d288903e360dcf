"""The choice of tiles, lanes and runtime on this machine, by short measurements, remembered.

Small tiles read and compute their overlap again and again; large ones fall out of the processor's
caches. The best size depends on the network and the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullconv.conversion.converted import FullyConvolutional
from fullconv.geometry.grid import Sizes
from fullconv.geometry.tiling import Plan, Tile
from fullconv.runtimes import Runtime, fastest, open_runtime, runtimes_for
from fullconv.system.files import whole
from fullconv.system.processor import cores

Read = Callable[[Tile], NDArray[np.float32]]

SHARES = (64, 16, 4, 1)
"""Divisors of the memory budget of tiles, one for each candidate."""

PATIENCE_S = 4.0
"""A candidate that would take longer is not measured, but extrapolated from the one before."""

ENOUGH = 1.05
"""Factor by which a larger tile must raise throughput; a smaller gain is noise, at more memory."""

WRITTEN_S = 0.004
"""Seconds that a tile of any size takes to be written, synced to the disk, and noted."""

TRIED_BYTES = 64 << 20
"""Memory of the tile on which runtimes are compared."""

MOST_LANES = 4
"""Most tiles that are computed at a time; each takes its share of the memory."""

REPEATED = {"torch": 2.0}
"""Lanes gain nothing if their tiles, with halos, read this many times the pixels of a single lane.

PyTorch's cores wait longer on one tile: a one-pass ResNet-18 took 1.3 times as long on two cores as
on a tile for each, which read 1.5 times the pixels."""

REPEATED_ELSEWHERE = 1.1
"""The same in other runtimes."""

FEW = 4
"""An image of at most this many of the largest tiles is not worth a measurement."""


def choose_lanes(plan_for: Callable[[int], Plan], name: str = "") -> int:
    """Return the number of tiles to compute at a time.

    Cores that share one tile wait for each other after every layer, and longest for the one that
    also reads; cores with a tile each do not. But lanes also share the memory, and where tiles have
    a wide halo, smaller ones compute most of it again and again. In an image of few tiles, all
    cores compute one tile after the other.

    Parameters
    ----------
    plan_for : callable
        Returns the plan of the largest tiles for a number of lanes.
    name : str
        The runtime, where it is known.
    """
    alone = plan_for(1)
    if len(alone) <= FEW:
        return 1
    most, limit = min(MOST_LANES, cores()), REPEATED.get(name, REPEATED_ELSEWHERE)
    if not any(map(any, alone.halo)):
        return most
    enough = (n for n in range(most, 1, -1) if plan_for(n).pixels <= limit * alone.pixels)
    return next(enough, 1)


def choose_plan(
    fcn: FullyConvolutional,
    digest: str,
    image: Sizes,
    memory_bytes: int,
    runtime: Runtime,
    read: Read,
) -> Plan:
    """Return the plan with the most windows per second, of those within a memory budget.

    Parameters
    ----------
    fcn, digest, image
        The network, its hash, and the size of the image.
    memory_bytes : int
        Budget for the tensors of all tiles that are computed at a time.
    runtime : Runtime
        The runtime that scores the tiles.
    read : callable
        Returns a tile's prepared pixels.
    """
    memory_bytes //= runtime.lanes
    plans = _candidates(fcn, image, memory_bytes)
    shares = list(plans)
    largest = plans[shares[-1]]
    if len(plans) == 1 or len(largest) <= FEW:
        return largest
    how = runtime.name, runtime.device, runtime.precision, runtime.lanes
    key = _key(digest, *how, memory_bytes)
    remembered = recall().get(key)
    if remembered not in SHARES:
        remembered = shares[_fastest(list(plans.values()), runtime, read)]
        remember(key, remembered)
    # The tile's memory holds for the next image, not its shape: a narrow image has narrow tiles.
    return largest_plan(fcn, image, memory_bytes // remembered)


def choose_runtime(
    fcn: FullyConvolutional,
    digest: str,
    name: str,
    image: Sizes,
    precision: str,
    device: str | None,
    lanes: int,
) -> Runtime:
    """Return the named runtime of the network, or for "auto" the fastest, as measured."""
    if name != "auto":
        return open_runtime(fcn, name, precision=precision, device=device, lanes=lanes)
    key = _key(digest, "auto", precision, device, lanes)
    remembered = recall().get(key)
    if remembered in runtimes_for(fcn):
        return open_runtime(fcn, remembered, precision=precision, device=device, lanes=lanes)
    tile = largest_plan(fcn, image, TRIED_BYTES)[0]
    images = (1, fcn.shape.channels, *tile.size)
    best = fastest(fcn, images, precision, lanes=lanes, device=device)
    remember(key, best.name)
    return best


def _candidates(fcn: FullyConvolutional, image: Sizes, memory_bytes: int) -> dict[int, Plan]:
    """Return plans of different tiles by the share of the memory, the smallest tiles first."""
    plans: dict[int, Plan] = {}
    for share in SHARES:
        plan = largest_plan(fcn, image, memory_bytes // share)
        if all(plan.shape != other.shape for other in plans.values()):
            plans[share] = plan
    return plans


def largest_plan(fcn: FullyConvolutional, image: Sizes, memory_bytes: int) -> Plan:
    """Return the plan of the largest tiles within a memory budget."""
    # The elements are of four bytes.
    return Plan.within(image, fcn.grid, fcn.halo, fcn.footprint, memory_bytes // 4)


def _fastest(plans: Sequence[Plan], runtime: Runtime, read: Read) -> int:
    """Return the number of the plan whose tile in the middle of the image is scored fastest.

    The second run is timed, because the blocks that neighbouring tiles share are decoded once.
    """
    best, rate, pace_s = 0, 0.0, 0.0
    for number, plan in enumerate(plans):
        tile = plan[len(plan) // 2]
        took_s = pace_s * tile.pixel_count
        if took_s <= PATIENCE_S:
            runtime.run(read(tile))
            start = time.perf_counter()
            runtime.run(read(tile))
            took_s = time.perf_counter() - start
            pace_s = took_s / tile.pixel_count
        reached = tile.window_count / (took_s + WRITTEN_S)
        if reached > rate * ENOUGH:
            best, rate = number, reached
    return best


def recall() -> dict[str, Any]:
    """Return the results of earlier measurements on this machine."""
    try:
        results = json.loads(_memory().read_bytes())
    except (OSError, ValueError, RuntimeError):
        return {}  # none yet; broken; or there is no home to keep it in
    return results if isinstance(results, dict) else {}


def remember(key: str, value: Any) -> None:
    """Store a result; where it cannot be stored, it is measured again next time."""
    with contextlib.suppress(OSError, RuntimeError):
        path = _memory()
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            temporary.write_text(json.dumps(recall() | {key: value}, indent=1), encoding="utf-8")


def _memory() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "fullconv" / "measured.json"


def _key(*what: Any) -> str:
    parts = [
        *what,
        platform.node(),
        platform.processor(),
        os.cpu_count(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
