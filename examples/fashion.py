"""Train a classifier of garments on crops, convert it, and find the dresses in a sheet of 900.

Pictures of 28 by 28 pixels (Fashion-MNIST) become folders of crops, `fullconv.train` makes a
classifier of them, and the published overview of the data set, 840 by 840 pixels, is scanned in
one pass. With a network stride of 4, window ``[7 * i, 7 * j]`` of its 204 by 204 map is tile
(i, j), and 90 of the tiles are dresses. The sheet's own pictures are in no crop, and the held-out
accuracy is of crops that neither taught the network nor chose its best epoch.

The folder of the data is found by --data, else by the environment variable FULLCONV_DATA, else
it is shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import fullconv
import garments
from fullconv.cli.training_lines import shown
from fullconv.training.crops import find_crops
from fullconv.training.pixels import CropFormat, read

EPOCHS = 5
TILE_STEP = 7
"""Windows from one tile to the next: 28 pixels at the network's stride of 4."""

BATCHES = (1, 7, 64, 900)
"""Batch sizes in which the tiles are forwarded, to see how far the classifier is from itself."""


@dataclass(frozen=True)
class Figures:
    """What a run has measured; differences are of probabilities."""

    crops: int
    held_out: int
    held_out_accuracy: float
    training_s: float
    map_rows: int
    map_columns: int
    exact: bool
    tile_difference: float
    self_difference: float
    windows: int
    window_difference: float
    verified_windows: int
    verified_difference: float
    verified_agreement: float
    dresses: int
    dresses_found: int
    other_tiles: int
    false_tiles: int
    average_precision: float
    tiles_right: float
    one_pass_s: float
    crops_s: float
    ratio: float
    threads: int


def train(crops: Path, model: Path, seed: int, epochs: int) -> fullconv.Trained:
    """Train on a folder of crops, a tenth of which choose the best epoch."""
    with shown(False) as listener:
        return fullconv.train(
            crops,
            model,
            epochs=epochs,
            seed=seed,
            flips="h",
            holdout=0.1,
            overwrite=True,
            progress=listener,
        )


