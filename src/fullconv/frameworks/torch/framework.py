"""PyTorch as a framework for the core."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from fullconv.conversion.requested import axes_of_rank, window_missing
from fullconv.errors import ImageError, ModelError, UnsafeModelError, WindowError, first_line
from fullconv.frameworks.archives import check_archive as check_zip
from fullconv.frameworks.folders import read_folder
from fullconv.frameworks.framework import (
    METADATA,
    TORCHSCRIPT,
    Framework,
    MemoryEstimate,
    no_estimate,
)
from fullconv.frameworks.torch.alike import alike
from fullconv.frameworks.torch.archive import check_archive
from fullconv.frameworks.torch.axes import axes_of
from fullconv.frameworks.torch.digest import digest
from fullconv.frameworks.torch.exporting import (
    check_exportable,
    computes_sizes,
    evaluating,
    export,
    export_free,
    quiet,
)
from fullconv.frameworks.torch.filled import check_filled, tensors_of
from fullconv.frameworks.torch.programs import check_sizes, image_of, image_size
from fullconv.frameworks.torch.read import ModelGraph, read
from fullconv.frameworks.torch.running import in_batches, plain, scripted
from fullconv.frameworks.torch.write import write
from fullconv.geometry.grid import Grid, Sizes
from fullconv.geometry.images import ImageShape, Takes
from fullconv.graph.graph import Graph
from fullconv.system.files import whole
from fullconv.wording import measured

METADATA_FILE = "fullconv.json"


class TorchFramework(Framework):
    """``torch.nn.Module``, ``torch.jit.ScriptModule`` and ``torch.export.ExportedProgram``."""

    name = "torch"
    suffix = ".pt2"

    def open(self, path: Path) -> tuple[Any, dict[str, str]]:
        """Load a ``.pt2`` file, a TorchScript file, or a folder of a model."""
        if path.is_dir():
            from fullconv.frameworks.torch.folder import build

            model = build(read_folder(path))
            return model, self.metadata(model)
        if path.suffix.lower() in TORCHSCRIPT:
            from fullconv.frameworks.torch.torchscript import load_script

            return load_script(path), {}
        return self._open_program(path)

    def _open_program(self, path: Path) -> tuple[ExportedProgram, dict[str, str]]:
        import json
        import zipfile

        if not zipfile.is_zipfile(path):
            raise ModelError(
                f"{path} is not a .pt2 file, or it is cut short; save the model again with "
                f"torch.export.save."
            )
        check_zip(path, str(path), "save the model again with torch.export.save", packed=1)
        extra = {METADATA_FILE: ""}
        try:
            with quiet():
                check_archive(path)
                program = torch.export.load(path, extra_files=extra)
        except UnsafeModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"{path} cannot be read as a .pt2 file ({first_line(error)}); save the model "
                f"again with torch.export.save, in this or a newer version of PyTorch."
            ) from None
        check_sizes(program, path)
        # Guards are Python code of the file, run on every call; they only check sizes, as we do.
        program._guards_code = []
        text = extra[METADATA_FILE]
        return program, json.loads(text) if text else {}

    def metadata(self, model: Any) -> dict[str, str]:
        """Return the metadata attached to a module; most modules have none."""
        return dict(getattr(model, METADATA, {}))

    def read(self, model: Any, window: Sizes | None) -> ModelGraph:
        """Export the model at its native size and read it."""
        if isinstance(model, ExportedProgram):
            check_filled({**model.state_dict, **model.constants})
            return self._read_program(model, window)
        check_filled(tensors_of(model))
        if window is None:
            raise WindowError(
                "convert(model): a torch.nn.Module does not say which size it was trained on; "
                "give window=(height, width), or --window WIDTHxHEIGHT."
            )
        if isinstance(model, torch.jit.ScriptModule):
            from fullconv.frameworks.torch.torchscript import read_script

            return read_script(model, window)
        with evaluating(model):
            program = export(model, window)
        return read(program, window, model)

    def axes(self, model: Any, length: int) -> int | None:
        """Return the number of axes from a program's input, or from a module's layers."""
        if isinstance(model, ExportedProgram):
            return axes_of_rank(len(image_of(model)), length)
        return axes_of(model, length)

    def _read_program(self, program: ExportedProgram, window: Sizes | None) -> ModelGraph:
        sizes = image_size(program, None if window is None else len(window))
        fixed = [int(n) if isinstance(n, int) else None for n in sizes]
        if window is None:
            if None in fixed:
                raise window_missing("the exported program", len(fixed))
        elif any(f is not None and f != w for f, w in zip(fixed, window, strict=True)):
            native = tuple(w if f is None else f for f, w in zip(fixed, window, strict=True))
            raise WindowError(
                f"convert(window={window}): the program was exported for {measured(native)} and "
                f"no other; leave the window out, or give {native}."
            )
        size = window or tuple(int(n) for n in sizes)
        shape = image_of(program)
        if all(isinstance(n, int) for n in shape):
            return read(program, size)
        # Some sizes of the program are symbols, so it is exported again for one image. A trace of
        # two or more images has a guard against one, which the program takes nevertheless.
        module, (first, *others) = program.module(check_guards=False), shape[1:]
        if len(others) == len(size):
            channels = int(first) if isinstance(first, int) else None
            return read(export(module, size, channels), size)
        crop = (int(first),) if not others and prod(size) == 1 else size
        return read(export(module, size, crop=crop), size)

    def write(self, graph: Graph, source: Any, grid: Grid) -> nn.Module:
        """Write a ``torch.fx.GraphModule``."""
        return write(graph, source, grid)

    def classifier(self, model: Any, takes: Takes = "map") -> Callable[[Any], Any]:
        """Run the module on crops, in eval mode and without gradients."""
        if isinstance(model, ExportedProgram):
            first = image_of(model)[0]
            module = model.module()
            return in_batches(module, int(first)) if isinstance(first, int) else plain(module)
        return scripted(model) if isinstance(model, torch.jit.ScriptModule) else plain(model)

    def in_double(self, model: Any, takes: Takes = "map") -> Callable[[Any], Any]:
        """Run a copy in double precision."""
        module = model.module() if isinstance(model, ExportedProgram) else model
        classify = self.classifier(copy.deepcopy(module).double(), takes)
        return lambda crops: classify(crops.double())

    def runner_in_double(self, model: Any) -> Callable[[Any], Any]:
        """Run a copy in double precision."""
        run = self.runner(copy.deepcopy(model).double())
        return lambda images: run(images.double())

    def epsilon(self, model: Any) -> float:
        """Return the epsilon of the type of the model's first floating-point parameter."""
        return float(torch.finfo(self.images(model, np.zeros((1, 1, 1, 1), np.float32)).dtype).eps)

    def loaded(self, model: Any, shape: ImageShape) -> nn.Module:
        """Return an exported program as a module."""
        # The guards of a trace refuse sizes that the program computes correctly: to the tracer, one
        # row of windows looks like a special case.
        module = cast(nn.Module, model.module(check_guards=False))
        for part in module.modules():
            part.training = False  # it was traced in eval mode, and has no other
        return module

    def runner(self, model: Any, run_bytes: MemoryEstimate = no_estimate) -> Callable[[Any], Any]:
        """Run the converted module; gradients only in training, or where images require them."""

        def run(images: torch.Tensor) -> Any:
            weight = next((p for p in model.parameters() if p.is_floating_point()), images)
            if (images.dtype, images.device) != (weight.dtype, weight.device):
                raise ImageError(
                    f"fcn(images): the model computes in {weight.dtype} on {weight.device}; got "
                    f"images in {images.dtype} on {images.device}. Use images.to({weight.dtype}) "
                    f"and move images and model to one device."
                )
            with torch.set_grad_enabled(
                torch.is_grad_enabled() and (model.training or images.requires_grad)
            ):
                return model(images)

        return run

    def computes_in_cache(self, model: Any, images: Any) -> bool:
        """Whether images are on the CPU, and the model neither trains nor is differentiated."""
        still = not (model.training or (images.requires_grad and torch.is_grad_enabled()))
        return still and super().computes_in_cache(model, images)

    def check(self, images: Any, shape: ImageShape) -> torch.Tensor:
        """Check that images are a tensor ``(N, C, H, W)``."""
        if not isinstance(images, torch.Tensor):
            raise ImageError(
                f"fcn(images): expected a torch.Tensor {shape.axes}; got "
                f"{type(images).__qualname__}. Use torch.from_numpy(array)."
            )
        shape.check(images.shape, images.dtype)
        return images

    def images(self, model: Any, pixels: Any) -> torch.Tensor:
        """Return the pixels as a tensor of the model's type, on its device."""
        tensor = torch.from_numpy(np.ascontiguousarray(pixels))
        if not isinstance(model, nn.Module | ExportedProgram):
            return tensor
        tensors = (*model.parameters(), *model.buffers())
        like = next((p for p in tensors if p.is_floating_point()), tensor)
        return tensor.to(like.device, like.dtype)

    def join(self, arrays: Sequence[Any], axis: int) -> Any:
        """Concatenate tensors."""
        return torch.cat(list(arrays), axis)

    def to_numpy(self, array: Any) -> Any:
        """Return a tensor as a NumPy array; bfloat16 as float32, which holds it exactly."""
        array = array.detach().cpu()
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()

    def save(self, model: Any, shape: ImageShape, path: Path, metadata: Mapping[str, str]) -> None:
        """Write a ``.pt2``, or an ``.onnx``."""
        if path.suffix == ".onnx":
            self._save_onnx(model, shape, path, metadata)
            return
        import json

        check_exportable(model, path)
        program = export_free(model, shape)
        # Saved in memory first: PyTorch's own writer ends the whole process where a disk is full.
        buffer = io.BytesIO()
        with quiet():
            torch.export.save(
                program, buffer, extra_files={METADATA_FILE: json.dumps(dict(metadata))}
            )
        with whole(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())

    def alike(self, model: Any, other: Any, shape: ImageShape) -> bool:
        """Whether another form has the same weights, and the same scores of random pixels."""
        return isinstance(model, nn.Module) and alike(model, other, shape)

    def _save_onnx(
        self, model: Any, shape: ImageShape, path: Path, metadata: Mapping[str, str]
    ) -> None:
        if computes_sizes(model):
            from fullconv.frameworks.torch.program_to_onnx import check_short, program_to_onnx

            program = export_free(model, shape)
            check_short(program)
            proto = program_to_onnx(program, metadata)
        else:
            from fullconv.frameworks.torch.to_onnx import to_onnx

            proto = to_onnx(model, shape, metadata)
        with whole(path) as temporary:
            temporary.write_bytes(proto.SerializeToString())

    def digest(self, model: Any) -> str:
        """Hash the traced code, the types and settings of the modules, and the weights."""
        return digest(model)

    def kept(self, model: Any) -> Mapping[str, Any]:
        """Return copies of the buffers, by name."""
        if not isinstance(model, nn.Module):
            return {}
        return {name: self.to_numpy(buffer).copy() for name, buffer in model.named_buffers()}

    def non_finite_weights(self, source: Any) -> list[str]:
        """Return the names of the parameters with NaN or infinity."""
        return [
            weight.path
            for weight in source.weights.values()
            if weight.tensor.is_floating_point() and not _finite(weight.tensor)
        ]


def _finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers are finite; `isfinite` of the tensor itself would copy it."""
    return not tensor.numel() or bool(torch.stack(torch.aminmax(tensor)).isfinite().all())
