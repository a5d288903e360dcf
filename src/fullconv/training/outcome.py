"""The files beside a trained model: two pictures, and a report as JSON."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullconv.errors import OutputError
from fullconv.system.files import whole

if TYPE_CHECKING:
    from fullconv.training.material import Material
    from fullconv.training.settings import TrainSettings
    from fullconv.training.trained import Trained


def beside(model: Path) -> tuple[Path, Path, Path]:
    """Return the paths of a model's confusion matrix, curves and report."""
    confusion, curves, report = (
        model.with_name(f"{model.stem}-{name}")
        for name in ("confusion.png", "curves.png", "report.json")
    )
    return confusion, curves, report


def check_writable(model: Path) -> None:
    """Check before the work that the model can be written afterwards.

    Raises
    ------
    OutputError
        If the folder is missing or cannot be written to, or ``model`` is itself a folder.
    """
    if model.is_dir():
        raise OutputError(f"train -o {model}: that is a folder; name a file in it.")
    try:
        tempfile.TemporaryFile(dir=model.parent).close()
    except OSError as error:
        raise OutputError(
            f"train -o {model}: cannot write there: {error.strerror or error}; choose a folder "
            f"that exists and that you may write to."
        ) from None


def write(trained: Trained, material: Material, settings: TrainSettings, device: str) -> None:
    """Write the pictures and the report.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    from fullconv.training.curves import draw_curves
    from fullconv.training.pictures import draw_confusion

    confusion, curves, report = beside(trained.path)
    pictures = (
        (confusion, draw_confusion(trained.confusion)),
        (curves, draw_curves(trained.history, trained.best.number)),
    )
    for path, picture in pictures:
        with whole(path) as temporary:
            picture.save(temporary)
    with whole(report) as temporary:
        text = json.dumps(as_dict(trained, material, settings, device), indent=2)
        temporary.write_text(text + "\n", encoding="utf-8")


def as_dict(
    trained: Trained, material: Material, settings: TrainSettings, device: str
) -> dict[str, Any]:
    """Return plain values, for JSON; sizes are (rows, columns)."""
    import torch

    from fullconv import __version__

    counts = {
        name: [int((part.labels == label).sum()) for label in range(len(trained.classes))]
        for name, part in (("training", material.training), ("held_out", material.held_out))
    }
    return {
        "model": trained.path.name,
        "classes": list(trained.classes),
        "background": trained.background,
        "window": list(trained.window),
        "stride": list(trained.report.stride),
        "channels": material.kind.channels,
        "preprocessing": asdict(trained.preprocessing),
        "conversion": trained.report.as_dict(),
        "crops": counts | {"left_out": material.left_out},
        "best_epoch": trained.best.number,
        "held_out": trained.confusion.as_dict(),
        "negatives": [asdict(one) for one in trained.rounds],
        "epochs": [asdict(epoch) for epoch in trained.history],
        "interrupted": trained.is_interrupted,
        "settings": settings.as_dict(),
        "device": device,
        "versions": {"fullconv": __version__, "torch": torch.__version__},
    }
