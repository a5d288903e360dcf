"""What comparing with crops costs a conversion, beside the crops themselves.

Run it with ``python benchmarks/probe.py``. The same network is converted with the probe and without
(``check=False``), and scores one crop, in turns.
"""

from __future__ import annotations

import statistics
from functools import partial

import numpy as np
import torch

import fullconv
from measuring import Figure, arguments, interleaved, print_machine, write_json
from networks import VGG16, ResNet50, Small, as_onnx, ready, session

NETWORKS = {
    "VGG16": (VGG16, (224, 224)),
    "ResNet-50": (ResNet50, (224, 224)),
    "small net": (Small, (128, 128)),
}


def main() -> None:
    """Measure every network in PyTorch and ONNX, and print a table."""
    options = arguments("What the probe of a conversion costs.", tuple(NETWORKS))
    print_machine()
    print("\n| network | runtime | check=False s | with the probe s | a crop s | probe, in crops |")
    print("|---|---|---|---|---|---|")
    figures = []
    for name, (network, window) in NETWORKS.items():
        if options.only not in (None, name):
            continue
        model = ready(network)
        crop = np.random.default_rng(0).random((1, 3, *window), np.float32)
        proto = as_onnx(model, window)
        crops = {
            "PyTorch": (model, partial(torch.no_grad()(model.__call__), torch.from_numpy(crop))),
            "ONNX Runtime": (proto, partial(session(proto), crop)),
        }
        for runtime, (subject, score) in crops.items():
            convert = partial(fullconv.convert, subject, window)
            contenders = {"check=False": partial(convert, check=False), "probe": convert}
            times = interleaved({**contenders, "crop": score}, options.repeats)
            without, probed, single = (statistics.median(held) for held in times.values())
            figures += [Figure.of(f"{name}, {runtime}", what, held) for what, held in times.items()]
            print(
                f"| {name} | {runtime} | {without:.3f} | {probed:.3f} | {single:.4f} "
                f"| {(probed - without) / single:.1f} |",
                flush=True,
            )
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
