"""The verb: train a classifier on a folder of crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from fullconv.errors import MissingExtraError
from fullconv.keywords import TrainOptions, check_keywords
from fullconv.system.files import check_local
from fullconv.training.settings import TrainSettings
from fullconv.training.telling import unheard

if TYPE_CHECKING:
    from fullconv.training.trained import Trained


def train(
    crops: str | Path,
    out: str | Path,
    window: Sequence[int] | None = None,
    **options: Unpack[TrainOptions],
) -> Trained:
    """Train a classifier on folders of crops, exact when it is converted, and write it.

    Three files beside the model extend its name: ``-confusion.png``, ``-curves.png`` and
    ``-report.json``.

    Parameters
    ----------
    crops : str or Path
        A folder with one folder of pictures for each class, or with ``train`` and ``test``, which
        hold such folders. Pictures that cannot be read are left out.
    out : str or Path
        ``.onnx`` or ``.pt2``: the classifier of crops, with its window, classes, background and
        preprocessing inside.
    window : (int, int), optional
        Height and width; by default the size that all crops have. Crops of another size are
        resized to cover it, and cut at the centre.
    background : str, optional
        The class of everything that is not to be detected; by default the folder called
        background, negative, negatives or other.
    negatives : str, Path, or a list of them, optional
        Photos: files, folders or patterns. They are scanned between rounds, and the worst false
        alarms become crops of the background. Without ``truth`` they hold no object.
    truth : str or Path, optional
        The objects in the photos: COCO annotations (.json), or a folder of Pascal VOC annotations
        (.xml), with the class names of the folders of crops. A window is no false alarm if its
        centre lies in a true box of its class and of about its size. A window on an object of
        another class that fits it becomes a crop of that class. Objects that the truth lacks count
        as background. Note [What a window shows] has the whole rule.
    scales : sequence of float
        Each photo is resized by each scale, as `detect` does. By default photos keep their size.
    arch : callable, optional
        A function that returns the network, from crops to scores before the softmax. It may take
        ``classes``, ``channels`` and ``window`` by name. By default the network is made for the
        window, by the rule that `fullconv.training.fitting.fit` documents.
    epochs : int
        The most epochs, 30 by default, and half as many after each round of negatives.
    patience : int, optional
        Epochs without a better one that end a phase: by default a third of its epochs, at least 5.
    seed : int
        The same seed gives the same weights, on the same machine with as many threads. By
        default 0.
    flips : {"none", "h", "hv"}
        Mirror images that show the same class: left and right, and also upside down. By default
        "none".
    from_scratch_fcn : bool
        Train the same network with a convolutional head, instead of a fully connected one.
    rounds : int
        Rounds of hard negatives; 2 by default.
    holdout : float
        Fraction of each class to judge by, if there is no ``test`` folder; 0.2 by default.
    batch : int, optional
        Crops in a step; by default a twentieth of all, but at least 16 and at most 64.
    learning_rate : float
        The highest learning rate of the schedule, 0.002 by default.
    device : {"cpu", "cuda"}, optional
        By default CUDA if there is a CUDA device.
    resume : bool
        Go on from the last finished epoch of an unfinished training with the same settings.
    overwrite : bool
        Replace an existing model, or start an unfinished training again.
    progress : callable, optional
        Called with each record of `fullconv.training.telling`.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        If the crops or an option cannot be used.
    ModelError
        If the user's own network cannot be trained.
    OutputError
        If the model cannot be written. The training is kept; ``resume=True`` writes the model.
    KeyboardInterrupt
        If it is interrupted before the first epoch ends. Later the best weights so far are written.
    MissingExtraError
        If PyTorch is not installed.
    """
    check_keywords("train", TrainOptions, options)
    crops = check_local("train(crops)", crops, reads=True)
    out = check_local("train(out)", out)
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401

        if out.suffix == ".onnx":
            import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError("Training", "train") from None
    from fullconv.training.photos import Photos
    from fullconv.training.run import Run

    settings = TrainSettings.of(window, options)
    negatives = options.get("negatives")
    named = [negatives] if isinstance(negatives, str | Path) else list(negatives or ())
    photos = Photos.find(named, options.get("truth"), settings.scales)
    run = Run(
        crops=crops,
        out=out,
        settings=settings,
        photos=photos,
        own=options.get("arch"),
        device=options.get("device"),
        tell=options.get("progress", unheard),
    )
    return run.train(resume=options.get("resume", False), overwrite=options.get("overwrite", False))
