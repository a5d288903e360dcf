"""Keras behind the seam."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fullconv.conversion.requested import axes_of_rank
from fullconv.errors import ExportError, ImageError, first_line
from fullconv.frameworks.framework import METADATA, Framework, MemoryEstimate, no_estimate
from fullconv.frameworks.keras.alike import same_weights
from fullconv.frameworks.keras.archive import METADATA_FILE, open_archive
from fullconv.frameworks.keras.calls import Array, numbers
from fullconv.frameworks.keras.double import in_double
from fullconv.frameworks.keras.models import functional, image_axes, leaves, takes_last
from fullconv.frameworks.keras.one_by_one import OneByOne
from fullconv.frameworks.keras.read import ModelGraph, read
from fullconv.frameworks.keras.write import write
from fullconv.frameworks.orders import scores_to_last, scores_to_map, to_last, to_map
from fullconv.geometry.grid import Grid, Sizes
from fullconv.geometry.images import LETTERS, ImageShape, Takes
from fullconv.graph.graph import Graph
from fullconv.system.files import whole
from fullconv.verification.judging import nearly_same

Scores = Any
"""Arrays of scores, in the structure in which a model returns them."""
Run = Callable[[Array], Scores]


class KerasFramework(Framework):
    """`keras.Model`, on the backend that Keras was imported with.

    Inside, images are arrays of NumPy ``(N, C, *size)``, as everywhere. `inward` and `outward`
    convert them for a model that takes its channels last.
    """

    name = "keras"
    suffix = ".keras"

    def open(self, path: Path) -> tuple[keras.Model, dict[str, str]]:
        """Load a ``.keras`` or ``.h5`` file."""
        return open_archive(path)

    def metadata(self, model: keras.Model) -> dict[str, str]:
        """Return the metadata that a model carries as an attribute; empty for most models."""
        return dict(getattr(model, METADATA, {}))

    def read(self, model: keras.Model, window: Sizes | None) -> ModelGraph:
        """Read the model at its native size."""
        return read(model, window)

    def axes(self, model: keras.Model, length: int) -> int:
        """Return the axes of the input's rank."""
        return axes_of_rank(len(functional(model).inputs[0].shape), length)

    def write(self, graph: Graph, source: ModelGraph, grid: Grid) -> keras.Model:
        """Write a `keras.Model`."""
        return write(graph, source, grid)

    def classifier(self, model: keras.Model, takes: Takes = "map") -> Run:
        """Run the model on crops, as at inference; a fixed batch is filled with the last crop."""
        fixed = functional(model).inputs[0].shape[0]
        run = self._run(model, takes == "map" and takes_last(model))
        if not fixed:
            return run

        def classify(crops: Array) -> Scores:
            if len(crops) == fixed:
                return run(crops)
            results = []
            for start in range(0, len(crops), fixed):
                batch = crops[start : start + fixed]
                last = np.repeat(batch[-1:], fixed - len(batch), axis=0)
                results.append(run(np.concatenate([batch, last])))
            return keras.tree.map_structure(
                lambda *parts: np.concatenate(parts)[: len(crops)], *results
            )

        return classify

    def in_double(self, model: keras.Model, takes: Takes = "map") -> Run:
        """Run a copy of the model, layer by layer in double precision."""
        return in_double(model, lambda copy: self.classifier(copy, takes))

    def runner_in_double(self, model: keras.Model) -> Run:
        """Run a copy of the converted model, layer by layer in double precision."""
        return in_double(model, self.runner)

    def epsilon(self, model: keras.Model) -> float:
        """Return the epsilon of the type of the model's input; 0 for integers."""
        dtype = str(functional(model).inputs[0].dtype)
        if dtype == "bfloat16":
            return 2.0**-7
        return float(np.finfo(dtype).eps) if keras.backend.is_float_dtype(dtype) else 0.0

    def runner(self, model: keras.Model, run_bytes: MemoryEstimate = no_estimate) -> Run:
        """Run the converted model; its scores come as ``(N, K, *windows)``."""
        last, free = takes_last(model), _free_axes(model)
        run = self._run(model, last and _channels(model) is not None)
        if not last:
            return run
        return lambda images: keras.tree.map_structure(
            lambda scores: scores_to_map(scores, free), run(images)
        )

    def _run(self, model: keras.Model, last: bool) -> Run:
        dtype = functional(model).inputs[0].dtype

        def run(images: Array) -> Scores:
            given = to_last(images) if last else images
            # Without gradients, with dropout and batch statistics as at inference, on any backend.
            return model.predict_on_batch(np.ascontiguousarray(given, dtype=dtype))

        return run

    def inward(self, model: keras.Model, images: Any) -> Array:
        """Return images of NumPy or the backend as an array ``(N, C, *size)``."""
        last, channels, free = takes_last(model), _channels(model), _free_axes(model)
        if not isinstance(images, np.ndarray) and not keras.ops.is_tensor(images):
            named = LETTERS[free] if channels is None else ()
            axes = f"(N, {', '.join(named)})" if named else image_axes(last, free)
            raise ImageError(
                f"fcn(images): expected a numpy array, or a tensor of Keras' backend "
                f"({keras.backend.backend()}), {axes}; got {type(images).__qualname__}."
            )
        array = np.asarray(keras.ops.convert_to_numpy(images))
        if channels is None or not last:
            return array
        if array.ndim != 2 + free or array.shape[-1] != channels:
            raise ImageError(
                f"fcn(images): the model takes its channels last, "
                f"{image_axes(last, free, channels)}; got shape {tuple(array.shape)}. For one "
                f"image add the first axis: images[None]."
            )
        turned: Array = to_map(array)
        return turned

    def outward(self, model: keras.Model, scores: Scores) -> Scores:
        """Return scores as tensors of the backend, in the order that the model gives them."""
        last, free = takes_last(model), _free_axes(model)
        return keras.tree.map_structure(
            lambda x: keras.ops.convert_to_tensor(scores_to_last(x, free) if last else x), scores
        )

    def check(self, images: Array, shape: ImageShape) -> Array:
        """Check that images are an array ``(N, C, *size)``."""
        shape.check(images.shape, images.dtype)
        return images

    def images(self, model: keras.Model, pixels: Array) -> Array:
        """Return the pixels; the model casts them where it must."""
        return pixels

    def join(self, arrays: Sequence[Array], axis: int) -> Array:
        """Concatenate arrays."""
        return np.concatenate(list(arrays), axis)

    def to_numpy(self, array: Array) -> Array:
        """Return the array itself."""
        return np.asarray(array)

    def alike(self, model: keras.Model, other: keras.Model, shape: ImageShape) -> bool:
        """Whether another form holds the same weights, and scores random pixels alike."""
        if not same_weights(model, other):
            return False
        pixels = np.random.default_rng(0).random((1, shape.channels, *shape.two_windows))
        given = shape.from_map(pixels.astype(np.float32))
        actual, expected = (
            [self.to_numpy(x) for x in keras.tree.flatten(self.runner(form)(given))]
            for form in (other, model)
        )
        return nearly_same(actual, expected, self.epsilon(model))

    def save(
        self, model: keras.Model, shape: ImageShape, path: Path, metadata: Mapping[str, str]
    ) -> None:
        """Write a ``.keras`` file, or an ``.onnx``."""
        if path.suffix == ".onnx":
            from fullconv.frameworks.keras.to_onnx import to_onnx

            proto = to_onnx(model, shape, metadata)
            with whole(path) as temporary:
                temporary.write_bytes(proto.SerializeToString())
            return
        if path.suffix != ".keras":
            raise ExportError(
                f"save({str(path)!r}): a model converted from Keras is saved as .keras or .onnx; "
                f"choose one of these endings."
            )
        for _, layer in leaves(functional(model)):
            called = layer.target if isinstance(layer, OneByOne) else layer
            if isinstance(called, keras.layers.Lambda):
                raise ExportError(
                    f"save({str(path)!r}): the Lambda {called.name!r} would be stored as Python "
                    f"code, which nobody should load; make it a registered class of its own."
                )
        with whole(path) as temporary:
            try:
                model.save(temporary)
            except OSError:
                raise
            except Exception as error:
                raise ExportError(
                    f"save({str(path)!r}): Keras cannot save the model ({first_line(error)}); give "
                    f"its own layers a get_config, or save it as .onnx."
                ) from None
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(METADATA_FILE, json.dumps(dict(metadata)))

    def digest(self, model: keras.Model) -> str:
        """Hash the layers' settings and the weights."""
        config = json.dumps(model.get_config(), sort_keys=True, default=repr)
        digest = hashlib.sha256(config.encode())
        for variable in model.variables:
            array = np.ascontiguousarray(numbers(variable))
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def kept(self, model: Any) -> Mapping[str, Any]:
        """Return copies of the variables that are not trained."""
        return {v.path: np.array(numbers(v)) for v in model.non_trainable_variables}

    def non_finite_weights(self, source: ModelGraph) -> list[str]:
        """Name the parameters that hold NaN or infinity."""
        non_finite = []
        for name, weight in source.weights.items():
            array = numbers(weight).astype(np.float64)
            if array.size and not np.isfinite([array.min(), array.max()]).all():
                non_finite.append(name)
        return non_finite


def _free_axes(model: keras.Model) -> int:
    """Return the number of axes along which a converted model takes images of any size."""
    return sum(size is None for size in functional(model).inputs[0].shape[1:])


def _channels(model: keras.Model) -> int | None:
    """Return the channels that a converted model takes; None without an axis of channels."""
    return next((size for size in functional(model).inputs[0].shape[1:] if size is not None), None)
