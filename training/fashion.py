"""Train a classifier of garments, convert it, and score a sheet of 900 pictures in one pass.

The classifier learns 28 by 28 grey pictures (Fashion-MNIST); the published overview of the data
set, 840 by 840 pixels, is a real large image whose tiles are known. With a network stride of 4,
window ``[7 * i, 7 * j]`` of its 204 by 204 map is tile (i, j), and 90 of the tiles are dresses.
The sheet's own pictures are left out of training and of the held-out accuracy.

The folder of the data is found by --data, else by the environment variable FULLCONV_DATA, else
it is shared/data beside the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional as F

import fullconv

REPOSITORY = Path(__file__).resolve().parents[1]
FILES = ("fashion_mnist_all.npz", "fashion-mnist-sprite.png", "sprite_ground_truth.json")
WINDOW = (28, 28)
TILES = 30
TILE_STEP = 7
"""Windows from one tile to the next: 28 pixels at the network's stride of 4."""

DRESS = 3
PREPROCESSING = fullconv.Preprocessing(scale=1 / 255)
BATCHES = (1, 7, 64, 900)
"""Batch sizes in which the tiles are forwarded, to see how far the classifier is from itself."""

FOUND, FALSE, MISSED = (0, 200, 130), (255, 70, 40), (90, 170, 255)


class GarmentClassifier(nn.Module):
    """Map pictures (N, 1, 28, 28) with values in 0..1 to scores (N, 10).

    No operation is padded and the strides multiply to 4, so all windows share one pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 24, 4, stride=2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Conv2d(48, 64, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(64 * 4 * 4, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, 10)."""
        return self.classifier(self.features(pictures))


@dataclass(frozen=True)
class Pictures:
    """Pictures (N, 1, 28, 28) uint8 and their classes (N,), to learn and held out."""

    training: torch.Tensor
    training_classes: torch.Tensor
    held_out: torch.Tensor
    held_out_classes: torch.Tensor


@dataclass(frozen=True)
class Sheet:
    """The published overview: pixels (840, 840) uint8, and the class of each tile (30, 30)."""

    pixels: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    source_rows: np.ndarray


@dataclass(frozen=True)
class Figures:
    """What a run has measured; differences are of scores before the softmax."""

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
    one_pass_s: float
    crops_s: float
    ratio: float
    threads: int


def data_folder(given: str | None) -> Path:
    """Return the folder that holds fashion/, or leave with exit code 3 and one line."""
    root = given or os.environ.get("FULLCONV_DATA") or REPOSITORY.parent / "shared/data"
    folder = Path(root) / "fashion"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        print(
            f"fashion: {', '.join(missing)} not found in {folder}; name the folder that holds "
            f"fashion/ by --data or the environment variable FULLCONV_DATA.",
            file=sys.stderr,
        )
        raise SystemExit(3)
    return folder


def read_sheet(folder: Path) -> Sheet:
    """Read the overview and what its tiles are."""
    truth = json.loads((folder / FILES[2]).read_text())
    with Image.open(folder / FILES[1]) as picture:
        pixels = np.asarray(picture.convert("L"))
    classes = np.array(truth["labels_row_major"]).reshape(TILES, TILES)
    return Sheet(pixels, classes, tuple(truth["class_names"]), np.array(truth["source_rows"]))


def read_pictures(folder: Path, sheet: Sheet) -> Pictures:
    """Read the data set without the pictures that are on the sheet."""
    with np.load(folder / FILES[0]) as held:
        rows, classes, training = held["X"], held["y"], held["train"]
    free = np.ones(len(rows), dtype=bool)
    free[sheet.source_rows] = False
    pictures = torch.from_numpy(rows).reshape(-1, 1, *WINDOW)
    chosen = [torch.from_numpy(free & part) for part in (training, ~training)]
    labels = torch.from_numpy(classes)
    return Pictures(*(part[which] for which in chosen for part in (pictures, labels)))


def prepare(pictures: torch.Tensor) -> torch.Tensor:
    """Return pixels as the classifier takes them."""
    return pictures.float().mul_(PREPROCESSING.scale)


