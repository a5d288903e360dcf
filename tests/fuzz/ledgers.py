"""Mutations of what a killed scan leaves: the same command must end with the crops' scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fuzz import Cases
from fuzz.bytes_of import mutated
from fuzz.scenes import SCAN, Files, expected, scores_in, unfinished
from fuzz.values_of import changed

PART = "heat.zarr.part"
NOTES = f"{PART}/notes.txt"
WORDS = (b"0", b"-1", b"1", b"7", b"99999", b"9" * 30, b"x", b"\0", b"1.5", b"nan", b"")


def cases(seed: int, count: int = 200) -> Cases:
    """Yield damaged outputs of unfinished scans, to be gone on with."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        files = dict(unfinished())
        whats = [_damage(files, rng) for _ in range(1 + int(rng.random() < 0.2))]
        call = [*SCAN, "--check", "4"] if rng.random() < 0.9 else [*SCAN, "--no-resume"]
        yield f"{seed}-{number:04}-{'-'.join(whats)}", files, call


def _damage(files: Files, rng: np.random.Generator) -> str:
    """Change something about an unfinished output; return what."""
    tiles, run = f"{PART}/tiles", f"{PART}/run.json"
    chunks = [name for name in files if name.startswith(f"{PART}/heatmap/0/c/")]
    described = [name for name in files if name.startswith(PART) and name.endswith("zarr.json")]
    chunk, other = (str(rng.choice(chunks)) for _ in range(2))
    kind = str(
        rng.choice(
            ["lines", "bytes", "lose", "swap", "chunk", "run", "json", "zarr", "gone", "notes"]
        )
    )
    if kind == "lines":
        files[tiles] = _lines(files.get(tiles, b""), rng)
    elif kind == "bytes":
        kind, files[tiles] = mutated(files.get(tiles) or b"\n", rng)
    elif kind == "lose":
        files.pop(chunk, None)
    elif kind == "swap":
        files[chunk], files[other] = files.get(other, b""), files.get(chunk, b"")
    elif kind == "chunk":
        kind, files[chunk] = mutated(files.get(chunk) or b"\0", rng)
    elif kind == "run":
        kind, files[run] = mutated(files.get(run) or b"{}", rng)
    elif kind == "json":
        files[run] = changed(files.get(run) or b"{}", rng)
    elif kind == "zarr":
        name = str(rng.choice(described))
        kind, files[name] = mutated(files.get(name) or b"\0", rng)
    elif kind == "gone":
        files.pop(str(rng.choice([tiles, run, *described])), None)
    else:
        files[NOTES] = b"mine"
    return kind


def _lines(held: bytes, rng: np.random.Generator) -> bytes:
    """Change, repeat, drop or make up lines."""
    lines = held.splitlines() or [b"0 5 0"]
    for _ in range(int(rng.integers(1, 4))):
        place = int(rng.integers(len(lines)))
        kind = str(rng.choice(["word", "repeat", "drop", "more", "join"]))
        if kind == "word":
            words = lines[place].split(b" ")
            words[int(rng.integers(len(words)))] = WORDS[int(rng.integers(len(WORDS)))]
            lines[place] = b" ".join(words)
        elif kind == "repeat":
            lines.append(lines[place])
        elif kind == "drop" and len(lines) > 1:
            del lines[place]
        elif kind == "more":
            lines.append(b"%d %d 0" % (rng.integers(0, 200), rng.integers(0, 30)))
        elif kind == "join":
            lines[place] += lines[-1]
    return b"".join(line + b"\n" for line in lines)


def wrong(folder: Path, call: list[str]) -> str | None:
    """Say what is wrong with what a command that was done has left."""
    if not np.array_equal(scores_in(folder / "heat.zarr"), expected()):
        return "other scores than the crops', and nothing said"
    return None


def lost(folder: Path, files: Files) -> str | None:
    """Say what is gone that was not fullconv's, whatever the command came to."""
    if NOTES in files and not (folder / NOTES).exists():
        return "a file of somebody else was erased"
    return None
