"""From a window classifier to the network over all windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fullconv.choices import Activation
from fullconv.conversion.backgrounds import usual_background
from fullconv.conversion.converted import FullyConvolutional
from fullconv.conversion.forms import FormWriter
from fullconv.conversion.planning import plan_conversion
from fullconv.conversion.report import Report
from fullconv.conversion.requested import check_activation
from fullconv.errors import InputError
from fullconv.graph.graph import Graph
from fullconv.preprocessing import Preprocessing


def convert(
    model: Any,
    window: int | Sequence[int] | None = None,
    step: int | Sequence[int] | None = None,
    exact: bool = True,
    *,
    image: int | Sequence[int] | None = None,
    classes: Sequence[str] | None = None,
    background: str | None = None,
    preprocessing: Preprocessing | None = None,
    check: bool = True,
    allow_random: bool = False,
    precision: str | None = None,
    activation: Activation = "none",
    embed_preprocessing: bool = False,
) -> FullyConvolutional:
    """Convert a window classifier into a network that answers for every window of an image.

    Parameters
    ----------
    model : torch.nn.Module, torch.export.ExportedProgram, onnx.ModelProto, keras.Model, str or Path
        The classifier, ``(N, C, h, w) -> (N, K)`` (or, in Keras and what is exported from it,
        ``(N, h, w, C) -> (N, K)``), or the path of a ``.pt2``, ``.onnx``, ``.keras``, ``.h5``,
        ``.hdf5`` or TorchScript ``.pt`` file, of Keras' architecture (``.json``) with weights
        beside it, or of a folder of WSInfer, timm or transformers.
    window : int or (int, int), optional
        Height and width that it was trained on; may be left out where the model fixes it. One
        number is the length along every axis that the model has, by its input or its layers.
    step : int or (int, int), optional
        Pixels between neighbouring windows, one number or (rows, columns); by default the
        network's own stride. Its divisors and multiples are the cheapest; any other works too.
    exact : bool
        True: every window's scores are those of its crop. False: the classical conversion, which
        pads at the image's border only; one pass, and other scores wherever the network pads.
    image : int or tuple of int, optional
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
    precision : {"f16", "bf16"}, optional
        Round weights and arithmetic to half precision, in an ONNX network whatever the classifier
        is. Images and scores stay float32. It is not exact: scores differ from the crops' by
        roundings of that precision, and the report says so.
    activation : {"none", "softmax", "sigmoid"}
        The function to put behind the scores of every window, for programs that read
        probabilities. The converted model is then an ``onnx.ModelProto``, whatever the classifier
        is. An activation that ends the classifier is not added again.
    embed_preprocessing : bool
        Put the preprocessing into the model, which then takes bytes as image libraries give them,
        ``(N, H, W, C)`` in uint8, and gives ``(N, rows, columns, K)``; an ``onnx.ModelProto``, too.

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
        where it runs on each window alone; or if half precision costs more than roundings.
    ExportError
        If a precision, an activation or preprocessing goes into a model that has no form in ONNX.

    Examples
    --------
    >>> fcn = fullconv.convert("dress.onnx")  # doctest: +SKIP
    >>> fcn(images).shape  # (N, K, rows, columns)  # doctest: +SKIP
    """
    from fullconv.conversion.narrowing import check_precision, narrow

    if preprocessing is not None and not isinstance(preprocessing, Preprocessing):
        raise InputError(
            f"convert(preprocessing={preprocessing!r}): expected a fullconv.Preprocessing."
        )
    check_precision(precision)
    check_activation(activation)
    plan = plan_conversion(model, window, step, exact=exact, image=image, allow_random=allow_random)
    stored = plan.settings
    names = tuple(classes) if classes is not None else stored.classes
    _check_classes(classes, plan.source.graph)
    named = _background(background, stored.background, names)

    def finished(fcn: FullyConvolutional) -> FullyConvolutional:
        if precision is not None:
            fcn = narrow(fcn, precision, plan.model, check)
        if activation == "none" and not embed_preprocessing:
            return fcn
        from fullconv.conversion.deploying import deployable

        return deployable(fcn, activation, embed_preprocessing, plan.model if check else None)

    writing = FormWriter(
        framework=plan.framework,
        source=plan.source,
        exact=exact,
        classes=names,
        background=named,
        preprocessing=preprocessing or stored.preprocessing,
    )
    fcn = writing.written_for_files(plan.form)
    if preprocessing is not None:
        preprocessing.check_channels(fcn.shape.channels)
    if not check:
        note = "unproved nothing was compared with crops (check=False)"
        fcn.report = replace(fcn.report, check=note)
        return finished(fcn)
    from fullconv.conversion.proving import checked

    return finished(checked(fcn, plan, writing, _named(model), allow_random))


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


def explain(
    model: Any,
    window: int | Sequence[int] | None = None,
    step: int | Sequence[int] | None = None,
    exact: bool = True,
    *,
    image: int | Sequence[int] | None = None,
    allow_random: bool = False,
) -> Report:
    """Say what `convert` would do, without converting. Takes the same arguments.

    ``image``, a size along every axis as ``window``, gives the cost for an image of that size.
    """
    return plan_conversion(
        model, window, step, exact=exact, image=image, allow_random=allow_random
    ).form.report


def _named(model: Any) -> str:
    return str(model) if isinstance(model, str | Path) else "the model"
