"""The forms that a lifted classifier may have, what they cost, and writing them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.report import Cost, Report
from fullconv.frameworks import Framework
from fullconv.geometry.grid import Grid, Sizes
from fullconv.geometry.images import ImageShape
from fullconv.graph.graph import Graph
from fullconv.lift import Lifted, halo, lift, products
from fullconv.lift.pace import Pace
from fullconv.preprocessing import Preprocessing


@dataclass(frozen=True)
class Form:
    """A lifted network, and what is said of it."""

    lifted: Lifted
    report: Report

    def at_pace(self, graph: Graph, pace: Pace) -> Form | None:
        """Return the exact form that is faster at another pace; None where that is this one."""
        report, fixed = self.report, self.lifted.graph.fixed
        windows = report.grid.shape(report.image) if report.image else ()
        lifted = lift(graph, report.grid, exact=True, fixed=fixed, pace=pace, windows=windows)
        if lifted.gathered == self.lifted.gathered:
            return None
        changed = replace(
            report,
            reasons=lifted.reasons,
            changes=lifted.changes,
            per_window=lifted.per_window,
            one_pass=lifted.one_pass,
            cost=cost(graph, report.grid, lifted, True, windows, pace),
        )
        return Form(lifted, changed)


@dataclass(frozen=True)
class FormWriter:
    """Writes the forms of a classifier, with the settings that travel with them."""

    framework: Framework
    source: Any
    exact: bool
    classes: tuple[str, ...]
    background: str | None
    preprocessing: Preprocessing | None

    def written(
        self, form: Form, in_onnx: Callable[[], FullyConvolutional | None] | None = None
    ) -> FullyConvolutional:
        """Return a form as a network."""
        graph, grid = self.source.graph, form.report.grid
        return FullyConvolutional(
            self.framework.write(form.lifted.graph, self.source, grid),
            ImageShape.of(graph, grid, form.lifted.graph.fixed),
            form.report,
            self.framework,
            classes=self.classes,
            background=self.background,
            preprocessing=self.preprocessing,
            footprint=form.lifted.footprint,
            products=form.lifted.products,
            halo=() if self.exact else halo(graph, grid, form.lifted.graph.fixed),
            in_onnx=in_onnx,
        )

    def written_for_files(self, form: Form) -> FullyConvolutional:
        """Return a form as a network that finds the one for ONNX Runtime when it is saved."""
        settled = self.framework.name == "onnx" or not self.exact
        if settled or form.lifted.one_pass or form.report.random:
            return self.written(form)

        def in_onnx() -> FullyConvolutional | None:
            from fullconv.frameworks.onnx.framework import OnnxFramework

            other = form.at_pace(self.source.graph, OnnxFramework.pace)
            return None if other is None else self.written(other)

        return self.written(form, in_onnx)


def cost(graph: Graph, grid: Grid, lifted: Lifted, exact: bool, windows: Sizes, pace: Pace) -> Cost:
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