@torch.no_grad()
def accuracy(trained: fullconv.Trained, crops: Path) -> tuple[int, float]:
    """Return how many crops a folder holds, and the share whose class is right."""
    found = find_crops(crops)
    held = read(found.training, CropFormat(trained.window, 1, "uint8"))
    said = [
        trained.classifier(torch.from_numpy(trained.preprocessing.apply(part))).argmax(1)
        for part in np.array_split(held.pixels, max(1, len(held) // 500))
    ]
    return len(held), float((torch.cat(said).numpy() == held.labels).mean())


def tiles_of(image: torch.Tensor) -> torch.Tensor:
    """Return the 900 tiles (900, 1, 28, 28) of an image (1, 1, 840, 840), row by row."""
    count, (h, w) = garments.TILES, garments.WINDOW
    return image.reshape(count, h, count, w).transpose(1, 2).reshape(-1, 1, h, w)


@torch.no_grad()
def scores_of_tiles(model: nn.Module, tiles: torch.Tensor, batch: int) -> torch.Tensor:
    """Return the scores (K, 30, 30) of the tiles, forwarded as crops."""
    scores = torch.cat([model(part) for part in tiles.split(batch)])
    return scores.T.reshape(-1, garments.TILES, garments.TILES)


@torch.no_grad()
def scores_of_crops(model: nn.Module, image: torch.Tensor, grid: fullconv.Grid) -> torch.Tensor:
    """Return the scores (1, K, rows, columns) of all windows, a row of crops at a time."""
    (height, width), (step_y, step_x) = grid.window, grid.step
    rows = []
    for row in range(grid.shape(image.shape[2:])[0]):
        band = image[0, :, row * step_y : row * step_y + height]
        crops = band.unfold(2, width, step_x).permute(2, 0, 1, 3).contiguous()
        rows.append(model(crops).T)
    return torch.stack(rows, dim=1)[None]


def median_seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """Return the median of several runs' times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the largest difference."""
    return float((a - b).abs().max())


def run(data: Path, output: Path, seed: int, epochs: int, most: int | None = None) -> Figures:
    """Train, convert, find, compare, and write what came of it; print the story on the way."""
    output.mkdir(parents=True, exist_ok=True)
    sheet = garments.read_sheet(data)
    picture, truth = output / "sheet.png", output / "sheet.json"
    garments.write_sheet(sheet, picture, truth)
    garments.cut_crops(data, sheet, output / "crops", most)
    start = time.perf_counter()
    trained = train(output / "crops/train", output / "fashion.onnx", seed, epochs)
    training_s = time.perf_counter() - start
    held_out, right = accuracy(trained, output / "crops/test")
    print(f"\nheld-out accuracy {right:.4f} on {held_out} crops, after {training_s:.0f} s")

    fcn = trained.convert()
    print(f"\n{fcn.report}\n")
    heatmap = fullconv.scan(fcn, picture, classifier=trained.classifier)
    verified = heatmap.verification
    assert verified is not None
    scores = torch.from_numpy(np.asarray(heatmap))[None]

    pixels = sheet.pixels[None, None]
    image = torch.from_numpy(trained.preprocessing.apply(pixels))
    fcn(image)  # the first run of a network costs more than the others
    one_pass_s = median_seconds(lambda: fcn(image))
    start = time.perf_counter()
    of_crops = scores_of_crops(trained.classifier, image, fcn.grid)
    crops_s = time.perf_counter() - start

    tiles = tiles_of(image)
    alone = [scores_of_tiles(trained.classifier, tiles, batch) for batch in BATCHES]
    of_tiles = scores[0, :, ::TILE_STEP, ::TILE_STEP]
    said = np.array(trained.classes)[of_tiles.argmax(0).numpy()]
    is_dress, says_dress = sheet.is_dress, said == garments.DRESS
    figures = Figures(
        crops=len(find_crops(output / "crops/train").training),
        held_out=held_out,
        held_out_accuracy=round(right, 4),
        training_s=round(training_s, 1),
        map_rows=scores.shape[2],
        map_columns=scores.shape[3],
        exact=fcn.report.exact,
        tile_difference=difference(of_tiles, alone[0]),
        self_difference=max(difference(other, alone[0]) for other in alone),
        windows=scores.shape[2] * scores.shape[3],
        window_difference=difference(scores, of_crops),
        verified_windows=verified.windows,
        verified_difference=verified.max_error,
        verified_agreement=verified.agreement,
        dresses=int(is_dress.sum()),
        dresses_found=int((says_dress & is_dress).sum()),
        other_tiles=int((~is_dress).sum()),
        false_tiles=int((says_dress & ~is_dress).sum()),
        average_precision=round(average_precision(trained, picture, truth), 4),
        tiles_right=round(float((said == np.array(sheet.classes)[sheet.labels]).mean()), 4),
        one_pass_s=round(one_pass_s, 4),
        crops_s=round(crops_s, 3),
        ratio=round(crops_s / one_pass_s, 1),
        threads=torch.get_num_threads(),
    )
    tell(figures)
    print(f"\nthe scan's own check\n{verified}")
    worst = max(figures.tile_difference, figures.window_difference)
    if not (verified.passed and worst <= verified.allowed):
        raise SystemExit(f"fashion: scores differ from their crops' by {worst:.3g}")
    write(output, sheet, says_dress, fcn, figures)
    return figures


def average_precision(trained: fullconv.Trained, picture: Path, truth: Path) -> float:
    """Return the average precision of the dresses among the tiles, of all that score at all."""
    by_tile = trained.convert(step=garments.WINDOW)
    found = fullconv.detect(by_tile, picture, threshold=0.0, classes=[garments.DRESS])
    return fullconv.evaluate(found, truth, classes=[garments.DRESS]).average_precision


def tell(figures: Figures) -> None:
    """Print what was found, and the comparison of the one pass with the crops."""
    print(
        f"dresses  {figures.dresses_found} of {figures.dresses} found, "
        f"{figures.false_tiles} of {figures.other_tiles} other tiles called a dress; "
        f"average precision {figures.average_precision:.3f}; of all tiles "
        f"{100 * figures.tiles_right:.1f} % right\n"
        f"one pass: a map of {figures.map_rows}x{figures.map_columns} scores; "
        f"[7i, 7j] is tile (i, j)\n"
        f"tiles    largest difference from the tile's own scores {figures.tile_difference:.3g}; "
        f"the classifier's from itself, across batch sizes, {figures.self_difference:.3g}\n"
        f"windows  largest difference of all {figures.windows} from their crops "
        f"{figures.window_difference:.3g}\n"
        f"time     {figures.one_pass_s:.3f} s in one pass, {figures.crops_s:.2f} s as "
        f"{figures.windows} crops in batches of {figures.map_columns}: "
        f"{figures.ratio:.0f} times as long"
    )


def write(
    output: Path,
    sheet: garments.Sheet,
    said: NDArray[np.bool_],
    fcn: fullconv.FullyConvolutional,
    figures: Figures,
) -> None:
    """Write the marked sheet, the converted model in both forms, and the figures."""
    garments.draw(sheet, said).save(output / "found.png")
    for ending in (".pt2", ".onnx"):
        fcn.save(output / f"fashion-fcn{ending}")
    (output / "figures.json").write_text(json.dumps(asdict(figures), indent=2) + "\n")
    print(f"\n{output}/ holds found.png, fashion.onnx, fashion-fcn.onnx and figures.json")


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("fashion-out"))
    parser.add_argument("--data", help="folder that holds fashion/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument(
        "--threads", type=int, default=1, help="more round, and so train, differently"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run(garments.data_folder(options.data), options.output, options.seed, options.epochs)


if __name__ == "__main__":
    main()
