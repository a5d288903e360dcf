"""Mutations of finished heatmaps, which `verify` must notice or which must change no score."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fuzz import Cases
from fuzz.bytes_of import mutated
from fuzz.scenes import SCAN, Files, expected, finished, raster, scores_in
from fuzz.values_of import changed

VERIFY = ["image.tif", "--original", "model.onnx"]


def cases(seed: int, count: int = 200) -> Cases:
    """Yield damaged heatmaps, to be verified, to be found by a scan, and to be drawn."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        if rng.random() < 0.2:
            files = dict(raster())
            what, files["heat.tif"] = mutated(files["heat.tif"], rng)
            call = ["verify", "heat.tif", *VERIFY]
        else:
            files = dict(finished())
            what = _damage(files, rng)
            call = (
                ["verify", "heat.zarr", *VERIFY]
                if rng.random() < 0.7
                else [*SCAN, "--overlay", "heat.png"]
            )
        yield f"{seed}-{number:04}-{what}", files, call


def _damage(files: Files, rng: np.random.Generator) -> str:
    """Change something about a heatmap; return what."""
    chunks = [name for name in files if name.startswith("heat.zarr/0/c/")]
    described = [name for name in files if name.endswith("zarr.json")]
    chunk, other = (str(rng.choice(chunks)) for _ in range(2))
    kind = str(rng.choice(["lose", "swap", "copy", "bytes", "json", "text", "empty"]))
    if kind == "lose":
        del files[chunk]
    elif kind == "swap":
        files[chunk], files[other] = files[other], files[chunk]
    elif kind == "copy":
        files[chunk] = files[other]
    elif kind == "bytes":
        kind, files[chunk] = mutated(files[chunk], rng)
    elif kind == "empty":
        files[chunk] = b""
    else:
        name = str(rng.choice(described))
        if kind == "json":
            files[name] = changed(files[name], rng)
        else:
            kind, files[name] = mutated(files[name], rng)
        kind = f"{kind}-{name.rpartition('/')[0].rpartition('/')[2]}"
    return kind


def wrong(folder: Path, call: list[str]) -> str | None:
    """Say what is wrong with what a command that was done has left."""
    path = folder / ("heat.tif" if "heat.tif" in call else "heat.zarr")
    if not np.array_equal(scores_in(path), expected()):
        return "other scores than the crops', and nothing said"
    return None
