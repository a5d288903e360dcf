"""What a killed scan leaves, damaged: the same command must end with the crops' scores."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fullconv.scanning.lines import Line, parsed
from fuzz.case import Case, Cases
from fuzz.mutating import bytes_changed, json_changed
from fuzz.scenes import SCAN, unfinished, wrong_scores

PART = "heat.zarr.part"
NOTES = f"{PART}/notes.txt"
WORDS = (b"0", b"-1", b"1", b"7", b"99999", b"9" * 30, b"x", b"\0", b"1.5", b"nan", b"")


def cases(seed: int, count: int) -> Cases:
    """Yield damaged outputs of unfinished scans, to be gone on with."""
    chance = Random(seed)
    for number in range(count):
        files = dict(unfinished())
        ours = tuple(name for name in files if name.startswith(PART))
        whats = [_damage(files, chance) for _ in range(1 + (chance.random() < 0.2))]
        call = (*SCAN, "--check", "4") if chance.random() < 0.9 else (*SCAN, "--no-resume")
        yield Case(f"{number}-{'-'.join(whats)}", call, files, ours, judge=__name__)


def _damage(files: dict[str, bytes], chance: Random) -> str:
    """Change something about an unfinished output; return what."""
    tiles, run = f"{PART}/tiles", f"{PART}/run.json"
    chunks = [name for name in files if name.startswith(f"{PART}/heatmap/0/c/")]
    described = [name for name in files if name.startswith(PART) and name.endswith("zarr.json")]
    chunk, other = chance.sample(chunks, 2)
    described_one = chance.choice([tiles, run, *described])
    kind = chance.choice(
        ("lines", "tiles", "lose", "swap", "chunk", "run", "json", "zarr", "gone", "notes")
    )
    if kind == "lines":
        files[tiles] = _lines(files.get(tiles, b""), chance)
    elif kind == "lose":
        del files[chunk]
    elif kind == "swap":
        files[chunk], files[other] = files[other], files[chunk]
    elif kind == "json":
        files[run] = json_changed(files.get(run, b"{}"), chance)
    elif kind == "gone":
        files.pop(described_one, None)
    elif kind == "notes":
        files[NOTES] = b"mine"
    else:
        name = {"tiles": tiles, "chunk": chunk, "run": run, "zarr": described_one}[kind]
        what, files[name] = bytes_changed(files.get(name, b""), chance)
        kind = f"{kind} {what}"
    return kind


def _lines(held: bytes, chance: Random) -> bytes:
    """Change, repeat, drop or make up lines."""
    lines = held.splitlines() or [b""]
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(lines))
        kind = chance.choice(("word", "repeat", "drop", "forge", "join"))
        if kind == "word":
            words = lines[place].split(b" ")
            words[chance.randrange(len(words))] = chance.choice(WORDS)
            lines[place] = b" ".join(words)
        elif kind == "repeat":
            lines.append(lines[place])
        elif kind == "drop" and len(lines) > 1:
            del lines[place]
        elif kind == "forge":
            lines.append(_forged(lines, chance))
        elif kind == "join":
            lines[place] += lines[-1]
    return b"".join(line + b"\n" for line in lines)


def _forged(lines: list[bytes], chance: Random) -> bytes:
    """Return a whole line, checksum and all, that says what is not so."""
    digests = [line.digest for line in map(parsed, lines) if line] or ["A" * 16]
    numbers = (chance.choice((0, 1, 5, 11, 12, 20, 200)) for _ in range(2))
    return Line(*numbers, 0, chance.choice(digests), 0).to_bytes().rstrip(b"\n")


def wrong(folder: Path, call: list[str]) -> str | None:
    """Say what is wrong with what a command that was done has left."""
    return wrong_scores(folder / "heat.zarr")
