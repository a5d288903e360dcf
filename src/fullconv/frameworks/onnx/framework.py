"""ONNX behind the seam."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from fullconv.errors import ExportError, ImageError, ModelError, UnsafeModelError, first_line
from fullconv.files import whole
from fullconv.frameworks import Framework, Held, nothing_held
from fullconv.frameworks.onnx.channels import (
    channels_last,
    is_last,
    of_each,
    scores_to_last,
    scores_to_map,
    to_last,
    to_map,
)
from fullconv.frameworks.onnx.read import Source, read
from fullconv.frameworks.onnx.session import session
from fullconv.frameworks.onnx.versions import current
from fullconv.frameworks.onnx.write import write
from fullconv.geometry import Grid, Sizes
from fullconv.graph import Graph
from fullconv.images import LETTERS, ImageShape

LARGE = 1 << 20


class OnnxFramework(Framework):
    """``onnx.ModelProto``, run by ONNX Runtime."""

    name = "onnx"
    suffix = ".onnx"

    def open(self, path: Path) -> tuple[Any, dict[str, str]]:
        """Load an ``.onnx`` file; its external data must lie in its own folder."""
        try:
            model = onnx.load(path, load_external_data=False)
            if not model.graph.node:
                raise ValueError("it holds no graph")
        except Exception as error:
            raise ModelError(
                f"{path} is not an ONNX model, or it is cut short ({first_line(error)}); "
                f"export or copy it again."
            ) from None
        _check_external_data(model, path)
        try:
            onnx.load_external_data_for_model(model, str(path.parent))
        except Exception as error:
            raise ModelError(
                f"{path}: its external data cannot be read ({first_line(error)}); keep the data "
                f"file beside the model."
            ) from None
        return model, self.metadata(model)

    def metadata(self, model: Any) -> dict[str, str]:
        """Return the model's metadata properties."""
        return {entry.key: entry.value for entry in model.metadata_props}

    def read(self, model: Any, window: Sizes | None) -> Source:
        """Read the model, brought to a current operator set first where it is old."""
        return read(ir.serde.deserialize_model(current(_proto(model))), window)

    def write(self, graph: Graph, source: Any, grid: Grid) -> onnx.ModelProto:
        """Write a checked model."""
        proto = ir.serde.serialize_model(write(graph, source, grid))
        onnx.checker.check_model(_skeleton(proto))
        return proto

    def classifier(self, model: Any) -> Callable[[Any], Any]:
        """Run the model on crops; a fixed batch is filled up."""
        proto = _proto(model)
        size = proto.graph.input[0].type.tensor_type.shape.dim[0]
        run = session(proto)
        fixed = size.dim_value if size.HasField("dim_value") else 0
        (image, *_) = ir.serde.deserialize_model(proto).graph.inputs

        def classify(crops: Any) -> Any:
            if channels_last(image, crops.shape[2:]):
                crops = to_last(crops)
            if not fixed:
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

    def runner(self, model: Any, held: Held = nothing_held) -> Callable[[Any], Any]:
        """Run the converted model in ONNX Runtime; its scores come as ``(N, K, rows, columns)``."""
        if not is_last(model):
            return session(model, held)
        # A caller's images have their channels last, and are handed on as they lie in memory.
        run = session(model, lambda images: held(to_map(images)))

        def turned(images: Any) -> Any:
            axes = images.ndim - 2
            return of_each(lambda scores: scores_to_map(scores, axes), run(to_last(images)))

        return turned

    def order(self, source: Source) -> str:
        """Return ``(N, H, W, C)`` where the model takes its channels last."""
        letters = ", ".join(LETTERS[len(source.graph.window)])
        return f"(N, {letters}, C)" if source.channels_last else ""

    def inward(self, model: Any, images: Any) -> Any:
        """Return images that come with their channels last as ``(N, C, H, W)``."""
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
        return of_each(lambda held: scores_to_last(held, axes), scores)

    def check(self, images: Any, shape: ImageShape) -> Any:
        """Check that images are an array ``(N, C, H, W)``."""
        if not isinstance(images, np.ndarray):
            raise ImageError(
                f"fcn(images): expected a numpy array {shape.axes}; got "
                f"{type(images).__qualname__}."
            )
        shape.check(images.shape)
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
        held = {entry.key for entry in proto.metadata_props} & set(metadata)
        kept = [entry for entry in proto.metadata_props if entry.key not in held]
        del proto.metadata_props[:]
        proto.metadata_props.extend(kept)
        for key, value in metadata.items():
            proto.metadata_props.add(key=key, value=value)
        with whole(path) as temporary:
            temporary.write_bytes(proto.SerializeToString())

    def digest(self, model: Any) -> str:
        """Hash the graph and its weights."""
        graph = _proto(model).graph
        return hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest()

    def odd_weights(self, source: Any) -> list[str]:
        """Name the initializers that hold NaN or infinity."""
        odd = []
        for name, value in source.model.graph.initializers.items():
            tensor = value.const_value
            if tensor is not None and tensor.dtype.is_floating_point() and tensor.size:
                # The extremes of an array hold its NaN or infinity, and need no copy of it.
                array = tensor.numpy()
                if not np.isfinite([float(array.min()), float(array.max())]).all():
                    odd.append(name)
        return odd


def _proto(model: Any) -> onnx.ModelProto:
    return model if isinstance(model, onnx.ModelProto) else ir.serde.serialize_model(model)


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with its large weights as inputs: the checker would copy them all."""
    skeleton = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = skeleton.graph
    graph.name = model.graph.name
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    for tensor in model.graph.initializer:
        if prod(tensor.dims) < LARGE:
            graph.initializer.add().CopyFrom(tensor)
        else:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.add().CopyFrom(info)
    return skeleton


def _check_external_data(model: onnx.ModelProto, path: Path) -> None:
    folder = path.parent.resolve()
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        target = (folder / location).resolve()
        if not target.is_relative_to(folder):
            raise UnsafeModelError(
                f"{path}: its weight {tensor.name!r} points to {location!r}, outside the model's "
                f"own folder; fullconv does not follow it. Put the data file beside the model."
            )
