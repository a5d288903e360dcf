"""Plans a conversion: reads the model, lifts its network, and reports on both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from fullconv.conversion.ending import endings
from fullconv.conversion.forms import Form, cost
from fullconv.conversion.loading import ModelMetadata, stored_metadata
from fullconv.conversion.report import Cost, Reason, Report
from fullconv.conversion.requested import (
    check_memory,
    check_window,
    image_given,
    step_given,
    window_given,
)
from fullconv.conversion.stored import items, value_of, whole
from fullconv.errors import ModelError, first_line
from fullconv.frameworks import Framework, find
from fullconv.geometry.grid import Grid, Sizes
from fullconv.graph.graph import Graph, Node
from fullconv.lift import lift, network_stride
from fullconv.lift.memory import elements
from fullconv.operations import Random

WAY_OUT = (
    "switch it off (model.eval() in PyTorch; dropout is off without training=True), or convert it "
    "with allow_random=True "
    "(--allow-random), after which nothing is called exact."
)


@dataclass(frozen=True)
class ConversionPlan:
    """A model that was read, and the network that it becomes.

    Attributes
    ----------
    framework : Framework
    model
        The classifier in memory.
    source
        What the framework has read of it.
    form : Form
        What it is lifted to.
    settings : ModelMetadata
        The settings that its file carries beside the network.
    """

    framework: Framework
    model: Any
    source: Any
    form: Form
    settings: ModelMetadata

    def one_by_one(self) -> Form:
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
        return Form(lifted, changed)


def plan_conversion(
    model: Any,
    window: int | Sequence[int] | None,
    step: int | Sequence[int] | None,
    *,
    exact: bool,
    image: int | Sequence[int] | None,
    allow_random: bool,
) -> ConversionPlan:
    """Read a model and lift its network, as `fullconv.convert` is asked to.

    Raises
    ------
    WindowError
        If the window, the step or the image's size contradicts the model.
    ModelError
        If the model cannot be read, or draws random numbers.
    """
    given = window_given(window)
    if isinstance(given, tuple) or not (isinstance(step, Sequence) and len(step) in (1, 3)):
        step_given(step, len(given) if isinstance(given, tuple) else 2)  # before any work
    framework = find(model)
    model, settings, given = _opened(framework, model, given)
    wanted = (given,) * (framework.axes(model, given) or 2) if isinstance(given, int) else given
    check_window(wanted)
    source = framework.read(model, wanted)
    if not source.graph.outputs:
        raise ModelError("convert: the model has no output; let it return scores.")
    drawing = _drawing(source.graph)
    if drawing is not None and not allow_random:
        raise ModelError(
            f"convert: {drawing.kind or drawing.operation.title} {drawing.name!r} draws random "
            f"numbers when the model is in use, so a window has no score of its own; {WAY_OUT}"
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
        grid=grid,
        stride=stride,
        exact=exact or not lifted.approximate,
        reasons=lifted.reasons,
        changes=lifted.changes,
        per_window=lifted.per_window,
        one_pass=lifted.one_pass,
        cost=cost(source.graph, grid, lifted, exact, windows, pace),
        warnings=tuple(_warnings(framework.non_finite_weights(source))),
        images=framework.order(source),
        image=size,
        activations=endings(source.graph),
    )
    if drawing is not None:
        report = report.of_random(drawing.kind or drawing.operation.title, drawing.name)
    return ConversionPlan(framework, model, source, Form(lifted, report), settings)


def _opened(
    framework: Framework, model: Any, window: int | Sizes | None
) -> tuple[Any, ModelMetadata, int | Sizes | None]:
    """Return a model in memory, what its file says beside the network, and its window."""
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
        settings = stored_metadata(metadata)
        if window is None and "fullconv.window" in metadata:
            window = items(value_of(metadata["fullconv.window"]), lambda size: whole(size, 1))
    except ValueError as error:
        raise ModelError(
            f"convert: what the model file says beside the network cannot be read "
            f"({first_line(error)}); save or export it again."
        ) from None
    return model, settings, window


def _drawing(graph: Graph) -> Node | None:
    """Return the first operation that draws random numbers which an output depends on."""
    needed, found = set(graph.outputs), None
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            needed.update(name for name in node.inputs if name is not None)
            found = node if isinstance(node.operation, Random) else found
    return found


def _warnings(non_finite: Sequence[str]) -> list[str]:
    if not non_finite:
        return []
    named = ", ".join(non_finite[:5]) + (
        f" and {len(non_finite) - 5} more" if len(non_finite) > 5 else ""
    )
    return [
        f"NaN or infinite weights in {named}: every score they touch is meaningless; check the "
        f"file they came from"
    ]
