"""What a user writes, and type checkers must accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import fullconv
from fullconv import (
    Detections,
    Engine,
    FullconvError,
    FullyConvolutional,
    Heatmap,
    ScanOptions,
    Trained,
    TrainOptions,
)


def shown(progress: fullconv.Progress) -> None:
    print(progress.name, progress.seconds_left)


def scanned(model: Any, photo: Path) -> Heatmap:
    fcn: FullyConvolutional = fullconv.convert(model, window=(128, 64), step=(32, 32))
    chosen: ScanOptions = {"runtime": "auto", "progress": shown, "roi": (0, 0, 512, 512)}
    with Engine(fcn) as engine:
        return fullconv.scan(fcn, photo, "heat.zarr", engine=engine, resize=0.5, **chosen)


def deployed(model: Any) -> FullyConvolutional:
    pixels = fullconv.Preprocessing(scale=1 / 255)
    return fullconv.convert(
        model, 64, preprocessing=pixels, activation="softmax", embed_preprocessing=True
    )


def learnt(crops: Path, photos: list[Path]) -> Trained:
    chosen: TrainOptions = {"epochs": 3, "flips": "h", "negatives": photos, "device": "cpu"}
    trained = fullconv.train(crops, "dress.onnx", (128, 64), **chosen)
    again: Trained = fullconv.train(
        crops, "same.onnx", window=trained.window, rounds=1, resume=True
    )
    return again


def masked(fcn: FullyConvolutional, image: np.ndarray, mask: np.ndarray) -> Heatmap:
    return fullconv.scan(fcn, image, mask=mask, dtype="uint8", precision="bf16", cover="all")


def found(fcn: FullyConvolutional, photos: list[str | Path]) -> Detections:
    try:
        return fullconv.detect(fcn, photos, 0.5, scales=(1.0, 0.5), level=1, overwrite=True)
    except fullconv.WindowError as error:
        raise SystemExit(str(error)) from None
    except FullconvError as error:
        raise SystemExit(error.exit_code) from None


def proved(fcn: FullyConvolutional, model: Any) -> float:
    image = np.zeros((512, 1024, 3), np.uint8)
    verification: fullconv.Verification = fullconv.verify(fcn, model, image)
    return verification.max_error


def judged(boxes: Detections, truth: Path) -> float:
    evaluation = fullconv.evaluate(boxes, truth)
    return evaluation["dress"].average_precision


def several(fcn: FullyConvolutional, images: list[np.ndarray]) -> Detections:
    return fullconv.detect(fcn, images, activation="softmax", device="cuda:0")


def filters(weights: np.ndarray) -> np.ndarray:
    return fullconv.dense_to_conv(weights, (3, 4, 5), order="CHW")


def drawn(boxes: Detections) -> float:
    truth = {"photo.png": (np.zeros((1, 4)), ["dress"])}
    return fullconv.evaluate(boxes, truth).average_precision


def pixels(path: str) -> tuple[int, ...]:
    with fullconv.open_source(path, level=0) as source:
        return source.size
