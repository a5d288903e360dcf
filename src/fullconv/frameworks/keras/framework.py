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

from fullconv.errors import ExportError, ImageError, first_line
from fullconv.files import whole
from fullconv.frameworks import METADATA, Framework, Held, nothing_held
from fullconv.frameworks.keras.archive import METADATA_FILE, open_archive
from fullconv.frameworks.keras.calls import numbers
from fullconv.frameworks.keras.double import in_double
from fullconv.frameworks.keras.models import channels_last, functional, leaves
from fullconv.frameworks.keras.one_by_one import OneByOne
from fullconv.frameworks.keras.read import Source, read
from fullconv.frameworks.keras.write import write
from fullconv.geometry import Grid
from fullconv.graph import Graph
from fullconv.images import ImageShape, check_shape


class KerasFramework(Framework):
    """`keras.Model`, on the backend that Keras was imported with.

    Inside, images are arrays of NumPy ``(N, C, H, W)``, as everywhere; `inward` and `outward` stand
    between them and a model that takes its channels last.
    """

    name = "keras"
    suffix = ".keras"

    def open(self, path: Path) -> tuple[Any, dict[str, str]]:
        """Load a ``.keras`` or ``.h5`` file."""
        return open_archive(path)

    def metadata(self, model: Any) -> dict[str, str]:
        """Return what a model carries under the name of `METADATA`, mostly nothing."""
        return dict(getattr(model, METADATA, {}))

    def read(self, model: Any, window: tuple[int, int] | None) -> Source:
        """Read the model at its native size."""
        return read(model, window)

    def write(self, graph: Graph, source: Any, grid: Grid) -> Any:
        """Write a `keras.Model`."""
        return write(graph, source, grid)

    def classifier(self, model: Any) -> Callable[[Any], Any]:
        """Run the model on crops, as in use; a fixed batch is filled up."""
        fixed = functional(model).inputs[0].shape[0]
        run = self._run(model)
        if not fixed:
            return run

        def classify(crops: Any) -> Any:
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

    def in_double(self, model: Any) -> Callable[[Any], Any]:
        """Run a copy of the model, layer by layer in double precision."""
        return in_double(model, self.classifier)

    def runner_in_double(self, model: Any) -> Callable[[Any], Any]:
        """Run a copy of the converted model, layer by layer in double precision."""
        return in_double(model, self.runner)

    def epsilon(self, model: Any) -> float:
        """Return that of the model's input; none for whole numbers."""
        dtype = str(functional(model).inputs[0].dtype)
        if dtype == "bfloat16":
            return 2.0**-7
        return float(np.finfo(dtype).eps) if keras.backend.is_float_dtype(dtype) else 0.0

    def runner(self, model: Any, held: Held = nothing_held) -> Callable[[Any], Any]:
        """Run the converted model; its scores come as ``(N, K, rows, columns)``."""
        run = self._run(model)
        if not _is_last(model):
            return run
        return lambda images: keras.tree.map_structure(_to_core, run(images))

    def _run(self, model: Any) -> Callable[[Any], Any]:
        last, dtype = _is_last(model), functional(model).inputs[0].dtype

        def run(images: Any) -> Any:
            given = np.moveaxis(images, 1, -1) if last else images
            # Without gradients, and with dropout and batch statistics as in use, on any backend.
            return model.predict_on_batch(np.ascontiguousarray(given, dtype=dtype))

        return run

    def inward(self, model: Any, images: Any) -> Any:
        """Return images of NumPy or the backend as an array ``(N, C, H, W)``."""
        last = _is_last(model)
        if not isinstance(images, np.ndarray) and not keras.ops.is_tensor(images):
            raise ImageError(
                f"fcn(images): expected a numpy array, or a tensor of Keras' backend "
                f"({keras.backend.backend()}), {'(N, H, W, C)' if last else '(N, C, H, W)'}; got "
                f"{type(images).__qualname__}."
            )
        array = np.asarray(keras.ops.convert_to_numpy(images))
        channels = int(functional(model).inputs[0].shape[-1 if last else 1])
        if last and (array.ndim != 4 or array.shape[3] != channels):
            raise ImageError(
                f"fcn(images): the model takes its channels last, (N, H, W, {channels}); got shape "
                f"{tuple(array.shape)}. For one image add the first axis: images[None]."
            )
        return np.moveaxis(array, -1, 1) if last else array

    def outward(self, model: Any, scores: Any) -> Any:
        """Return scores as tensors of the backend, in the order that the model gives them."""
        last = _is_last(model)
        return keras.tree.map_structure(
            lambda x: keras.ops.convert_to_tensor(_from_core(x) if last else x), scores
        )

    def check(self, images: Any, channels: int) -> Any:
        """Check that images are an array ``(N, C, H, W)``."""
        check_shape(images.shape, channels, images.dtype)
        return images

    def images(self, model: Any, pixels: Any) -> Any:
        """Return the pixels; the model casts them where it must."""
        return pixels

    def join(self, arrays: Sequence[Any], axis: int) -> Any:
        """Concatenate arrays."""
        return np.concatenate(list(arrays), axis)

    def to_numpy(self, array: Any) -> Any:
        """Return the array itself."""
        return np.asarray(array)

    def save(self, model: Any, shape: ImageShape, path: Path, metadata: Mapping[str, str]) -> None:
        """Write a ``.keras`` file, or an ``.onnx``."""
        if path.suffix == ".onnx":
            from fullconv.frameworks.keras.to_onnx import to_onnx

            proto = to_onnx(model, shape.grid, metadata)
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

    def digest(self, model: Any) -> str:
        """Hash the layers' settings and the weights."""
        config = json.dumps(model.get_config(), sort_keys=True, default=repr)
        held = hashlib.sha256(config.encode())
        for variable in model.variables:
            array = np.ascontiguousarray(numbers(variable))
            held.update(f"{array.dtype} {array.shape}".encode())
            held.update(array.tobytes())
        return held.hexdigest()

    def kept(self, model: Any) -> Mapping[str, Any]:
        """Return copies of the variables that are not trained."""
        return {v.path: np.array(numbers(v)) for v in model.non_trainable_variables}

    def odd_weights(self, source: Any) -> list[str]:
        """Name the parameters that hold NaN or infinity."""
        odd = []
        for name, weight in source.weights.items():
            array = numbers(weight).astype(np.float64)
            if array.size and not np.isfinite([array.min(), array.max()]).all():
                odd.append(name)
        return odd


def _is_last(model: Any) -> bool:
    """Return whether a classifier, or a converted model, takes its channels last."""
    shape = functional(model).inputs[0].shape
    if shape[1:3] == (None, None) != shape[2:4]:
        return True
    if shape[2:4] == (None, None) != shape[1:3]:
        return False
    return channels_last(functional(model))


def _to_core(scores: Any) -> Any:
    """``(N, rows, columns, ...)`` to ``(N, ..., rows, columns)``."""
    return np.moveaxis(scores, (1, 2), (-2, -1))


def _from_core(scores: Any) -> Any:
    """``(N, ..., rows, columns)`` to ``(N, rows, columns, ...)``."""
    return np.moveaxis(scores, (-2, -1), (1, 2))
