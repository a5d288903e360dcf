"""Measure how far the approximate form is off, for a real trained network: the tables of crops.md.

A ResNet-20 that pads in every convolution scores mosaics of CIFAR-10 pictures: as crops, which are
the definition, and converted with ``exact=True`` and ``exact=False``. Run it with
``python docs/figures/measure_resnet20.py``; two free cores take about a minute. The data lies where
the environment variable FULLCONV_DATA says, else in shared/data beside the repository.

Note [Rank correlation]
Spearman's, over windows: the scores of one class in all windows of a mosaic are ranked, in the one
form and in the other, and the ranks correlated. It says whether a heatmap of that class still puts
its windows in the right order. The tables give the mean over classes and mosaics, and the lowest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
try:
    import torch
    from safetensors.torch import load_file
    from scipy.stats import spearmanr

    import fullconv
    from data import data_root, mosaic
    from oracle import scores_of_crops
    from resnet20 import ResNet20
except ModuleNotFoundError as missing:
    print(
        f"measure_resnet20: {missing.name} is not installed; "
        f"pip install -e '.[torch,dev]' in the repository brings it.",
        file=sys.stderr,
    )
    raise SystemExit(3) from None

FILES = ("resnet20.safetensors", "cifar10_test_2000.npz")
PREPROCESSING = fullconv.Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
WINDOW = (32, 32)
DRAWS = 4
BATCH, OTHER_BATCHES = 64, (1, 7)
"""Crops are forwarded in batches of the one, and of the others to see how far they differ."""

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Pictures:
    """Test pictures ``(N, 3, 32, 32)``, as the network takes them, and their classes ``(N,)``."""

    pixels: NDArray[np.float32]
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """How one form's scores of one mosaic's windows compare with the crops'.

    Attributes
    ----------
    right : float or None
        Share of the windows whose best class is the picture's; None where windows straddle
        pictures.
    flips : int
        Windows whose best class is not the crop's.
    windows : int
        All windows.
    largest : float
        Largest difference of a score.
    deviation : float
        Standard deviation of the crops' scores, to judge `largest` by.
    ranks : numpy.ndarray
        Rank correlation of each class; see Note [Rank correlation].
    """

    right: float | None
    flips: int
    windows: int
    largest: float
    deviation: float
    ranks: NDArray[np.float64]


def data_folder() -> Path:
    """Return the folder of network and pictures, or leave with exit code 3 and one line."""
    folder = data_root() / "resnet20_cifar10"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        print(
            f"measure_resnet20: {', '.join(missing)} not found in {folder}; name the folder that "
            f"holds resnet20_cifar10/ by the environment variable FULLCONV_DATA.",
            file=sys.stderr,
        )
        raise SystemExit(3)
    return folder


def read_network(folder: Path) -> ResNet20:
    """Return the trained network, in eval mode."""
    model = ResNet20()
    model.load_state_dict(load_file(folder / FILES[0]))
    return model.eval()


def read_pictures(folder: Path) -> Pictures:
    """Return all pictures, prepared."""
    with np.load(folder / FILES[1]) as held:
        images, labels = held["images"], held["labels"]
    return Pictures(PREPROCESSING.apply(images.transpose(0, 3, 1, 2)), labels)


def compare(scores: Scores, crops: Scores, classes: NDArray[np.int64] | None) -> Comparison:
    """Compare the scores ``(K, N)`` of N windows with those of their crops."""
    best = scores.argmax(axis=0)
    return Comparison(
        right=None if classes is None else float((best == classes).mean()),
        flips=int((best != crops.argmax(axis=0)).sum()),
        windows=scores.shape[1],
        largest=float(np.abs(scores.astype(np.float64) - crops).max()),
        deviation=float(crops.std()),
        ranks=np.array([spearmanr(a, b).statistic for a, b in zip(scores, crops, strict=True)]),
    )


def measure(
    model: ResNet20, pictures: Pictures, side: int, step: int, draws: int
) -> dict[str, list[Comparison]]:
    """Compare all forms on mosaics of ``side * side`` pictures drawn at random, seeds 0, 1, ..."""
    forms = {
        f"`exact={exact}`": fullconv.convert(model, window=WINDOW, step=step, exact=exact)
        for exact in (True, False)
    }
    found: dict[str, list[Comparison]] = {}
    for seed in range(draws):
        drawn = np.random.default_rng(seed).choice(len(pictures.pixels), side**2, replace=False)
        image = torch.from_numpy(mosaic(pictures.pixels[drawn], side, side))
        classes = pictures.classes[drawn] if step == WINDOW[0] else None

        def of_crops(batch: int, image: torch.Tensor = image) -> Scores:
            return flat(scores_of_crops(torch.no_grad()(model), image, WINDOW, (step, step), batch))

        crops = of_crops(BATCH)
        found.setdefault("crops", []).append(compare(crops, crops, classes))
        for batch in OTHER_BATCHES:
            others = compare(of_crops(batch), crops, classes)
            found.setdefault(
                f"crops, in batches of {' and '.join(map(str, OTHER_BATCHES))}", []
            ).append(others)
        for name, fcn in forms.items():
            found.setdefault(name, []).append(compare(flat(fcn(image)), crops, classes))
    return found


def flat(scores: torch.Tensor) -> Scores:
    """Return the scores ``(1, K, rows, columns)`` of a map as ``(K, windows)``."""
    return scores[0].flatten(1).numpy()


def table(found: dict[str, list[Comparison]]) -> Iterator[str]:
    """Yield the lines of a Markdown table of all draws."""
    yield "| form | right | another best class | largest difference | rank correlation (lowest) |"
    yield "|---|---|---|---|---|"
    for name, draws in found.items():
        shares = [100 * draw.right for draw in draws if draw.right is not None]
        right = "-"
        if shares:
            right = f"{np.mean(shares):.1f} % ({min(shares):.1f} to {max(shares):.1f})"
        if name == "crops":
            yield f"| {name} | {right} | | | |"
            continue
        flips, windows = sum(d.flips for d in draws), sum(d.windows for d in draws)
        correlations = np.concatenate([draw.ranks for draw in draws])
        yield (
            f"| {name} | {right} | "
            f"{flips} of {windows} ({100 * flips / windows:.1f} %) | "
            f"{max(draw.largest for draw in draws):.2g} | "
            f"{correlations.mean():.3f} ({correlations.min():.3f}) |"
        )


def main() -> None:
    """Measure both tables and print them."""
    argparse.ArgumentParser(description="Measure the tables of docs/crops.md.").parse_args()
    folder = data_folder()
    model, pictures = read_network(folder), read_pictures(folder)
    for side, step in ((20, 32), (4, 4)):
        found = measure(model, pictures, side, step, DRAWS)
        deviation = np.mean([draw.deviation for draw in found["crops"]])
        print(
            f"{DRAWS} mosaics of {side}x{side} pictures, step {step}; "
            f"standard deviation of the crops' scores {deviation:.1f}\n"
        )
        print("\n".join(table(found)), flush=True)
        print()


if __name__ == "__main__":
    main()
