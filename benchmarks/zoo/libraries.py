"""The libraries whose architectures are tried, and how one of them is built.

torchvision's wheel is compiled for one build of PyTorch, and beside another its compiled operators
are missing: it then cannot be imported, because it describes two of them to the tracer. No
classifier uses these; naming them is enough.
"""

from __future__ import annotations

import functools
import inspect
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

MISSING = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_libraries() -> tuple[Any, Any]:
    """Return the modules torchvision and timm, whatever PyTorch's build."""
    try:
        torchvision = _import_torchvision()
    except RuntimeError:
        # Only now: where its own operators are there, a second definition ends the process.
        held = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            held.define(f"{name}{MISSING}")
        _kept.append(held)
        torchvision = _import_torchvision()
    import timm

    return torchvision, timm


def _import_torchvision() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its extension for pictures, which is not used
        import torchvision
    return torchvision


_kept: list[Any] = []
"""What is defined is forgotten with its library."""


OF_ONE_SIZE = ("maxvit_t",)
"""What of torchvision takes no smaller crops: its smallest map is one group of 7 cells a side."""


def import_keras() -> Any:
    """Return the module keras, which computes by PyTorch where nothing else is asked for."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    return keras


NOT_ON_PYTORCH = ("NASNetLarge", "NASNetMobile")
"""What Keras (3.15) refuses to build on this backend."""


def keras_names() -> list[str]:
    """Return every classifier of ``keras.applications`` that there is on PyTorch."""
    held = vars(import_keras().applications)
    return [
        f"keras:{name}"
        for name, value in held.items()
        if inspect.isfunction(value) and name not in NOT_ON_PYTORCH
    ]


@dataclass(frozen=True)
class Architecture:
    """A classifier of a library, with random weights.

    Attributes
    ----------
    module : torch.nn.Module or keras.Model
    window : (int, int)
        The size of the crops that it is built for, in pixels.
    native : (int, int)
        The size of the crops that the library's own weights are for.
    """

    module: Any
    window: tuple[int, int]
    native: tuple[int, int]


def build(name: str, window: int | None = None) -> Architecture:
    """Return an architecture by its name, ``timm:NAME``, ``torchvision:NAME`` or ``keras:NAME``.

    A `window` is taken instead of the native one, where there is more than one; an architecture
    that takes one size only is built for it.
    """
    library, _, model = name.partition(":")
    if library == "keras":
        return _of_keras(import_keras().applications, model, window)
    torchvision, timm = import_libraries()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a library says of its own initial values
        if library == "timm":
            return _of_timm(timm, model, window)
        return _of_torchvision(torchvision.models, model, window)


def _of_timm(timm: Any, name: str, window: int | None) -> Architecture:
    config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    _, *native = config.input_size
    given = {"img_size": window} if window and config.fixed_input_size else {}
    module = timm.create_model(name, pretrained=False, **given)
    size = (window, window) if window else tuple(native)
    return Architecture(module, size, tuple(native))


def _of_torchvision(models: Any, name: str, window: int | None) -> Architecture:
    trained = [held.transforms() for held in models.get_model_weights(name)]
    native = min((held.crop_size[0] for held in trained), default=224)
    # A vision transformer is built for its size; an inception without its side heads.
    if window and name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        window -= window % patch
    given = {"image_size": window or native} if name.startswith("vit_") else {}
    module = models.get_model(name, weights=None, **given)
    size = (window if name not in OF_ONE_SIZE else None) or native
    return Architecture(module, (size, size), (native, native))


def _of_keras(applications: Any, name: str, window: int | None) -> Architecture:
    application = getattr(applications, name)
    native = _native(application)
    size = (window, window) if window else native
    # Probabilities of random weights are all alike: without the softmax, differences show.
    module = application(weights=None, classifier_activation=None, input_shape=(*size, 3))
    return Architecture(module, size, native)


@functools.cache
def _native(application: Any) -> tuple[int, int]:
    """Return the size that an application is built for where nothing is said."""
    _, height, width, _ = application(weights=None).input_shape
    return height or 224, width or 224  # MobileNetV3 leaves its own free


def prepared(name: str, pixels: Any) -> Any:
    """Return pixels ``(N, H, W, 3)`` as an application of Keras wants them."""
    application = getattr(import_keras().applications, name.partition(":")[2])
    return inspect.getmodule(application).preprocess_input(pixels, data_format="channels_last")


@contextmanager
def in_double() -> Iterator[None]:
    """Let Keras build and run models in double precision.

    On PyTorch it would still add and multiply in single precision, by a table of what sums become.
    """
    config = import_keras().config
    from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE as SUMS

    floatx, policy, sums = config.floatx(), config.dtype_policy(), SUMS["float64"]
    config.set_floatx("float64")
    config.set_dtype_policy("float64")
    SUMS["float64"] = "float64"
    try:
        yield
    finally:
        config.set_floatx(floatx)
        config.set_dtype_policy(policy)
        SUMS["float64"] = sums
