"""Crops of drawn streets, in the folders that `fullconv train` takes.

Note [Seeds of streets]: seeds below 10 000 are for demonstrations, from 10 000 for evaluation, from
100 000 for crops to learn, from 150 000 for crops to judge by, and from 200 000 for streets without
dresses. So a classifier is never tried on a street that it was trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullconv.demo.scene import DRESS_SIZE, Scene, draw_scene, draw_without_dresses
from fullconv.errors import OutputError

DRESS, BACKGROUND = "dress", "background"

FIRST_TO_LEARN, FIRST_TO_JUDGE, FIRST_EMPTY = 100_000, 150_000, 200_000

REACH = (9, 12)
"""The most pixels, down and across, between the centres of a crop and of its dress.

A grid of step 32 has a window within 16 pixels of any dress, in each direction. Training shifts
crops by half a stride of the network on top of these: 8 and 4 pixels.
"""

BEYOND = 32
"""The least distance in pixels from the nearest dress at which a crop is background.

A crop between `REACH` and this is neither: a dress halfway between two windows belongs to both.
"""

NEAR = 80
"""The greatest distance in pixels of a crop that counts as beside a dress."""

OF_A_DRESS, BESIDE_A_DRESS, OF_A_STREET = 2, 2, 8
"""Crops of each dress, beside each dress, and anywhere in a street. Many streets teach more than
many crops of few streets."""

Position = tuple[int, int]


@dataclass(frozen=True)
class Streets:
    """Number of streets to draw: for crops to learn, for crops to judge by, and without dresses."""

    to_learn: int = 200
    to_judge: int = 40
    empty: int = 40

    @property
    def count(self) -> int:
        """All streets."""
        return self.to_learn + self.to_judge + self.empty


STREETS = Streets()


@dataclass(frozen=True)
class Drawn:
    """The drawn crops and streets: their folders and numbers.

    Attributes
    ----------
    crops : Path
        ``train/`` and ``test/``, each with ``background/`` and ``dress/``.
    photos : Path
        Streets without dresses.
    dresses, backgrounds, streets : int
        Number of crops of either class, and of streets without dresses.
    """

    crops: Path
    photos: Path
    dresses: int
    backgrounds: int
    streets: int


def positions(scene: Scene, rng: np.random.Generator) -> dict[str, set[Position]]:
    """Return positions (row, column) of windows that show a dress, and of others that show none."""
    last = np.subtract(scene.image.shape[:2], DRESS_SIZE)
    half = np.array(DRESS_SIZE) / 2
    centres = np.array([((y0 + y1) / 2, (x0 + x1) / 2) for x0, y0, x1, y1 in scene.dresses])

    def around(centre: NDArray[np.float64]) -> Position:
        row, column = np.clip(np.round(centre - half), 0, last).astype(int).tolist()
        return row, column

    def apart(position: Position) -> float:
        return float(np.linalg.norm(centres - (position + half), axis=1).min())

    on, off = set(), {around(half + rng.uniform(0, last)) for _ in range(OF_A_STREET)}
    for centre in centres:
        for _ in range(OF_A_DRESS):
            on.add(around(centre + rng.uniform(-1, 1, 2) * REACH))
        for _ in range(BESIDE_A_DRESS):
            angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(BEYOND, NEAR)
            off.add(around(centre + away * np.array([np.sin(angle), np.cos(angle)])))
    # Clipping to the image has moved some windows towards a dress or away from one.
    return {
        DRESS: {position for position in on if apart(position) <= np.hypot(*REACH)},
        BACKGROUND: {position for position in off if apart(position) >= BEYOND},
    }


def draw_crops(
    folder: Path, streets: Streets, progress: Callable[[int, int], None] | None = None
) -> Drawn:
    """Draw streets, and write crops and streets without dresses as pictures below a folder.

    The same numbers of streets give the same files; existing ones are replaced.

    Parameters
    ----------
    folder : Path
        Created if missing.
    streets : Streets
        Number of streets.
    progress : callable, optional
        Called with the number of streets drawn so far, and of all.

    Raises
    ------
    OutputError
        If the folder cannot be written to, or holds other pictures, which training would use.
    """
    written: Counter[Path] = Counter()
    tell = progress or (lambda done, count: None)
    try:
        for done, pictures in enumerate(_streets(streets), start=1):
            for place, pixels in pictures.items():
                path = folder / place
                path.parent.mkdir(parents=True, exist_ok=True)
                # The grain of a street does not compress; higher levels only take longer.
                Image.fromarray(pixels).save(path, compress_level=1)
                written[path.parent] += 1
            tell(done, streets.count)
        for path, count in written.items():
            if (there := len(list(path.iterdir()))) != count:
                raise OutputError(
                    f"demo -o {folder}: {path} holds {there - count} files that were not drawn "
                    f"now, and they would be learnt as well; remove it, or choose another folder."
                )
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"demo -o {folder}: crops cannot be written there: {error.strerror or error}; free "
            f"some space or choose another place."
        ) from None
    dresses, backgrounds = (
        sum(count for path, count in written.items() if path.name == name)
        for name in (DRESS, BACKGROUND)
    )
    return Drawn(folder / "crops", folder / "photos", dresses, backgrounds, streets.empty)


def _streets(streets: Streets) -> Iterator[dict[str, NDArray[np.uint8]]]:
    """Yield the pictures of each street, by their paths below the folder."""
    h, w = DRESS_SIZE
    for part, first, count in (
        ("train", FIRST_TO_LEARN, streets.to_learn),
        ("test", FIRST_TO_JUDGE, streets.to_judge),
    ):
        for seed in range(first, first + count):
            scene = draw_scene(seed)
            yield {
                f"crops/{part}/{name}/{seed}-{y}-{x}.png": scene.image[y : y + h, x : x + w]
                for name, places in positions(scene, np.random.default_rng(seed)).items()
                for y, x in sorted(places)
            }
    for seed in range(FIRST_EMPTY, FIRST_EMPTY + streets.empty):
        yield {f"photos/{seed}.png": draw_without_dresses(seed)}
