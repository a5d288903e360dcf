"""From a window classifier to the network over all windows."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, prod
from numbers import Real
from pathlib import Path
from typing import Any

from fullconv.converted import FullyConvolutional, stored_settings, usual_background
from fullconv.errors import InputError, ModelError, WindowError, first_line
from fullconv.frameworks import Framework, find
from fullconv.geometry import NUMBERS, Grid, Sizes
from fullconv.graph import Graph
from fullconv.images import ImageShape
from fullconv.lift import Lifted, halo, lift, network_stride, products
from fullconv.operations import Concat, Opaque
from fullconv.preprocessing import Preprocessing
from fullconv.report import Cost, Report
from fullconv.wording import names, unit


def convert(
    model: Any,
    window: Sequence[int] | None = None,
    step: int | Sequence[int] | None = None,
    exact: bool = True,
    *,
    image: Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    background: str | None = None,
    preprocessing: Preprocessing | None = None,
) -> FullyConvolutional:
    """Convert a window classifier into a network that answers for every window of an image.

    Parameters
    ----------
    model : torch.nn.Module, torch.export.ExportedProgram, onnx.ModelProto, keras.Model, str or Path
        The classifier, ``(N, C, h, w) -> (N, K)`` (or, in Keras and what is exported from it,
        ``(N, h, w, C) -> (N, K)``), or the path of a ``.pt2``, ``.onnx``, ``.keras``, ``.h5`` or
        TorchScript ``.pt`` file, or of a folder of WSInfer or timm.
    window : (int, int), optional
        Height and width that it was trained on; may be left out where the model fixes it.
    step : int or (int, int), optional
        Pixels between neighbouring windows, one number or (rows, columns); by default the
        network's own stride. Its divisors and multiples are the cheapest; any other works too.
    exact : bool
        True: every window's scores are those of its crop. False: the classical conversion, which
        pads at the image's border only; one pass, and other scores wherever the network pads.
    image : tuple of int, optional
        Size of the images that it is for, along every axis. Along an axis on which that is the
        window, nothing is shared, for there is one window: the converted network is simpler, and
        takes images of that length only. The report's cost is that of such an image.
    classes : sequence of str, optional
        Class names, to travel with the converted model.
    background : str, optional
        The class that is none of what is looked for; by default the one that is called
        background, negative, negatives or other, if exactly one is.
    preprocessing : Preprocessing, optional
        What is done to pixels before the network, to travel with the converted model.

    Returns
    -------
    FullyConvolutional
        Call it on images ``(N, C, H, W)``, or ``(N, H, W, C)`` as the classifier took them.

    Raises
    ------
    WindowError
        If the window or step contradicts the model.
    InputError
        If the background is none of the classes, or the preprocessing is for other channels.
    ModelError
        If the model cannot be read, or is not a window classifier.

    Examples
    --------
    >>> fcn = fullconv.convert("dress.onnx")  # doctest: +SKIP
    >>> fcn(images).shape  # (N, K, rows, columns)  # doctest: +SKIP
    """
    plan = _plan(model, window, step, exact, image)
    converted = plan.framework.write(plan.lifted.graph, plan.source, plan.report.grid)
    stored = stored_settings(plan.metadata)
    names = tuple(classes) if classes is not None else stored.classes
    fcn = FullyConvolutional(
        converted,
        ImageShape.of(plan.source.graph, plan.report.grid, plan.lifted.graph.fixed),
        plan.report,
        plan.framework,
        classes=names,
        background=_background(background, stored.background, names),
        preprocessing=preprocessing or stored.preprocessing,
        footprint=plan.lifted.footprint,
        halo=()
        if exact
        else halo(plan.source.graph, plan.report.grid, plan.lifted.graph.fixed),
    )
    if preprocessing is not None:
        preprocessing.check_channels(fcn.shape.channels)
    if plan.source.graph.fixed_batch and plan.lifted.per_window:
        _check_batch(fcn, plan)
    return fcn


def _background(named: str | None, stored: str | None, classes: Sequence[str]) -> str | None:
    if named is None:
        return stored if stored in classes else usual_background(classes)
    if not classes:
        raise InputError(
            f"convert(background={named!r}): the model has no class names; give them too: "
            f"classes=..., or --classes."
        )
    if named not in classes:
        raise InputError(
            f"convert(background={named!r}): expected one of the classes "
            f"{', '.join(map(repr, classes))}."
        )
    return named


def _check_batch(fcn: FullyConvolutional, plan: _Plan) -> None:
    """Refuse a model whose number of images is built into what must run on all windows."""
    cloned = (
        node for node in plan.lifted.graph.nodes if isinstance(node.operation, Opaque | Concat)
    )
    if not any(node.per_window for node in cloned):
        return
    from fullconv.verification import verify_few

    try:
        # torch.fx prints the traceback of its own call beside raising it.
        with contextlib.redirect_stderr(io.StringIO()):
            proof = verify_few(fcn, plan.model)
        wrong = "" if proof.passed or not fcn.report.exact else str(proof.max_error)
    except Exception as error:
        wrong = first_line(error)
    if wrong:
        raise ModelError(
            f"convert: the model was exported for exactly {plan.source.graph.batch} image(s), and "
            f"that number is built into its operations ({wrong}). Export it again with a free "
            f"batch: dynamic_shapes=({{0: torch.export.Dim.DYNAMIC}},) in PyTorch, a named first "
            f"dimension in ONNX."
        )


def explain(
    model: Any,
    window: Sequence[int] | None = None,
    step: int | Sequence[int] | None = None,
    exact: bool = True,
    *,
    image: Sequence[int] | None = None,
) -> Report:
    """Say what `convert` would do, without converting. Takes the same arguments.

    ``image``, a size along every axis as ``window``, gives the cost for an image of that size.
    """
    return _plan(model, window, step, exact, image).report


@dataclass(frozen=True)
class _Plan:
    framework: Framework
    model: Any
    source: Any
    lifted: Lifted
    report: Report
    metadata: dict[str, str]


def _plan(
    model: Any,
    window: Sequence[int] | None,
    step: int | Sequence[int] | None,
    exact: bool,
    image: Sequence[int] | None = None,
) -> _Plan:
    wanted = _window(window)
    if wanted is not None or not (isinstance(step, Sequence) and len(step) in (1, 3)):
        _step(step, len(wanted or (1, 1)))  # before any work
    framework = find(model)
    if isinstance(model, str | Path):
        model, metadata = framework.open(Path(model))
    else:
        metadata = framework.metadata(model)
    if "fullconv.report" in metadata:
        raise ModelError(
            "convert: the model is already fully convolutional, converted by fullconv; load it "
            "with fullconv.load, or give the classifier that it was converted from."
        )
    if wanted is None and "fullconv.window" in metadata:
        wanted = _window(json.loads(metadata["fullconv.window"]))
    source = framework.read(model, wanted)
    stride = network_stride(source.graph)
    grid = Grid(source.graph.window, _step(step, len(source.graph.window)) or stride)
    size = _image(image, grid)
    fixed = [axis for axis, length in enumerate(size) if length == grid.window[axis]]
    lifted = lift(source.graph, grid, exact=exact, fixed=fixed)
    report = Report(
        grid,
        stride,
        exact or not lifted.approximate,
        lifted.reasons,
        lifted.changes,
        lifted.per_window,
        lifted.one_pass,
        _cost(source.graph, grid, lifted, exact, size),
        tuple(_warnings(framework.odd_weights(source))),
        framework.order(source),
        size,
    )
    return _Plan(framework, model, source, lifted, report, metadata)


def _cost(graph: Graph, grid: Grid, lifted: Lifted, exact: bool, image: Sizes) -> Cost:
    """Return what windows cost; the form that was not asked for is lifted when its cost is."""
    windows = grid.shape(image) if image else ()

    def per_window(form: Lifted) -> int:
        if not windows:
            return form.products[0]
        return round(form.products.at(windows) / prod(windows))

    bare = replace(graph, nodes=[replace(node, source=None) for node in graph.nodes])
    fixed = lifted.graph.fixed

    def other() -> int:
        return per_window(lift(bare, grid, exact=not exact, fixed=fixed))

    own, crops = per_window(lifted), sum(products(node, graph) for node in graph.nodes)
    return Cost(crops, own, other) if exact else Cost(crops, other, own)


def _image(image: Sequence[int] | None, grid: Grid) -> Sizes:
    """Read the size of an image; none where none is given."""
    if image is None:
        return ()
    sizes = tuple(image) if isinstance(image, Iterable) else (image,)
    if len(sizes) != grid.dimensions or not all(map(_is_size, sizes)):
        raise InputError(f"convert(image={image!r}): expected {_expected(grid.dimensions)}.")
    size = tuple(int(length) for length in sizes)
    grid.shape(size)
    return size


def _warnings(odd: Sequence[str]) -> list[str]:
    if not odd:
        return []
    named = ", ".join(odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
    return [
        f"NaN or infinite weights in {named}: every score they touch is meaningless; check the "
        f"file they came from"
    ]


def _window(value: int | Sequence[int] | None) -> Sizes | None:
    """Read a window: a size along every axis; one number is both of an image's."""
    if value is None:
        return None
    sizes = tuple(value) if isinstance(value, Iterable) else (value, value)
    if sizes == ():
        sizes = (1, 1)  # a vector of features: a window of one pixel
    if len(sizes) not in NUMBERS or not all(map(_is_size, sizes)):
        raise WindowError(f"convert(window={value!r}): expected {_expected(len(sizes))}.")
    return tuple(int(size) for size in sizes)


def _step(value: int | Sequence[int] | None, dimensions: int) -> Sizes | None:
    """Read a step: pixels along every axis, or one number for all of them."""
    if value is None:
        return None
    sizes = tuple(value) if isinstance(value, Iterable) else (value,) * dimensions
    if len(sizes) != dimensions or not all(map(_is_size, sizes)):
        alike = {1: "", 2: ", or one for both", 3: ", or one for all"}[dimensions]
        raise WindowError(
            f"convert(step={value!r}): expected {_expected(dimensions)}{alike}. Any whole number "
            f"of {unit(dimensions, many=True)} can be had; the divisors and multiples of the "
            f"network's own stride are the cheapest."
        )
    return tuple(int(size) for size in sizes)


def _expected(dimensions: int) -> str:
    dimensions = dimensions if dimensions in NUMBERS else 2
    return (
        f"{NUMBERS[dimensions]} of at least 1 {unit(dimensions)}, {names(dimensions)}"
    )


def _is_size(number: Any) -> bool:
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    return is_number and number >= 1 and isfinite(number) and int(number) == number
