"""The photos that are scanned for false alarms, and the objects known to be in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fullconv.detections.pairing import HOW, Unpaired
from fullconv.detections.search import check_scales
from fullconv.detections.truth import Truth, read_truth
from fullconv.errors import InputError
from fullconv.sources import find_images
from fullconv.sources.names import as_text
from fullconv.training.explaining import NO_CLASS, Objects


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos, the scales at which they are scanned, and their true boxes.

    Attributes
    ----------
    paths : tuple of Path
    scales : tuple of float
        Each photo is resized by each scale.
    truth : Truth or None
        None if the photos hold no objects.
    places : mapping
        Number of each photo among the images of the truth.
    """

    paths: tuple[Path, ...] = ()
    scales: tuple[float, ...] = (1.0,)
    truth: Truth | None = None
    places: Mapping[Path, int] = field(default_factory=dict)

    @classmethod
    def find(
        cls, named: Sequence[str | Path], truth: str | Path | None, scales: Sequence[float]
    ) -> Photos:
        """Return the named photos with their truth.

        Raises
        ------
        InputError
            If there are none, or the truth cannot be read, or says nothing about one of them.
        """
        check_scales("train", scales)
        if not named:
            for flag, given in (("--truth", truth is not None), ("--scales", scales != (1.0,))):
                if given:
                    raise InputError(
                        f"train {flag}: that is about the photos of --negatives, and none are "
                        f"named; add --negatives, or leave {flag} out."
                    )
            return cls()
        paths = find_images(named)
        if truth is None:
            return cls(tuple(paths), tuple(scales))
        known = read_truth(truth, ())
        paired = known.paired([str(path) for path in paths])
        places = {path: n for path, n in zip(paths, paired, strict=True) if isinstance(n, int)}
        unknown = [(p, n) for p, n in zip(paths, paired, strict=True) if isinstance(n, Unpaired)]
        for path, why in unknown[:1]:
            raise InputError(
                f"train --truth {truth}: it says nothing about {len(unknown)} of {len(paths)} "
                f"photos of --negatives, the first is {path.name} ({why.reason}); add them to it, "
                f"also those that hold nothing, or name other photos. {HOW}"
            )
        return cls(tuple(paths), tuple(scales), known, places)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def fingerprint(self) -> str | None:
        """A text that is the same for the same photos with the same truth; None without photos."""
        if not self.paths:
            return None
        digest = hashlib.sha256()
        for path in self.paths:
            size_bytes = path.stat().st_size if path.exists() else 0
            digest.update(f"{as_text(path.name)} {size_bytes} ".encode())
        if self.truth is not None:
            for array in (self.truth.boxes, self.truth.labels, self.truth.images):
                digest.update(array.tobytes())
            digest.update(" ".join(self.truth.classes).encode())
        return digest.hexdigest()[:16]

    def check_classes(self, classes: Sequence[str]) -> None:
        """Check that the truth has at least one of the classes that are learnt.

        Raises
        ------
        InputError
            If it has none; probably the names are spelt in two ways.
        """
        if self.truth is None or not self.truth.classes:
            return
        if not set(self.truth.classes) & set(classes):
            raise InputError(
                f"train --truth: none of its classes {', '.join(map(repr, self.truth.classes))} is "
                f"one of those that are learnt, {', '.join(map(repr, classes))}; call the folders "
                f"of crops as the truth calls its classes."
            )

    def held(self, path: Path, classes: Sequence[str]) -> Objects:
        """Return the objects of one photo, with class numbers that index ``classes``."""
        if self.truth is None:
            return Objects.nothing()
        truth = self.truth.of_places([self.places[path]])
        number = {name: place for place, name in enumerate(classes)}
        labels = [number.get(name, NO_CLASS) for name in truth.classes]
        return Objects(
            truth.boxes, np.array(labels, np.int64)[truth.labels], np.asarray(truth.ignored)
        )
