"""How large a tile should be on this machine: a short measurement, remembered.

Small tiles read and compute their overlap again and again; large ones fall out of the processor's
caches. Where the best lies depends on the network and the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fullconv.converted import FullyConvolutional
from fullconv.files import whole
from fullconv.geometry import Pair
from fullconv.runtimes import Runtime, fastest, open_runtime, runtimes_for
from fullconv.tiling import Plan

SHARES = (64, 16, 4, 1)
"""The memory that tiles may take is divided by each of these for a candidate."""

PATIENCE_S = 4.0
"""A candidate that would take longer is not measured."""

ENOUGH = 1.05
"""A larger tile is taken for this much more throughput; less is noise, and costs memory."""

TRIED_BYTES = 64 << 20
"""Runtimes are compared on a tile of so much memory."""

FEW = 4
"""An image of at most so many of the largest tiles is not worth a measurement."""


def choose_plan(
    fcn: FullyConvolutional, digest: str, image: Pair, memory_bytes: int, runtime: Runtime
) -> Plan:
    """Return the plan with the most windows per second, of those within a memory budget.

    Parameters
    ----------
    fcn, digest, image
        The network, its hash, and the height and width of the image.
    memory_bytes : int
        What the tensors of a tile may take.
    runtime : Runtime
        What scores the tiles.
    """
    plans = _candidates(fcn, image, memory_bytes)
    shares = list(plans)
    largest = plans[shares[-1]]
    if len(plans) == 1 or len(largest) <= FEW:
        return largest
    key = _key(digest, runtime.name, runtime.device, runtime.precision, memory_bytes)
    remembered = recall().get(key)
    if remembered not in SHARES:
        remembered = shares[_fastest(list(plans.values()), fcn.shape.channels, runtime)]
        remember(key, remembered)
    # Not the tile but its memory holds for the next image: a tile of a narrow one is narrow.
    return _within(fcn, image, memory_bytes // remembered)


def choose_runtime(
    fcn: FullyConvolutional,
    digest: str,
    name: str,
    image: Pair,
    precision: str,
    device: str | None,
) -> Runtime:
    """Return what runs the network: what is named, or for "auto" the fastest, as measured."""
    if name != "auto":
        return open_runtime(fcn, name, precision=precision, device=device)
    key = _key(digest, "auto", precision, device)
    remembered = recall().get(key)
    if remembered in runtimes_for(fcn):
        return open_runtime(fcn, remembered, precision=precision, device=device)
    tile = _within(fcn, image, TRIED_BYTES)[0]
    size = tile.y[1] - tile.y[0], tile.x[1] - tile.x[0]
    best = fastest(fcn, (1, fcn.shape.channels, *size), precision)
    remember(key, best.name)
    return best


def _candidates(fcn: FullyConvolutional, image: Pair, memory_bytes: int) -> dict[int, Plan]:
    """Return plans of different tiles by the share of the memory, the smallest tiles first."""
    plans: dict[int, Plan] = {}
    for share in SHARES:
        plan = _within(fcn, image, memory_bytes // share)
        if all(plan.shape != other.shape for other in plans.values()):
            plans[share] = plan
    return plans


def _within(fcn: FullyConvolutional, image: Pair, memory_bytes: int) -> Plan:
    # The elements are of four bytes.
    return Plan.within(image, fcn.grid, fcn.halo, fcn.footprint, memory_bytes // 4)


def _fastest(plans: Sequence[Plan], channels: int, runtime: Runtime) -> int:
    """Return the number of the plan whose tile in the middle of the image is scored fastest."""
    best, rate = 0, 0.0
    for number, plan in enumerate(plans):
        tile = plan[len(plan) // 2]
        size = tile.y[1] - tile.y[0], tile.x[1] - tile.x[0]
        if rate and tile.windows / rate > PATIENCE_S:
            # Still growing, and too slow to try: the next size is likely better than the last.
            return number if best == number - 1 and best > 0 else best
        pixels = np.zeros((1, channels, *size), np.float32)
        runtime.run(pixels)
        start = time.perf_counter()
        runtime.run(pixels)
        reached = tile.windows / (time.perf_counter() - start)
        if reached > rate * ENOUGH:
            best, rate = number, reached
    return best


def recall() -> dict[str, Any]:
    """Return what earlier measurements on this machine have found."""
    try:
        held = json.loads(_memory().read_bytes())
    except (OSError, ValueError, RuntimeError):
        return {}  # none yet; broken; or there is no home to keep it in
    return held if isinstance(held, dict) else {}


def remember(key: str, value: Any) -> None:
    """Keep what was measured; where nothing can be kept, it is measured again next time."""
    with contextlib.suppress(OSError, RuntimeError):
        path = _memory()
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            temporary.write_text(json.dumps(recall() | {key: value}, indent=1))


def _memory() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "fullconv" / "measured.json"


def _key(*what: Any) -> str:
    held = [
        *what,
        platform.node(),
        platform.processor(),
        os.cpu_count(),
    ]
    return hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]
