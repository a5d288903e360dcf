"""Finished heatmaps that are damaged: `verify` must notice, or no score may be another."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzz.case import Case, Cases
from fuzz.mutating import bytes_changed, json_changed
from fuzz.scenes import SCAN, finished, raster, wrong_scores

VERIFY = ("image.tif", "--original", "model.onnx")


def cases(seed: int, count: int) -> Cases:
    """Yield damaged heatmaps, to be verified, and to be found by a scan and drawn."""
    chance = Random(seed)
    for number in range(count):
        name, files = "heat.zarr", dict(finished())
        if number % 5 == 4:
            name, files = "heat.tif", dict(raster())
            what, files[name] = bytes_changed(files[name], chance)
        else:
            what = _damage(files, chance)
        call = ("verify", name, *VERIFY)
        if name == "heat.zarr" and chance.random() < 0.3:
            call = (*SCAN, "--overlay", "heat.png")
        yield Case(f"{number}-{what}", call, files, ours=(name,), judge=__name__)


def _damage(files: dict[str, bytes], chance: Random) -> str:
    """Change something about a heatmap; return what."""
    chunks = [name for name in files if name.startswith("heat.zarr/0/c/")]
    described = [name for name in files if name.endswith("zarr.json")]
    chunk, other = chance.sample(chunks, 2)
    kind = chance.choice(("lose", "swap", "copy", "empty", "bytes", "bytes", "json", "text"))
    if kind == "lose":
        del files[chunk]
    elif kind == "swap":
        files[chunk], files[other] = files[other], files[chunk]
    elif kind == "copy":
        files[chunk] = files[other]
    elif kind == "empty":
        files[chunk] = b""
    elif kind == "bytes":
        kind, files[chunk] = bytes_changed(files[chunk], chance)
    else:
        name = chance.choice(described)
        if kind == "json":
            files[name] = json_changed(files[name], chance)
        else:
            kind, files[name] = bytes_changed(files[name], chance)
        kind = f"{kind} of {Path(name).parent.name}"
    return kind


def wrong(folder: Path, call: list[str]) -> str | None:
    """Say what is wrong with what a command that was done has left."""
    return wrong_scores(folder / ("heat.tif" if "heat.tif" in call else "heat.zarr"))
