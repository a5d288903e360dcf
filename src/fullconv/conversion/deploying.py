"""A converted model that needs nothing else: bytes in, probabilities out, in one ONNX file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fullconv.choices import Activation
from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.embedded import Embedded
from fullconv.conversion.requested import check_activation
from fullconv.errors import DifferenceError, InputError
from fullconv.preprocessing import Preprocessing
from fullconv.runtimes.choosing import in_onnx
from fullconv.wording import sized

CHECKED = 4
"""Windows of random bytes to compare with crops that are prepared and activated outside."""


def deployable(
    fcn: FullyConvolutional,
    activation: Activation,
    embed_preprocessing: bool,
    classifier: Any = None,
) -> FullyConvolutional:
    """Return a converted model with its activation and preprocessing inside, in ONNX.

    An activation that ends the classifier itself is not added again.

    Parameters
    ----------
    fcn : FullyConvolutional
        The converted model, of any framework, with its preprocessing; it is not changed.
    activation : {"none", "softmax", "sigmoid"}
    embed_preprocessing : bool
    classifier : optional
        The original, to compare a few windows with; see Note [Embedded]. None leaves that out.

    Raises
    ------
    InputError
        If there is no such activation, the model has several outputs for it, its scores have
        another already, or nothing says how pixels are prepared.
    ExportError
        If the model has no form in ONNX.
    DifferenceError
        If the scores differ from those of crops prepared and activated outside.
    """
    wanted = Embedded(_added(fcn, activation), _prepares(fcn) if embed_preprocessing else None)
    if not wanted:
        return fcn
    from fullconv.frameworks.onnx.embedding import embed

    onnx_form = in_onnx(fcn)
    if wanted.activation != "none":
        _check_scores(onnx_form, wanted.activation)
    left = fcn.preprocessing
    if wanted.preprocessing is not None:
        um = wanted.preprocessing.um_per_pixel
        left = None if um is None else Preprocessing(um_per_pixel=um)
    report = replace(
        onnx_form.report,  # of the form that ONNX Runtime is faster with
        inside=wanted.lines(fcn.shape),
        images="" if wanted.preprocessing is not None else onnx_form.report.images,
    )
    made = FullyConvolutional(
        embed(onnx_form.model, fcn.shape, wanted),
        fcn.shape,
        report,
        onnx_form.framework,
        classes=fcn.classes,
        background=fcn.background,
        preprocessing=left,
        embedded=wanted,
        footprint=onnx_form.footprint,
        products=onnx_form.products,
        halo=onnx_form.halo,
    )
    made.probe = fcn.probe
    if classifier is not None and fcn.probe is not None and not fcn.report.random:
        _check(made, classifier)
    return made


def _added(fcn: FullyConvolutional, activation: Activation) -> Activation:
    """Return the activation to add; none where the classifier ends with it."""
    check_activation(activation)
    ends = fcn.activation()
    if activation == "none" or activation == ends:
        return "none"
    if ends != "none":
        raise InputError(
            f"convert(activation={activation!r}): the scores are probabilities already, for the "
            f"classifier ends with {ends}; leave the activation out."
        )
    return activation


def _check_scores(fcn: FullyConvolutional, activation: str) -> None:
    """Refuse an activation of several outputs, and the softmax of what is no list of classes."""
    count = len(fcn.model.graph.output)
    if count > 1:
        raise InputError(
            f"convert(activation={activation!r}): the model returns {count} outputs, and nobody "
            f"says which of them are classes; give the classifier with these as its only output."
        )
    if activation != "softmax":
        return
    blank = np.zeros((1, fcn.shape.channels, *fcn.grid.window), np.float32)
    shape = fcn.scores(blank).shape[1 : -fcn.grid.dimensions]
    if len(shape) > 1:
        raise InputError(
            f"convert(activation='softmax'): the model returns {sized(shape)} scores for a window, "
            f"which are no list of classes; give the classifier with these as its only output."
        )
    if shape in ((), (1,)):
        raise InputError(
            "convert(activation='softmax'): the classifier gives one score for a window, and the "
            "softmax of one number is always 1; choose sigmoid."
        )


def _numbers(fcn: FullyConvolutional) -> type[np.number[Any]]:
    return np.float32 if fcn.embedded.preprocessing is None else np.uint8


def _prepares(fcn: FullyConvolutional) -> Preprocessing:
    if fcn.preprocessing is None:
        raise InputError(
            "convert(embed_preprocessing=True): nothing says how pixels are prepared for the "
            "model; give preprocessing= (--scale/--mean/--std, or --preprocessing imagenet), or "
            "Preprocessing() (--scale 1) where it takes them as they are, 0 to 255."
        )
    return fcn.preprocessing


def _check(fcn: FullyConvolutional, classifier: Any) -> None:
    """Compare windows of random bytes with crops that are prepared and activated outside."""
    from fullconv.verification.verifying import verify_prepared

    report = fcn.report
    claims = report.exact or report.rounded
    size = fcn.shape.two_windows if claims else fcn.grid.window
    shape = (CHECKED, fcn.shape.channels, *size)
    images = np.random.default_rng(0).integers(0, 256, shape).astype(_numbers(fcn))
    if fcn.embedded.preprocessing is None and fcn.preprocessing is not None:
        images = fcn.preprocessing.apply(images, dimensions=fcn.grid.dimensions)
    proof = verify_prepared(fcn, classifier, images, CHECKED)
    if report.rounded and not proof.passed:
        raise DifferenceError(
            f"convert(precision={report.precision!r}): with what is embedded the scores differ "
            f"from those of prepared crops, by up to {proof.max_error:.3g}, and more than "
            f"{proof.allowed:.3g} is no rounding of {report.precision}: the activation magnifies "
            f"roundings; take f32, or leave the activation to the program that reads the scores."
        )
    if report.exact and not proof.passed:
        raise DifferenceError(
            f"convert: with what is embedded the scores differ from those of prepared crops, by "
            f"up to {proof.max_error:.3g} (more than {proof.allowed:.3g} is no rounding). Please "
            f"report this model; without --activation and --embed-preprocessing it converts."
        )
    compared = (
        f"with what is inside, {proof.max_error:.3g} from crops prepared and activated outside"
    )
    fcn.report = replace(report, check=f"{report.check}; {compared}")
