"""ONNX behind the seam."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from fullconv.conversion.requested import axes_of_rank
from fullconv.errors import ExportError, ImageError
from fullconv.frameworks.framework import Framework, MemoryEstimate, no_estimate
from fullconv.frameworks.onnx.channels import (
    AXES_KEY,
    channels_first,
    channels_last,
    image_of,
    is_last,
    of_each,
)
from fullconv.frameworks.onnx.double import in_double
from fullconv.frameworks.onnx.light import set_aside
from fullconv.frameworks.onnx.loading import check_converted
from fullconv.frameworks.onnx.opening import open_model, proto_of
from fullconv.frameworks.onnx.preparing import prepared, prepared_again
from fullconv.frameworks.onnx.read import ModelGraph, read
from fullconv.frameworks.onnx.session import image_dtype, session
from fullconv.frameworks.onnx.write import write
from fullconv.frameworks.orders import scores_to_last, scores_to_map, to_last, to_map
from fullconv.geometry.grid import Grid, Sizes
from fullconv.geometry.images import LETTERS, ImageShape, Takes
from fullconv.graph.graph import Graph
from fullconv.lift.pace import Pace
from fullconv.system.files import whole


class OnnxFramework(Framework):
    """``onnx.ModelProto``, run by ONNX Runtime."""

    name = "onnx"
    pace = Pace(written=14, moved=330, block=20_000, call=200_000)
    crops_at_once = 32
    suffix = ".onnx"

    def open(self, path: Path) -> tuple[Any, dict[str, str]]:
        """Load an ``.onnx`` file; its external data must lie in its own folder."""
        model = open_model(path)
        return model, self.metadata(model)

    def metadata(self, model: Any) -> dict[str, str]:
        """Return the model's metadata properties."""
        return {entry.key: entry.value for entry in model.metadata_props}

    def read(self, model: Any, window: Sizes | None) -> ModelGraph:
        """Read the model, brought to a current operator set first where it is old."""
        return read(prepared(proto_of(model)).whole(), window)

    def axes(self, model: Any, length: int) -> int:
        """Return the axes of the input's rank."""
        return axes_of_rank(len(image_of(proto_of(model)).type.tensor_type.shape.dim), length)

    def write(self, graph: Graph, source: Any, grid: Grid) -> onnx.ModelProto:
        """Write a checked model."""
        proto = ir.serde.serialize_model(write(graph, source, grid))
        onnx.checker.check_model(set_aside(proto).model)
        return proto

    def classifier(self, model: Any, takes: Takes = "map") -> Callable[[Any], Any]:
        """Run the model on crops; a fixed batch is filled with the last crop."""
        return self._on_crops(proto_of(model), session)

    def _on_crops(
        self, proto: onnx.ModelProto, opened: Callable[[onnx.ModelProto], Callable[[Any], Any]]
    ) -> Callable[[Any], Any]:
        sizes = image_of(proto).type.tensor_type.shape.dim
        run = opened(proto)
        fixed = sizes[0].dim_value if sizes else 0
        light = prepared_again(proto)
        graph = ir.serde.deserialize_model(light.model).graph
        weights = {*light.weights, *graph.initializers}
        image = next(v for v in graph.inputs if v.name not in weights)
        is_converted = AXES_KEY in self.metadata(proto)

        def classify(crops: Any) -> Any:
            if is_last(proto) if is_converted else channels_last(image, crops.shape[2:]):
                crops = to_last(crops)
            if not fixed or fixed == len(crops):
                return run(crops)
            results = []
            for start in range(0, len(crops), fixed):
                batch = crops[start : start + fixed]
                last = np.repeat(batch[-1:], fixed - len(batch), axis=0)
                outputs = run(np.concatenate([batch, last]))
                several = isinstance(outputs, tuple)
                results.append([o[: len(batch)] for o in (outputs if several else (outputs,))])
            joined = tuple(np.concatenate(parts) for parts in zip(*results, strict=True))
            return joined if len(joined) > 1 else joined[0]

        return classify

    def loaded(self, model: Any, shape: ImageShape) -> onnx.ModelProto:
        """Return a converted model, once the sizes of its tensors at one window are checked."""
        check_converted(model, shape)
        proto: onnx.ModelProto = model
        return proto

    def in_double(self, model: Any, takes: Takes = "map") -> Callable[[Any], Any]:
        """Run the model in onnx's reference evaluator."""
        return self._on_crops(proto_of(model), in_double)

    def epsilon(self, model: Any) -> float:
        """Return the epsilon of the type of the model's input; 0 for integers."""
        dtype = image_dtype(proto_of(model))
        return float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else 0.0

    def runner(self, model: Any, run_bytes: MemoryEstimate = no_estimate) -> Callable[[Any], Any]:
        """Run the converted model in ONNX Runtime; its scores come as ``(N, K, rows, columns)``."""
        if not is_last(model):
            return session(model, run_bytes)
        # A caller's images have their channels last, and are handed on as they lie in memory.
        run = session(model, lambda images: run_bytes(to_map(images)))

        def turned(images: Any) -> Any:
            axes = images.ndim - 2
            return of_each(lambda scores: scores_to_map(scores, axes), run(to_last(images)))

        return turned

    def runner_in_double(self, model: Any) -> Callable[[Any], Any]:
        """Run the converted model in onnx's reference evaluator."""
        return in_double(channels_first(model))

    def order(self, source: ModelGraph) -> str:
        """Return ``(N, H, W, C)`` where the model takes its channels last."""
        letters = ", ".join(LETTERS[len(source.graph.window)])
        return f"(N, {letters}, C)" if source.channels_last else ""

    def inward(self, model: Any, images: Any) -> Any:
        """Return images as ``(N, C, H, W)``, whichever order the model takes."""
        if not is_last(model):
            return images
        dims = model.graph.input[0].type.tensor_type.shape.dim
        channels = dims[-1].dim_value
        named = f"(N, {', '.join(LETTERS[len(dims) - 2])}, {channels})"
        if not isinstance(images, np.ndarray):
            raise ImageError(
                f"fcn(images): expected a numpy array {named}; got {type(images).__qualname__}."
            )
        if images.ndim != len(dims) or images.shape[-1] != channels:
            raise ImageError(
                f"fcn(images): the model takes its channels last, {named}; got shape "
                f"{images.shape}. For one image add the first axis: images[None]."
            )
        return to_map(images)

    def outward(self, model: Any, scores: Any) -> Any:
        """Return scores as ``(N, rows, columns, K)`` where the model gives them so."""
        if not is_last(model):
            return scores
        axes = len(model.graph.input[0].type.tensor_type.shape.dim) - 2
        return of_each(lambda one: scores_to_last(one, axes), scores)

    def check(self, images: Any, shape: ImageShape) -> Any:
        """Check that images are an array ``(N, C, H, W)``."""
        if not isinstance(images, np.ndarray):
            raise ImageError(
                f"fcn(images): expected a numpy array {shape.axes}; got "
                f"{type(images).__qualname__}."
            )
        shape.check(images.shape, images.dtype)
        return images

    def images(self, model: Any, pixels: Any) -> Any:
        """Return the pixels; the session casts them where it must."""
        return pixels

    def join(self, arrays: Sequence[Any], axis: int) -> Any:
        """Concatenate arrays."""
        return np.concatenate(list(arrays), axis)

    def to_numpy(self, array: Any) -> Any:
        """Return the array itself."""
        return array

    def save(self, model: Any, shape: ImageShape, path: Path, metadata: Mapping[str, str]) -> None:
        """Write an ``.onnx`` file."""
        if path.suffix != ".onnx":
            raise ExportError(
                f"save({str(path)!r}): a model converted from ONNX is saved as .onnx; choose that "
                f"ending."
            )
        proto = onnx.ModelProto()
        proto.CopyFrom(model)
        # The new entries replace all that the classifier's file said for fullconv.
        others = self.metadata(proto).items()
        kept = {k: v for k, v in others if k == AXES_KEY or not k.startswith("fullconv.")}
        onnx.helper.set_model_props(proto, kept | dict(metadata))
        with whole(path) as temporary:
            temporary.write_bytes(proto.SerializeToString())

    def digest(self, model: Any) -> str:
        """Hash the graph and its weights."""
        graph = proto_of(model).graph
        return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()

    def overwriting(self, model: Any) -> list[str]:
        """Name normalizations in training mode: ONNX Runtime updates their running statistics.

        It writes in place, and lets equal weights share their memory; so it may overwrite a bias.
        """
        return [
            f"BatchNormalization {node.name or node.output[0]!r} in training mode"
            for node in model.graph.node
            if node.op_type == "BatchNormalization"
            and any(a.name == "training_mode" and a.i for a in node.attribute)
        ]

    def non_finite_weights(self, source: Any) -> list[str]:
        """Name the initializers that hold NaN or infinity."""
        non_finite = []
        for name, value in source.model.graph.initializers.items():
            tensor = value.const_value
            if tensor is not None and tensor.dtype.is_floating_point() and tensor.size:
                # The extremes of an array hold its NaN or infinity, and need no copy of it.
                array = tensor.numpy()
                if not np.isfinite([float(array.min()), float(array.max())]).all():
                    non_finite.append(name)
        return non_finite
