"""``keras:NAME``: the classifiers of ``keras.applications``."""

from __future__ import annotations

import contextlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fullconv.cli.zoos.libraries import unknown
from fullconv.errors import InputError, MissingExtraError, ModelError, first_line
from fullconv.frameworks.described import with_metadata
from fullconv.frameworks.keras.backend import choose_backend
from fullconv.preprocessing import ChannelOrder, Preprocessing

ENDINGS = (".weights.h5", ".h5", ".keras")
USUAL = 224
"""Side of MobileNetV3's crops in pixels; it is the only application without a fixed size."""


def build(named: str, name: str, trained: bool) -> Any:
    """Return a model of ``keras.applications``; see `fullconv.cli.zoos.build`."""
    choose_backend()
    try:
        import keras
    except ImportError:
        raise MissingExtraError("A Keras model", "keras") from None
    # The functions of this module, and nothing else in it, are the applications.
    applications = {
        key: value for key, value in vars(keras.applications).items() if inspect.isfunction(value)
    }
    if name not in applications:
        raise unknown(named, name, "keras", list(applications))
    application = applications[name]
    preprocess = inspect.getmodule(application).preprocess_input  # type: ignore[union-attr]
    preprocessing = preprocessing_of(preprocess)
    if preprocessing is None:
        raise ModelError(
            f"{named}: what its preprocess_input does to pixels is not a scale, mean and std per "
            f"channel; build the model in Python, and prepare its images with that function."
        )
    model = _fetched(application, named) if trained else _built(application, named)
    last = keras.config.image_data_format() == "channels_last"
    height, width = model.input_shape[1:3] if last else model.input_shape[2:4]
    window = height or USUAL, width or USUAL
    return with_metadata(model, window, preprocessing, _classes() if trained else ())


def load_weights(model: Any, named: str, weights: Path) -> None:
    """Fill a model from a file; see `fullconv.cli.zoos.load_weights`."""
    if not weights.name.endswith(ENDINGS):
        raise InputError(
            f"--weights {weights}: the kind of file is told by its ending; give what Keras saves "
            f"as .weights.h5, .h5 or .keras."
        )
    from fullconv.frameworks.keras.archive import check_weights

    arrays = check_weights(weights)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one per layer, beside the error
            model.load_weights(weights)
    except Exception as error:
        fault = first_line(error).removesuffix(":")
    else:
        # Keras ignores a layer that only the file has.
        own = len(model.weights)
        if arrays is None or arrays <= own:
            return
        fault = f"it holds {arrays} arrays, and the model takes {own}"
    raise ModelError(
        f"--weights {weights} does not fit {named}: {fault}. Give the weights that were saved from "
        f"such a model."
    )


def preprocessing_of(preprocess: Callable[..., Any]) -> Preprocessing | None:
    """Return what a ``preprocess_input`` does to RGB pixels; None if `Preprocessing` cannot say it.

    The function is applied to some pixels. A black pixel shows the offset of every channel. A pixel
    of a single colour shows which channel takes it, and by what factor. Others show whether that is
    all.
    """
    import numpy as np

    def ask(pixels: Any) -> Any:
        return np.asarray(preprocess(np.array(pixels, float), data_format="channels_last"), float)

    black, *colours = ask([[[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]])[0]
    factors = (np.stack(colours) - black) / 255  # (colour, channel of the model)
    order: ChannelOrder = "RGB" if np.count_nonzero(np.diag(factors)) == 3 else "BGR"
    slopes = np.diag(factors if order == "RGB" else factors[::-1])
    if not slopes.all():
        return None
    # If channels differ, pixels are by custom scaled to between 0 and 1 before normalization.
    scale = slopes[0] if np.ptp(slopes) < 1e-9 else 1 / 255
    std = scale / slopes
    derived = Preprocessing(_short(scale, 15), _each(-black * std), _each(std), order)
    image = np.minimum(np.arange(0, 256, 3)[:, None] + np.arange(3), 255)[None]
    asked = np.moveaxis(ask(image), -1, -3)
    error = np.abs(derived.apply(np.moveaxis(image, -1, -3)) - asked).max()
    # Ours is computed in single precision.
    return derived if error <= 8 * np.spacing(np.float32(max(1, np.abs(asked).max()))) else None


def _each(numbers: Any) -> tuple[float, ...]:
    """Return the number of every channel; a single one if all are the same."""
    each = tuple(_short(number, 12) for number in numbers)
    return each if len(set(each)) > 1 else each[:1]


def _short(number: Any, digits: int) -> float:
    """Return a number without the digits that rounding added, such as 0.485 or 103.939."""
    return float(f"{number:.{digits}g}") or 0.0  # not -0.0


def _built(application: Any, named: str) -> Any:
    import keras

    try:
        return application(weights=None)
    except Exception as error:
        raise ModelError(
            f"{named}: Keras {keras.__version__} cannot build it on {keras.backend.backend()} "
            f"({first_line(error)}). Choose another of its backends with KERAS_BACKEND."
        ) from error


def _fetched(application: Any, named: str) -> Any:
    try:
        with _stdout_aside():
            return application(weights="imagenet")
    except Exception as error:
        _built(application, named)  # raises if the model itself cannot be built
        said = " ".join(str(error).split())  # Keras names the address
        raise ModelError(
            f"{named}: its weights could not be fetched ({type(error).__name__}: {said}). Try "
            f"again where that address can be reached, or give weights that Keras saved with "
            f"--weights."
        ) from error


def _classes() -> tuple[str, ...]:
    """Return the names of ImageNet's classes; none if Keras cannot fetch them."""
    import keras
    import numpy as np

    try:
        with _stdout_aside():
            best = keras.applications.imagenet_utils.decode_predictions(np.eye(1000), top=1)
    except Exception:
        return ()
    return tuple(name for ((_, name, _),) in best)


@contextlib.contextmanager
def _stdout_aside() -> Iterator[None]:
    """Send Keras' messages on downloads to stderr; stdout is for results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
