"""A converted network compared with crops of random pixels, before anybody uses it."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.forms import FormWriter
from fullconv.conversion.planning import WAY_OUT, ConversionPlan
from fullconv.errors import DifferenceError, ModelError
from fullconv.verification.probing import Probe, probe
from fullconv.wording import kind, unit


def checked(
    fcn: FullyConvolutional,
    plan: ConversionPlan,
    writing: FormWriter,
    name: str,
    allow_random: bool,
) -> FullyConvolutional:
    """Return the converted network if it has the crops' scores, else one that runs crops alone.

    Raises
    ------
    ModelError
        If the classifier's scores are random, or it cannot be run.
    DifferenceError
        If no form has the crops' scores.
    """
    failure: ModelError | None = None
    try:
        result = _probed(fcn, plan)
    except ModelError as error:
        failure = error
    else:
        if result.varies and not allow_random:
            raise ModelError(
                f"convert: {name} gives other scores for a crop each time that it is scored: it "
                f"{result.reason}; {WAY_OUT}"
            )
        if result.varies or fcn.report.random:
            fcn.report = fcn.report.of_random(name)
            return fcn
        if result.proof.passed:
            return _noted(fcn, result)
        failure = _differs(name, result, unit(fcn.grid.dimensions, many=True))
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
        fcn = writing.written(plan.one_by_one())
        result = _probed(fcn, plan)
    except ModelError:
        raise failure from None
    if not result.proof.passed:
        raise failure
    return _noted(fcn, result)


def _probed(fcn: FullyConvolutional, plan: ConversionPlan) -> Probe:
    # torch.fx prints the traceback of its own call beside raising it.
    with contextlib.redirect_stderr(io.StringIO()):
        return probe(fcn, plan.model)


def _differs(name: str, result: Probe, things: str) -> DifferenceError:
    return DifferenceError(
        f"convert: {name} gives other scores for crops of random {things} than the converted "
        f"network (by up to {result.proof.max_error:.3g}; more than {result.proof.allowed:.3g} is "
        f"no rounding), and no form of it has the crops' scores. Please report this model; "
        f"check=False (--no-check) converts it all the same."
    )


def _noted(fcn: FullyConvolutional, result: Probe) -> FullyConvolutional:
    """Add the result of the probe to the report."""
    fcn.probe, report = result, replace(fcn.report, check=f"checked  {result}")
    if result.alike and not report.warnings:
        dimensions = fcn.grid.dimensions
        things = unit(dimensions, many=True)
        picture = "a picture" if dimensions == 2 else f"a {kind(dimensions)}"
        report = replace(
            report,
            warnings=(
                *report.warnings,
                f"all windows of random {things} have the same scores, so comparing them with "
                f"crops proved nothing; compare windows of {picture}: fullconv.verify, 'fullconv "
                f"verify'",
            ),
        )
    fcn.report = report
    return fcn
