"""Read TorchScript through PyTorch's own converter to exported programs.

The converter is private in PyTorch 2.13 and has no public name. It is used only in this file.
"""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch._export.converter import TS2EPConverter
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from fullconv.errors import FullconvError, ModelError, WindowError
from fullconv.frameworks.torch.exporting import (
    blank,
    channels_wanted,
    evaluating,
    likely_channels,
    other_crops,
    quiet,
    trace,
)
from fullconv.frameworks.torch.read import ModelGraph, Weight, read
from fullconv.frameworks.torch.script_archive import check_operators, check_script
from fullconv.frameworks.torch.script_program import check_calls, same_scores
from fullconv.frameworks.torch.script_storages import check_storages
from fullconv.geometry.grid import Sizes
from fullconv.wording import measured

INSTEAD = "Save the model with torch.export.save(..., 'model.pt2'), or as .onnx"

RAISED = (RuntimeError, torch.jit.Error)
ADVICE = re.compile(
    r"Use tlparse |Original traceback:|None$|[\^~ ]+$|Set TORCH|For (?:even )?more|Please file "
    r"|The (?:above|following) (?:error|operation) "
)
"""Lines at the end of an error that do not give its reason."""
STOPPED = re.compile(r"While executing .*\[target=([\w.]+)\].*")


def load_script(path: Path) -> torch.jit.ScriptModule:
    """Return a TorchScript file's module, on the CPU.

    Raises
    ------
    UnsafeModelError
        If the file reaches beyond its own tensors.
    ModelError
        If it is damaged, or of a version that this PyTorch does not read.
    """
    try:
        check_script(path)
        with quiet():
            check_storages(path)
            model: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        check_operators(path, model)
        return cast(torch.jit.ScriptModule, model)
    except FullconvError:
        raise
    except (RuntimeError, OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path} cannot be read as TorchScript ({_said(error)}). Copy it again, or save it "
            f"again with torch.jit.save. {INSTEAD}, where the model's code is at hand."
        ) from None


def read_script(model: torch.jit.ScriptModule, window: Sizes) -> ModelGraph:
    """Return the vocabulary graph of a TorchScript module at its native size.

    Raises
    ------
    WindowError
        If the module does not take images of this size.
    ModelError
        If it cannot be converted, or its scores differ after the conversion.
    """
    others = _other_inputs(model)
    with evaluating(model):
        image, result = _taken(model, window)
        _check_scores(result)
        with _converting():
            # It inlines functions into the module's own graph; the module computes the same.
            program = _Converter(model, (image, *others)).convert()
        check_calls(program)
        with _converting():
            same = same_scores(program, model, image, *others)
    if not same:
        raise ModelError(
            f"convert: PyTorch's converter changes what this TorchScript computes: two random "
            f"crops score differently. {INSTEAD}, from the code that it was made of."
        )
    parts = dict(model.named_modules())
    _name_layers(program, parts)
    source = read(program, window)
    parameters = dict(model.named_parameters())
    weights = {
        name: Weight(w.path, parameters[w.path], True) if w.path in parameters else w
        for name, w in source.weights.items()
    }
    # The converter returns tuples as lists.
    structure = pytree.tree_structure(_without_names(result))
    return replace(source, weights=weights, structure=structure)


class _Converter(TS2EPConverter):
    """Converts for one image of one size; PyTorch's own converter frees every size."""

    def retrace_as_exported_program(
        self, gm: torch.fx.GraphModule, name_to_constant: dict[str, Any]
    ) -> ExportedProgram:
        return trace(gm, *self.sample_args)


def takes_any_number(model: nn.Module, crops: torch.Tensor) -> bool:
    """Whether a module scores two images at once; a trace may have fixed the number at 1."""
    try:
        result = _run(model, crops[:1].expand(2, *crops.shape[1:]))
    except RAISED:
        return False
    scores = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    return all(leaf.shape[:1] == (2,) for leaf in scores)


def _run(model: nn.Module, crops: torch.Tensor) -> Any:
    """Run a module to see what it does with crops; its prints are dropped."""
    with torch.no_grad(), quiet(), contextlib.redirect_stdout(io.StringIO()):
        return model(crops)


