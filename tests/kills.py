"""Kills scans before each of their steps on the disk, in turn, and lets them go on.

Run as a script, with a folder, the name of a story, and which steps: it prints a line of JSON. What
takes long is done once; every scan runs in a process of its own, forked from this one, which opens
no session and no thread. Nothing is brought to the disk: a killed process loses nothing by that.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEP, TILE = (2, 1), (13, 21)
"""Four tiles of 25 x 42 windows."""

FOLDERS = ("overwrite", "two steps")
REPLACING = (*FOLDERS, "geotiff")
"""The stories in which a finished heatmap is replaced."""

STEPS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "ctypes.dlopen")
"""What Python says before it does it; a library is opened to exchange two folders."""


def kill_before(number: int, folder: Path) -> Callable[[], int]:
    """Kill this process before its step of this number below a folder; return what counts them."""
    count = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in STEPS:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & 3):
            return  # to read
        if event != "ctypes.dlopen" and not str(arguments[0]).startswith(str(folder)):
            return
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    sys.addaudithook(hook)
    return lambda: count


def forked(work: Callable[[], None]) -> int:
    """Run something in a process of its own, and return how it ended."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    os.fsync = lambda _: None
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def story(folder: Path, name: str, steps: slice) -> dict[str, Any]:
    """Tell a story again and again, each time killed one step later, and count what came of it."""
    import numpy as np

    from fullconv.scanning import ledger
    from fullconv.scanning.heatmap import Heatmap
    from fullconv.scanning.scanner import scan
    from scans import converted, crops_scores, picture

    fcn = converted(STEP, check=False)  # which would run it here, in threads
    image, other = picture(60, 50), picture(60, 50, seed=1)
    out = folder / "work" / ("heat.tif" if name == "geotiff" else "heat.zarr")
    options: dict[str, Any] = {"tile": TILE, "windows_to_check": 4}
    if name in REPLACING:
        options["overwrite"] = True
    if name == "two steps":
        ledger.exchange = lambda *_: False  # type: ignore[assignment]
    if name == "repair":
        options["repair"] = True

    def prepare() -> None:
        if name in REPLACING:
            scan(fcn, other, out, tile=TILE, windows_to_check=0)
        if name in FOLDERS:
            (out / "notes.txt").write_text("mine")
        if name == "repair":
            scan(fcn, image, out, tile=TILE, windows_to_check=0)
            (out / "0" / "c" / "0" / "1" / "0").unlink()

    def killed(number: int) -> Callable[[], None]:
        def work() -> None:
            count = kill_before(number, out.parent)
            scan(fcn, image, out, **options)
            (folder / "steps").write_text(str(count()))

        return work

    def looked_at() -> None:
        """Look at what a killed run has left: what has the heatmap's name is one, whole."""
        heatmap = Heatmap.open(out)
        if name != "repair":
            assert heatmap.damage() == ()
            expected = [crops_scores(each, STEP) for each in (image, other)]
            assert any(np.array_equal(np.asarray(heatmap), each) for each in expected)

    def gone_on() -> None:
        heatmap = scan(fcn, image, out, **options)
        np.testing.assert_array_equal(np.asarray(heatmap), crops_scores(image, STEP))
        assert heatmap.damage() == ()
        assert os.listdir(out.parent) == [out.name], os.listdir(out.parent)
        assert not list(out.rglob("*.partial"))
        assert name not in FOLDERS or (out / "notes.txt").read_text() == "mine"

    out.parent.mkdir(parents=True)
    assert forked(prepare) == 0
    (folder / "work").rename(folder / "before")
    kills = ends = 0
    for number in range(10_000)[steps]:
        shutil.copytree(folder / "before", folder / "work")
        code = forked(killed(number))
        if code == 0:
            ends += 1
        else:
            assert code == -signal.SIGKILL, (number, code)
            kills += 1
            if out.exists() and forked(looked_at):
                raise AssertionError(f"{name}, killed before step {number}: no whole heatmap")
            if not out.exists() and name not in ("begin", "two steps"):
                raise AssertionError(f"{name}, killed before step {number}: no heatmap")
            # A second kill, of the run that goes on.
            forked(killed(number // 2))
        if forked(gone_on):
            raise AssertionError(f"{name}, killed before step {number}: it does not go on")
        shutil.rmtree(folder / "work")
        if ends:
            break
    return {"kills": kills, "steps": int((folder / "steps").read_text())}


if __name__ == "__main__":
    where, chosen, first, stride = sys.argv[1:]
    import warnings

    import numcodecs.zstd  # noqa: F401
    import onnxruntime  # noqa: F401
    import zarr  # noqa: F401

    import fullconv.scanning.output  # noqa: F401

    if chosen == "geotiff":
        import rasterio  # noqa: F401
    warnings.simplefilter("ignore")
    print(json.dumps(story(Path(where), chosen, slice(int(first), None, int(stride)))))
