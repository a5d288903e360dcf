"""Find the weights beside an architecture of Keras (``.json``), and the other way round."""

from __future__ import annotations

from pathlib import Path

from fullconv.errors import ModelError
from fullconv.wording import few

WEIGHTS = (".h5", ".hdf5")
NAMED = ("", ".weights", "_weights", "-weights", "_model", "-model")
"""Text between the name of an architecture and the ending of its weights."""


def weights_beside(path: Path) -> Path:
    """Return the file of weights that lies beside an architecture.

    Raises
    ------
    ModelError
        If there is none, or there are several and none has the architecture's name.
    """
    candidates = _beside(path, WEIGHTS)
    if len(candidates) == 1:
        return candidates[0]
    fault = f"several weights ({few([p.name for p in candidates])})" if candidates else "no weights"
    raise ModelError(
        f"{path} is an architecture, and {fault} lie beside it; name them with --weights, or call "
        f"them {path.stem}.h5."
    )


def architecture_beside(path: Path) -> Path:
    """Return the architecture that lies beside a file of weights.

    Raises
    ------
    ModelError
        If there is none, or there are several and none has the name of the weights.
    """
    candidates = _beside(path, (".json",))
    if len(candidates) == 1:
        return candidates[0]
    raise ModelError(
        f"{path} holds weights alone, without the model; put its architecture beside it, as "
        f"{path.name.partition('.')[0]}.json from model.to_json(), or save the whole model: "
        f"model.save('model.keras')."
    )


def _beside(path: Path, endings: tuple[str, ...]) -> list[Path]:
    """Return the files with these endings and the name of ``path``; else all with these endings."""
    others = sorted(
        file
        for file in path.parent.iterdir()
        if file.suffix.lower() in endings and not file.name.startswith(".") and file.is_file()
    )
    alike = [file for file in others if _is_alike(file.stem, path.stem)]
    return alike or others


def _is_alike(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return long.removeprefix(short) in NAMED and long.startswith(short)
