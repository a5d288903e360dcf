"""From a window classifier to the network over all windows."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullconv.converted import FullyConvolutional, Settings, stored_settings, usual_background
from fullconv.errors import DifferenceError, InputError, ModelError, first_line
from fullconv.frameworks import Framework, find
from fullconv.geometry import Grid, Sizes
from fullconv.graph import Graph, Node
from fullconv.images import ImageShape
from fullconv.lift import Lifted, halo, lift, network_stride, products
from fullconv.lift.memory import elements
from fullconv.lift.pace import Pace
from fullconv.operations import Random
from fullconv.preprocessing import Preprocessing
from fullconv.report import Cost, Reason, Report
from fullconv.requested import (
    check_memory,
    check_window,
    image_given,
    step_given,
    window_given,
)
from fullconv.stored import items, value_of, whole

if TYPE_CHECKING:
    from fullconv.probing import Probe


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
    check: bool = True,
    allow_random: bool = False,
) -> FullyConvolutional:
    """Convert a window classifier into a network that answers for every window of an image.

    Parameters
    ----------
    model : torch.nn.Module, torch.export.ExportedProgram, onnx.ModelProto, keras.Model, str or Path
        The classifier, ``(N, C, h, w) -> (N, K)`` (or, in Keras and what is exported from it,
        ``(N, h, w, C) -> (N, K)``), or the path of a ``.pt2``, ``.onnx``, ``.keras``, ``.h5``,
        ``.hdf5`` or TorchScript ``.pt`` file, of Keras' architecture (``.json``) with weights
        beside it, or of a folder of WSInfer, timm or transformers.
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
    check : bool
        Compare four windows of random pixels, at contrasts of a tenth, one and ten times the range
        of what the classifier takes, with their crops, each scored alone; where nothing says that
        range, a fifth of the range of bytes. The report says what came of it.
    allow_random : bool
        Convert a classifier that draws random numbers, too. Nothing is then called exact.

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
        If the model cannot be read, is not a window classifier, or draws random numbers.
    DifferenceError
        If the converted network has other scores than the classifier has for crops, and that also
        where it runs on each window alone.

    Examples
    --------
    >>> fcn = fullconv.convert("dress.onnx")  # doctest: +SKIP
    >>> fcn(images).shape  # (N, K, rows, columns)  # doctest: +SKIP
    """
    if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
        raise InputError(
            f"convert(preprocessing={preprocessing!r}): expected a fullconv.Preprocessing."
        )
    plan = _plan(model, window, step, exact, image, allow_random)
    stored = plan.settings
    names = tuple(classes) if classes is not None else stored.classes
    _check_classes(classes, plan.source.graph)
    named = _background(background, stored.background, names)

    def written(form: _Form) -> FullyConvolutional:
        graph, grid = plan.source.graph, form.report.grid
        return FullyConvolutional(
            plan.framework.write(form.lifted.graph, plan.source, grid),
            ImageShape.of(graph, grid, form.lifted.graph.fixed),
            form.report,
            plan.framework,
            classes=names,
            background=named,
            preprocessing=preprocessing or stored.preprocessing,
            footprint=form.lifted.footprint,
            products=form.lifted.products,
            halo=() if exact else halo(graph, grid, form.lifted.graph.fixed),
        )

    fcn = written(plan.form)
    if preprocessing is not None:
        preprocessing.check_channels(fcn.shape.channels)
    if not check:
        note = "unproved nothing was compared with crops (check=False)"
        fcn.report = replace(fcn.report, check=note)
        return fcn
    return _checked(fcn, plan, written, _named(model), allow_random)


def _check_classes(classes: Sequence[str] | None, graph: Graph) -> None:
    """Refuse names of classes of which no output has that many scores."""
    if not classes:
        return
    shapes = [graph.shapes[name] for name in graph.outputs]
    counts = sorted({shape[1] if len(shape) > 1 else 1 for shape in shapes})
    if len(classes) not in counts:
        raise InputError(
            f"convert(classes={list(classes)!r}): {len(classes)} names, and the model gives "
            f"{' or '.join(map(str, counts))} scores for a window; name each of them once, in "
            f"their order."
        )


def _background(named: str | None, stored: str | None, classes: Sequence[str]) -> str | None:
    if not all(isinstance(name, str) for name in classes):
        raise InputError(f"convert(classes={list(classes)!r}): expected names, each a text.")
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


def _checked(
    fcn: FullyConvolutional,
    plan: _Plan,
    written: Callable[[_Form], FullyConvolutional],
    name: str,
    allow_random: bool,
) -> FullyConvolutional:
    """Return the converted network when it has the crops' scores, else one that runs them alone."""
    from fullconv.probing import probe

    def found(candidate: FullyConvolutional) -> Probe:
        # torch.fx prints the traceback of its own call beside raising it.
        with contextlib.redirect_stderr(io.StringIO()):
            return probe(candidate, plan.model)

    failure: ModelError | None = None
    try:
        result = found(fcn)
    except ModelError as error:
        failure = error
    else:
        if result.varies and not allow_random:
            raise ModelError(
                f"convert: {name} gives other scores for a crop each time that it is scored: it "
                f"{result.reason}; {_WAY_OUT}"
            )
        if result.varies or fcn.report.random:
            fcn.report = fcn.report.of_random(name)
            return fcn
        if result.proof.passed:
            return _noted(fcn, result)
        failure = DifferenceError(
            f"convert: {name} gives other scores for crops of random pixels than the converted "
            f"network (by up to {result.proof.max_error:.3g}; more than "
            f"{result.proof.allowed:.3g} is no rounding), and no way was found to have them. "
            f"Please report this model; check=False (--no-check) converts it all the same."
        )
    if plan.source.graph.batch > 1:
        raise ModelError(
            f"convert: the model was exported for exactly {plan.source.graph.batch} images, and "
            f"that number is built into its operations ({failure}). Export it again with a free "
            f"batch: dynamic_shapes=({{0: torch.export.Dim.DYNAMIC}},) in PyTorch, a named first "
            f"dimension in ONNX."
        )
    if not plan.form.report.exact:
        raise failure
    try:
        fcn = written(plan.one_by_one())
        result = found(fcn)
    except ModelError:
        raise failure from None
    if not result.proof.passed:
        raise failure
    return _noted(fcn, result)


