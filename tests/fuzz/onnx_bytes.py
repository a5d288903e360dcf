"""Mutations of the bytes of ``.onnx`` files."""

from __future__ import annotations

import numpy as np

from fuzz import Cases
from fuzz.bytes_of import mutated
from fuzz.seeds import onnx_files


def cases(seed: int, count: int = 300) -> Cases:
    """Yield damaged ``.onnx`` files."""
    rng = np.random.default_rng(seed)
    files = onnx_files()
    for number in range(count):
        name = str(rng.choice(list(files)))
        other = files[str(rng.choice(list(files)))]
        data, kinds = files[name], []
        for _ in range(1 + int(rng.random() < 0.2)):
            kind, data = mutated(data or b"\0", rng, other)
            kinds.append(kind)
        file = f"{seed}-{number:04}-{name}-{'-'.join(kinds)}.onnx"
        yield file, data, ["convert", file, "-o", "out.onnx"]