def _other_inputs(model: torch.jit.ScriptModule) -> list[Any]:
    """Return the default values of a module's inputs other than the image."""
    forward: Any = model.forward
    takes = forward.schema.arguments[1:]
    needed = [argument.name for argument in takes if not argument.has_default_value()]
    if len(needed) != 1:
        raise ModelError(
            f"convert: expected a model with one image input, forward(image); its forward takes "
            f"{len(needed)} inputs: {', '.join(needed) or 'none'}. Wrap it in a module that takes "
            f"the image alone."
        )
    return [argument.default_value for argument in takes[1:]]


def _taken(model: torch.jit.ScriptModule, window: Sizes) -> tuple[torch.Tensor, Any]:
    """Return an image that a module takes, and its result."""
    refusals: list[Exception] = []
    candidates = likely_channels(model, window)
    for channels in candidates:
        image = blank((1, channels, *window), model)
        try:
            result = _run(model, image)
        except RAISED as error:
            wanted = channels_wanted(error)
            if wanted is not None and wanted not in candidates:
                candidates.append(wanted)
            # A wrong guess of the channels says nothing about the window.
            refusals.insert(0 if wanted is None else len(refusals), error)
            continue
        return image, result
    for crop in other_crops(model, window):
        image = blank((1, *crop), model)
        return image, _run(model, image)
    raise WindowError(
        f"convert(window={window}): the model does not take {measured(window)}: "
        f"{_said(refusals[0])}. Give the size it was trained on; a trace takes the number of "
        f"images that it was made with, which must be 1 or any."
    )


@contextlib.contextmanager
def _converting() -> Iterator[None]:
    """Turn an error of the converter into one line, and drop its prints."""
    aside = io.StringIO()
    try:
        with quiet(), contextlib.redirect_stdout(aside), contextlib.redirect_stderr(aside):
            yield
    except Exception as error:
        because = error.__cause__ or error
        what = _said(error) if because is error else f"{_said(error)}: {_said(because)}"
        raise ModelError(
            f"convert: PyTorch's converter cannot read this TorchScript ({what}). {INSTEAD}, from "
            f"the code that it was made of."
        ) from None


def _check_scores(result: Any) -> None:
    """Refuse a module that returns anything but scores of its images."""
    leaves = pytree.tree_leaves(result)
    others = [x for x in leaves if not isinstance(x, torch.Tensor)]
    if others or not leaves:
        kinds = (type(x).__name__ for x in others)
        raise ModelError(
            f"convert: expected a model that returns tensors of scores, a row for every image; it "
            f"returns {' and '.join(dict.fromkeys(kinds)) or 'nothing'}"
            f"{' among them' if len(others) < len(leaves) else ''}. Wrap it in a module that "
            f"returns the scores alone."
        )


def _without_names(result: Any) -> Any:
    """Return a result with plain tuples for named ones, whose classes exist only in the file."""
    if isinstance(result, dict):
        return {key: _without_names(value) for key, value in result.items()}
    if isinstance(result, tuple | list):
        return (list if isinstance(result, list) else tuple)(map(_without_names, result))
    return result


def _name_layers(program: ExportedProgram, parts: dict[str, nn.Module]) -> None:
    """Mark every call on the weights of a single layer as a call of that layer.

    The converter drops the names of modules, but the names of weights begin with them.
    """
    signature = program.graph_signature
    paths = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for node in program.graph.nodes:
        places = [paths[x.name] for x in node.all_input_nodes if x.name in paths]
        owners = {place.rpartition(".")[0] for place in places} & parts.keys() - {""}
        if node.op == "call_function" and len(owners) == 1:
            (owner,) = owners
            name = getattr(parts[owner], "original_name", "")
            package = "torch.nn.modules" if hasattr(nn, name) else "torchscript"
            node.meta["nn_module_stack"] = {owner: (owner, f"{package}.{name}")}


def _said(error: BaseException) -> str:
    """Return the reason of an error, which TorchScript puts at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if not ADVICE.match(line)] or [type(error).__name__]
    line = STOPPED.sub(r"it stops at \1", reasons[-1]).removeprefix("RuntimeError: ")
    return (line if len(line) <= 200 else f"{line[:197]}...").rstrip(".")