def _noted(fcn: FullyConvolutional, result: Probe) -> FullyConvolutional:
    """Say in the report what the probe has shown."""
    fcn.probe, report = result, replace(fcn.report, check=f"checked  {result}")
    if result.alike and not report.warnings:
        report = replace(
            report,
            warnings=(
                *report.warnings,
                "all windows of random pixels have the same scores, so comparing them with crops "
                "proved nothing; compare windows of a picture: fullconv.verify, 'fullconv verify'",
            ),
        )
    fcn.report = report
    return fcn


def explain(
    model: Any,
    window: Sequence[int] | None = None,
    step: int | Sequence[int] | None = None,
    exact: bool = True,
    *,
    image: Sequence[int] | None = None,
    allow_random: bool = False,
) -> Report:
    """Say what `convert` would do, without converting. Takes the same arguments.

    ``image``, a size along every axis as ``window``, gives the cost for an image of that size.
    """
    return _plan(model, window, step, exact, image, allow_random).form.report


@dataclass(frozen=True)
class _Form:
    """A lifted network, and what is said of it."""

    lifted: Lifted
    report: Report


@dataclass(frozen=True)
class _Plan:
    framework: Framework
    model: Any
    source: Any
    form: _Form
    settings: Settings

    def one_by_one(self) -> _Form:
        """Return the form that runs the whole classifier on each window alone."""
        report = self.form.report
        lifted = lift(self.source.graph, report.grid, exact=True, alone=True)
        why = "mixes windows that run together, as a probe has shown; it runs on each alone"
        reason = Reason("the classifier", "", why)
        changed = replace(
            report,
            reasons=(reason,),
            changes=(),
            per_window=True,
            one_pass=False,
            cost=Cost(report.cost.crops, report.cost.crops, lambda: report.cost.approximate),
        )
        return _Form(lifted, changed)