def train(pictures: Pictures, seed: int, epochs: int, batch: int = 256) -> GarmentClassifier:
    """Return a trained classifier; the same seed gives the same one."""
    torch.manual_seed(seed)
    # Channels last halves the time of small convolutions on a CPU, and changes nothing else.
    model = GarmentClassifier().to(memory_format=torch.channels_last)
    count = len(pictures.training) // batch
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=count * epochs)
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for chosen in torch.randperm(len(pictures.training))[: count * batch].split(batch):
            scores = model(prepare(pictures.training[chosen]))
            loss = F.cross_entropy(scores, pictures.training_classes[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1}/{epochs}  loss {total / count:.3f}", flush=True)
    return model.eval().to(memory_format=torch.contiguous_format)


@torch.no_grad()
def accuracy(model: nn.Module, pictures: Pictures) -> float:
    """Return the share of held-out pictures whose class is right."""
    answers = [model(prepare(part)).argmax(1) for part in pictures.held_out.split(500)]
    return float((torch.cat(answers) == pictures.held_out_classes).float().mean())


def tiles_of(image: torch.Tensor) -> torch.Tensor:
    """Return the 900 tiles (900, 1, 28, 28) of an image (1, 1, 840, 840), row by row."""
    return image.reshape(TILES, 28, TILES, 28).transpose(1, 2).reshape(-1, 1, *WINDOW)


@torch.no_grad()
def scores_of_tiles(model: nn.Module, tiles: torch.Tensor, batch: int) -> torch.Tensor:
    """Return the scores (10, 30, 30) of the tiles, forwarded as crops."""
    scores = torch.cat([model(part) for part in tiles.split(batch)])
    return scores.T.reshape(-1, TILES, TILES)


@torch.no_grad()
def scores_of_crops(model: nn.Module, image: torch.Tensor, grid: fullconv.Grid) -> torch.Tensor:
    """Return the scores (1, 10, rows, columns) of all windows, a row of crops at a time."""
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


def draw(sheet: Sheet, said: np.ndarray) -> Image.Image:
    """Return the sheet, twice its size, with the dresses found, missed and falsely found."""
    picture = Image.fromarray(sheet.pixels).convert("RGB").resize((1680, 1680), Image.NEAREST)
    pen = ImageDraw.Draw(picture)
    is_dress = sheet.classes == DRESS
    for row, column in np.argwhere(said | is_dress):
        colour = MISSED if not said[row, column] else FALSE
        colour = FOUND if said[row, column] and is_dress[row, column] else colour
        x, y = 56 * int(column), 56 * int(row)
        pen.rectangle((x, y, x + 55, y + 55), outline=colour, width=4)
    return picture


def run(folder: Path, output: Path, seed: int, epochs: int) -> Figures:
    """Train, convert, compare, and write what came of it; print the story on the way."""
    sheet = read_sheet(folder)
    pictures = read_pictures(folder, sheet)
    print(f"training on {len(pictures.training)} pictures, none of them on the sheet")
    start = time.perf_counter()
    model = train(pictures, seed, epochs)
    training_s = time.perf_counter() - start
    right = accuracy(model, pictures)
    print(f"held-out accuracy {right:.3f} on {len(pictures.held_out)}, after {training_s:.0f} s")

    fcn = fullconv.convert(model, window=WINDOW, classes=sheet.names, preprocessing=PREPROCESSING)
    print(f"\n{fcn.report}\n")
    image = prepare(torch.from_numpy(sheet.pixels.copy())[None, None])
    scores = fcn(image)  # the first run of a network costs more than the others
    one_pass_s = median_seconds(lambda: fcn(image))
    start = time.perf_counter()
    of_crops = scores_of_crops(model, image, fcn.grid)
    crops_s = time.perf_counter() - start

    tiles = tiles_of(image)
    alone = [scores_of_tiles(model, tiles, batch) for batch in BATCHES]
    of_tiles = scores[0, :, ::TILE_STEP, ::TILE_STEP]
    verified = fullconv.verify(fcn, model, image)
    said = of_tiles.argmax(0).numpy() == DRESS
    is_dress = sheet.classes == DRESS
    figures = Figures(
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
        dresses_found=int((said & is_dress).sum()),
        other_tiles=int((~is_dress).sum()),
        false_tiles=int((said & ~is_dress).sum()),
        one_pass_s=round(one_pass_s, 4),
        crops_s=round(crops_s, 3),
        ratio=round(crops_s / one_pass_s, 1),
        threads=torch.get_num_threads(),
    )
    tell(figures)
    print(f"\nfullconv.verify\n{verified}")
    worst = max(figures.tile_difference, figures.window_difference)
    if not (verified.passed and worst <= verified.allowed):
        raise SystemExit(f"fashion: scores differ from their crops' by {worst:.3g}")
    write(output, sheet, said, fcn, figures)
    return figures


def tell(figures: Figures) -> None:
    """Print the comparison of the one pass with the crops."""
    print(
        f"one pass: a map of {figures.map_rows}x{figures.map_columns} scores; "
        f"[7i, 7j] is tile (i, j)\n"
        f"tiles    largest difference from the tile's own scores {figures.tile_difference:.3g}; "
        f"the classifier's from itself, across batch sizes, {figures.self_difference:.3g}\n"
        f"windows  largest difference of all {figures.windows} from their crops "
        f"{figures.window_difference:.3g}\n"
        f"dresses  {figures.dresses_found} of {figures.dresses} found, "
        f"{figures.false_tiles} of {figures.other_tiles} other tiles called a dress\n"
        f"time     {figures.one_pass_s:.3f} s in one pass, {figures.crops_s:.2f} s as "
        f"{figures.windows} crops in batches of {figures.map_columns}: "
        f"{figures.ratio:.0f} times as long"
    )


def write(
    output: Path, sheet: Sheet, said: np.ndarray, fcn: fullconv.FullyConvolutional, figures: Figures
) -> None:
    """Write the picture, the converted model in both forms, and the figures."""
    output.mkdir(parents=True, exist_ok=True)
    draw(sheet, said).save(output / "sheet.png")
    for ending in (".pt2", ".onnx"):
        fcn.save(output / f"fashion-fcn{ending}")
    (output / "figures.json").write_text(json.dumps(asdict(figures), indent=2) + "\n")
    print(
        f"\nwrote {output}/: sheet.png (green: dresses found, red: falsely found, blue: missed), "
        f"fashion-fcn.pt2, fashion-fcn.onnx, figures.json"
    )


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder that holds fashion/")
    parser.add_argument("-o", "--output", type=Path, default=Path("fashion-out"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=1, help="more round, and so train, differently"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    run(data_folder(options.data), options.output, options.seed, options.epochs)


if __name__ == "__main__":
    main()
