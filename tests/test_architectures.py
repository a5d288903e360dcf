"""The classifiers of the model zoos, in full size: every window has its crop's scores.

Note [What a large classifier differs from itself]: with other batch sizes a framework takes most
sums in the same order, so that this difference alone says too little about a network of a hundred
layers. So each is also computed with other kernels: PyTorch without oneDNN, ONNX Runtime without
its optimizations. The larger difference is the unit, and `TIMES` of it are allowed. The scores of
two windows that share 86 % of their pixels must lie a hundred times as far apart, and so do the
scores of a network that pads at the image's border only: a cell that is taken from the wrong
place, or is zero where the crop is not, cannot hide in it.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fullconv
from data import REPOSITORY, data_file
from oracle import (
    assert_close,
    numbers,
    onnx_classifier,
    scores_of_crops,
    self_difference,
    torch_classifier,
    windows_of,
)

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from architectures import ARCHITECTURES, WINDOW, with_random_weights  # noqa: E402

STEP = (32, 32)
TIMES = 16
DISTINCT = 100
SAMPLED = 6
"""Crops that are forwarded in several batch sizes, and with other kernels."""

SIZES = {"VGG16": (224, 256)}
FEW_WINDOWS = (256, 288)
MANY_WINDOWS = (384, 448)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Two tests at once on two cores are quicker when neither asks for both."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def picture() -> Tensor:
    """Return a picture of blood cells (1, 3, 480, 640), as classifiers take it."""
    from PIL import Image

    with Image.open(data_file("bccd/JPEGImages/BloodImage_00000.jpg")) as image:
        pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)[None]
    prepared = fullconv.Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return torch.from_numpy(prepared.apply(pixels))


def ready(name: str, image: Tensor) -> nn.Module:
    """Return an architecture with random weights that suit the image."""
    with torch.device("meta"):
        model = ARCHITECTURES[name]()
    return with_random_weights(model.to_empty(device="cpu"), windows_of(image, WINDOW, STEP)[::5])


def exported(model: nn.Module) -> Any:
    """Return the ModelProto that PyTorch writes, with a free batch."""
    pytest.importorskip("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own code, of what it will change
        program = torch.onnx.export(
            model,
            (torch.zeros(2, 3, *WINDOW),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            verbose=False,
        )
    return program.model_proto


def without_onednn(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Return a function that forwards crops by PyTorch's own kernels."""

    def classify(crops: Tensor) -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # switching it tells what it could do on other devices
            with torch.backends.mkldnn.flags(enabled=False):
                return torch_classifier(model)(crops)

    return classify


def without_optimizations(proto: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that runs a ModelProto node by node, as it is written."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    held = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = held.get_inputs()[0].name
    return lambda crops: held.run(None, {name: crops})[0]


def own_difference(classify: Any, otherwise: Any, crops: Any) -> float:
    """Return Note [What a large classifier differs from itself]."""
    kernels = float(np.abs(numbers(classify(crops)) - numbers(otherwise(crops))).max())
    return max(self_difference(classify, crops), kernels)


def assert_own_scores(fcn: Any, classify: Any, otherwise: Any, image: Any) -> None:
    """Fail unless every window's scores are its crop's, and no other window's."""
    assert (fcn.grid.window, fcn.grid.step) == (WINDOW, STEP)
    crops = windows_of(image, WINDOW, STEP)
    wanted = scores_of_crops(classify, image, WINDOW, STEP)
    unit = own_difference(classify, otherwise, crops[:SAMPLED])
    assert_distinct(wanted, DISTINCT * TIMES * unit)
    assert_close(fcn(image), wanted, unit, TIMES)
    assert fcn.report.exact, fcn.report.reasons


def assert_distinct(scores: Any, distance: float) -> None:
    """Fail unless any two windows lie at least `distance` apart in some class."""
    held = numbers(scores)[0].reshape(scores.shape[1], -1).T
    for index, window in enumerate(held[:-1]):
        nearest = np.abs(held[index + 1 :] - window).max(1).min()
        assert nearest >= distance, f"windows {nearest} apart, where {distance} are needed"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_window_has_its_crop_s_scores_in_pytorch(name: str, picture: Tensor) -> None:
    height, width = SIZES.get(name, FEW_WINDOWS)
    image = picture[:, :, :height, :width]
    model = ready(name, image)
    fcn = fullconv.convert(model, window=WINDOW, step=STEP)
    assert_own_scores(fcn, torch_classifier(model), without_onednn(model), image)


@pytest.mark.parametrize("name", ["ResNet18", "MobileNetV2"])
def test_every_window_has_its_crop_s_scores_in_onnx_runtime(name: str, picture: Tensor) -> None:
    height, width = FEW_WINDOWS
    image = picture[:, :, :height, :width]
    proto = exported(ready(name, image))
    fcn = fullconv.convert(proto, step=STEP)
    classify, otherwise = onnx_classifier(proto), without_optimizations(proto)
    assert_own_scores(fcn, classify, otherwise, image.numpy())


def test_padding_at_the_image_s_border_only_is_far_outside_of_what_is_allowed(
    picture: Tensor,
) -> None:
    height, width = FEW_WINDOWS
    image = picture[:, :, :height, :width]
    model = ready("ResNet18", image)
    classify = torch_classifier(model)
    unit = own_difference(classify, without_onednn(model), windows_of(image, WINDOW, STEP))
    wanted = scores_of_crops(classify, image, WINDOW, STEP)
    fcn = fullconv.convert(model, window=WINDOW, step=STEP, exact=False)
    off = (fcn(image) - wanted).abs().amax((0, 1))
    assert off.min() > DISTINCT * TIMES * unit


@pytest.mark.parametrize("name", ["VGG16", "ResNet18", "ResNet50", "MobileNetV2"])
def test_the_counted_cost_is_the_ceiling_that_is_counted_from_the_module(name: str) -> None:
    """Gathering windows where parts save less than a tenth may cost 2 % of the operations."""
    with torch.device("meta"):
        counted = ceiling_of(ARCHITECTURES[name](), WINDOW)
    cost = fullconv.explain(ARCHITECTURES[name]().eval(), WINDOW, STEP).cost
    assert cost.crops == counted.crop
    assert 0.98 * counted.endless <= cost.crops / cost.exact <= counted.endless
    assert cost.approximate < cost.exact


def ceiling_of(model: nn.Module, window: tuple[int, int]) -> Any:
    """Count with `benchmarks/ceiling.py`, which does not use fullconv."""
    path = REPOSITORY / "benchmarks/ceiling.py"
    spec = importlib.util.spec_from_file_location("ceiling", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.ceiling(model, window, STEP[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_window_of_a_larger_image_has_its_crop_s_scores(name: str, picture: Tensor) -> None:
    height, width = MANY_WINDOWS
    image = picture[:, :, :height, -width:]
    model = ready(name, image)
    fcn = fullconv.convert(model, window=WINDOW, step=STEP)
    assert_own_scores(fcn, torch_classifier(model), without_onednn(model), image)
