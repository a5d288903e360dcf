"""The verb: train a classifier on a folder of crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from fullconv.errors import MissingExtraError
from fullconv.files import check_local
from fullconv.keywords import TrainOptions, check_keywords
from fullconv.training.settings import Settings
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

    Beside the model lie ``-confusion.png``, ``-curves.png`` and ``-report.json`` of its name.

    Parameters
    ----------
    crops : str or Path
        A folder with one folder of pictures for each class, or with ``train`` and ``test`` that
        hold these. Pictures that cannot be read are left out.
    out : str or Path
        ``.onnx`` or ``.pt2``: the classifier of crops, with its window, classes, background and
        preprocessing inside.
    window : (int, int), optional
        Height and width; by default the size of the crops, which must then be one. Crops of
        another size are resized to cover it, and cut at the centre.
    background : str, optional
        The class that is none of what is looked for; by default the folder that is called
        background, negative, negatives or other.
    negatives : str, Path, or a list of them, optional
        Photos: files, folders or patterns. They are scanned between rounds, and the worst false
        alarms become crops of the background. Without ``truth`` they hold no object.
    truth : str or Path, optional
        What objects the photos hold: COCO annotations (.json), or a folder of Pascal VOC
        annotations (.xml), with the classes called as the folders of crops. A window is no false
        alarm where its centre lies in a true box of the class that it is taken for, and of about
        its size; one on an object of another class that fits the window becomes a crop of that
        class. What the truth does not know counts as background. Note [What a window shows] has
        the whole rule.
    scales : sequence of float
        Each photo is resized by each of these, as `detect` will do it. By default none is.
    arch : callable, optional
        Returns the network, from crops to scores before the softmax. It may take ``classes``,
        ``channels`` and ``window`` by name. By default one is made for the window, by the rule
        that `fullconv.training.fitting.fit` documents.
    epochs : int
        At most so many, 30 by default, and half as many after each round of negatives.
    patience : int, optional
        A phase ends when so many epochs brought no better one: by default a third, at least 5.
    seed : int
        The same seed gives the same weights, on the same machine with as many threads. By
        default 0.
    flips : {"none", "h", "hv"}
        Mirror images that show the same class: left and right, and also upside down. By default
        "none".
    from_scratch_fcn : bool
        Train the same network with a convolutional head, instead of a fully connected one.
    rounds : int
        Of hard negatives; 2 by default.
    holdout : float
        Share of each class to judge by, where there is no ``test`` folder; 0.2 by default.
    batch : int, optional
        Crops in a step; by default 64, and of few crops a twentieth, at least 16.
    learning_rate : float
        The highest one, 0.002 by default.
    device : {"cpu", "cuda"}, optional
        By default CUDA where there is one.
    resume : bool
        Go on from the last finished epoch of an unfinished training of the same.
    overwrite : bool
        Replace a model that is there, or start an unfinished one again.
    progress : callable, optional
        Is given records of `fullconv.training.telling`.

    Returns
    -------
    Trained

    Raises
    ------
    InputError
        If the folder, or an option, cannot be.
    ModelError
        If an own network cannot be trained.
    OutputError
        If the model cannot be written. What was trained is kept; ``resume=True`` writes it.
    KeyboardInterrupt
        If it is interrupted before the first epoch has ended; later, the best so far is written.
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

    settings = Settings.of(window, options)
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
