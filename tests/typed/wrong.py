"""What a user mistypes, and type checkers must refuse: the code of each error stands beside it."""

from __future__ import annotations

from typing import Any

import fullconv

fcn: fullconv.FullyConvolutional = fullconv.load("model.onnx")
model: Any = None

fullconv.covnert(model, window=(128, 64))  # attr-defined
fullconv.convert(model, windw=(128, 64))  # call-arg
fullconv.convert(model, activation="sofmax")  # arg-type
fullconv.detect(fcn, "photo.png", treshold=0.5)  # call-arg
fullconv.detect(fcn, "photo.png", scale=0.5)  # call-arg
fullconv.detect(fcn, "photo.png", memory_bytes="1 GB")  # arg-type
fullconv.detect(fcn, 5)  # arg-type
fullconv.detect(fcn, "photo.png", activation="sofmax")  # arg-type
fullconv.scan(fcn, "photo.png", rumtime="auto")  # call-arg
fullconv.scan(fcn, "photo.png", runtime="auto", dtype="int8")  # arg-type
fullconv.scan(fcn, 5)  # arg-type
fullconv.train("crops", "model.onnx", epoch=3)  # call-arg
fullconv.train("crops", "model.onnx", epochs="3")  # arg-type
fullconv.train("crops", "model.onnx", flips="v")  # arg-type
fullconv.train("crops", "model.onnx", level=1)  # call-arg
fullconv.train("crops")  # call-arg
fullconv.evaluate("boxes.csv", truth=5)  # arg-type
fullconv.dense_to_conv(model, (3, 4, 5), "WHC")  # arg-type
number: int = fullconv.WindowError  # assignment
options: fullconv.ScanOptions = {"runtim": "auto"}  # typeddict-unknown-key
asked: fullconv.TrainOptions = {"batch": 2.5}  # typeddict-item
