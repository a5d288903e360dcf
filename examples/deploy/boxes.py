"""Dresses in a photo: ONNX Runtime, NumPy and Pillow, and a model that needs nothing else.

    python boxes.py dress-bytes.onnx photo.png

prints the boxes [x0, y0, x1, y1] and scores that ``fullconv detect`` finds with the same model.
README.md says how the model is made.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

DRESS, THRESHOLD, IOU = 1, 0.5, 0.3


def overlap(a: list[int], b: list[int]) -> float:
    """Return the intersection over union of two windows."""
    w, h = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    return w * h / (2 * (a[2] - a[0]) * (a[3] - a[1]) - w * h)


session = onnxruntime.InferenceSession(sys.argv[1])
told = session.get_modelmeta().custom_metadata_map
(height, width), (down, across) = (json.loads(told[f"fullconv.{n}"]) for n in ("window", "step"))
photo = np.asarray(Image.open(sys.argv[2]).convert("RGB"))
(scores,) = session.run(None, {session.get_inputs()[0].name: photo[None]})
dress = np.pad(scores[0, :, :, DRESS], 1, constant_values=-1)  # a window has eight neighbours
around = np.lib.stride_tricks.sliding_window_view(dress, (3, 3)).max(axis=(2, 3))
best = np.argwhere((around == dress[1:-1, 1:-1]) & (around >= THRESHOLD)).tolist()
kept: list[list[int]] = []
for y, x in sorted(best, key=lambda at: -around[tuple(at)]):
    box = [x * across, y * down, x * across + width, y * down + height]
    if all(overlap(box, other) <= IOU for other in kept):
        kept.append(box)
        print(json.dumps({"box": box, "score": round(float(around[y, x]), 4)}))