def _plan(
    model: Any,
    window: Sequence[int] | None,
    step: int | Sequence[int] | None,
    exact: bool,
    image: Sequence[int] | None,
    allow_random: bool,
) -> _Plan:
    wanted = window_given(window)
    if wanted is not None or not (isinstance(step, Sequence) and len(step) in (1, 3)):
        step_given(step, len(wanted or (1, 1)))  # before any work
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
    try:
        settings = stored_settings(metadata)
        if wanted is None and "fullconv.window" in metadata:
            held = items(value_of(metadata["fullconv.window"]), lambda size: whole(size, 1))
            wanted = window_given(held)
    except ValueError as error:
        raise ModelError(
            f"convert: what the model file says beside the network cannot be read "
            f"({first_line(error)}); save or export it again."
        ) from None
    check_window(wanted)
    source = framework.read(model, wanted)
    if not source.graph.outputs:
        raise ModelError("convert: the model has no output; let it return scores.")
    drawing = _drawing(source.graph)
    if drawing is not None and not allow_random:
        raise ModelError(
            f"convert: {drawing.kind or drawing.operation.title} {drawing.name!r} draws random "
            f"numbers when the model is in use, so a window has no score of its own; {_WAY_OUT}"
        )
    stride = network_stride(source.graph)
    grid = Grid(source.graph.window, step_given(step, len(source.graph.window)) or stride)
    size = image_given(image, grid)
    fixed = [axis for axis, length in enumerate(size) if length == grid.window[axis]]
    windows = grid.shape(size) if size else ()
    pace = framework.pace
    lifted = lift(source.graph, grid, exact=exact, fixed=fixed, pace=pace, windows=windows)
    numbers = prod(source.graph.shapes[source.graph.image][1:])
    check_memory(grid.window, 4 * elements(lifted.footprint, (1,) * grid.dimensions), numbers)
    report = Report(
        grid,
        stride,
        exact or not lifted.approximate,
        lifted.reasons,
        lifted.changes,
        lifted.per_window,
        lifted.one_pass,
        _cost(source.graph, grid, lifted, exact, windows, pace),
        tuple(_warnings(framework.odd_weights(source))),
        framework.order(source),
        image=size,
    )
    if drawing is not None:
        report = report.of_random(drawing.kind or drawing.operation.title, drawing.name)
    return _Plan(framework, model, source, _Form(lifted, report), settings)


_WAY_OUT = (
    "switch it off (model.eval() in PyTorch; dropout is off without training=True), or convert it "
    "with allow_random=True "
    "(--allow-random), after which nothing is called exact."
)


def _drawing(graph: Graph) -> Node | None:
    """Return the first operation that draws random numbers which an output depends on."""
    needed, found = set(graph.outputs), None
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(name for name in node.inputs if name is not None)
            found = node if isinstance(node.operation, Random) else found
    return found


def _named(model: Any) -> str:
    return str(model) if isinstance(model, str | Path) else "the model"


def _cost(
    graph: Graph, grid: Grid, lifted: Lifted, exact: bool, windows: Sizes, pace: Pace
) -> Cost:
    """Return what windows cost; the form that was not asked for is lifted when its cost is."""

    def per_window(form: Lifted) -> int:
        if not windows:
            return form.products[0]
        return round(form.products.at(windows) / prod(windows))

    bare = replace(graph, nodes=[replace(node, source=None) for node in graph.nodes])
    fixed = lifted.graph.fixed

    def other() -> int:
        return per_window(
            lift(bare, grid, exact=not exact, fixed=fixed, pace=pace, windows=windows)
        )

    own, crops = per_window(lifted), sum(products(node, graph) for node in graph.nodes)
    return Cost(crops, own, other) if exact else Cost(crops, other, own)


def _warnings(odd: Sequence[str]) -> list[str]:
    if not odd:
        return []
    named = ", ".join(odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
    return [
        f"NaN or infinite weights in {named}: every score they touch is meaningless; check the "
        f"file they came from"
    ]
