"""Runtimes: the same scores everywhere, bit for bit for integers, and f32 is f32."""

from __future__ import annotations

import contextlib
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import fullconv
from fullconv.errors import FullconvError, InputError, MissingExtraError, ModelError
from fullconv.frameworks.onnx.session import session
from fullconv.runtimes import choosing, fastest, open_runtime, runtimes_for
from fullconv.runtimes.in_openvino import InOpenvino
from networks.checks import convert, images_for, in_onnx, in_torch
from networks.weights import pixels
from on_this_machine import need_openvino
from oracle import leaves, scores_of_crops
from test_random_padded_networks import drawn

NETWORKS = 24


def crops_of(fcn: Any, classify: Any, images: Any, batch: int = 64) -> list[np.ndarray]:
    expected = scores_of_crops(classify, images, fcn.grid.window, fcn.grid.step, batch)
    return [np.asarray(leaf) for _, leaf in leaves(expected)]


def assert_equal(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(actual) == len(expected)
    for mine, wanted in zip(actual, expected, strict=True):
        assert (mine.dtype, mine.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(mine, wanted)


def conv_model(
    filters: np.ndarray, strides: tuple[int, int], dtype: Any = np.float32, **attributes: Any
) -> onnx.ModelProto:
    """An ONNX classifier: one convolution as large as its window, with so large strides."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    _, channels, h, w = filters.shape
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["map"], strides=strides, **attributes),
        helper.make_node("ReduceSum", ["map", "axes"], ["scores"], keepdims=0),
    ]
    window = (h + strides[0], w)
    graph = helper.make_graph(
        nodes,
        "conv",
        [helper.make_tensor_value_info("image", kind, ["n", channels, *window])],
        [helper.make_tensor_value_info("scores", kind, ["n", len(filters)])],
        [
            numpy_helper.from_array(filters.astype(dtype), "w"),
            numpy_helper.from_array(np.array([2, 3]), "axes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def integers(shape: tuple[int, ...], seed: int = 0, limit: int = 3) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(-limit, limit + 1, shape)
    return drawn.astype(np.float32)


@pytest.fixture(scope="module")
def plain() -> Any:
    """A converted ONNX model of 64 real-valued filters: enough for another precision to show."""
    filters = np.random.default_rng(0).standard_normal((8, 16, 8, 8))
    return fullconv.convert(conv_model(filters, (1, 1)))


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((1, 16, 40, 40)).astype(np.float32)


# ---------------------------------------------------------------------------------------------
# Exact windows stay exact


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_random_padded_networks_equal_their_crops(name: str) -> None:
    if name == "openvino":
        need_openvino()
        if platform.machine() not in choosing.OPENVINO_IS_RIGHT_ON:
            pytest.skip("OpenVINO is not right on this processor, and not chosen by itself")
    compared = 0
    for network, step, size, count in drawn("onnx", 0)[-NETWORKS:]:
        if "circular" in repr(network) or network.double:
            continue  # OpenVINO has neither
        model, classify = in_onnx(network)
        fcn = convert(network, model, step)
        images = images_for(network, count, size, in_onnx)
        with open_runtime(fcn, name) as runtime:
            assert_equal(runtime.run(images), crops_of(fcn, classify, images, network.batch or 64))
        compared += 1
    assert compared >= 20


def test_random_padded_torch_networks_equal_their_crops_in_torch() -> None:
    pytest.importorskip("torch")
    for network, step, size, count in drawn("torch", 0)[:6]:
        model, classify = in_torch(network)
        fcn = convert(network, model, step)
        images = images_for(network, count, size, in_torch)
        expected = [
            wanted if wanted.dtype == np.float64 else wanted.astype(np.float32)
            for wanted in crops_of(fcn, classify, images, network.batch or 64)
        ]
        assert_equal(open_runtime(fcn).run(pixels(network, count, size, seed=1)), expected)


@pytest.fixture(scope="module")
def small() -> tuple[Any, np.ndarray, np.ndarray]:
    """A converted PyTorch model of integers, an image, and the scores of its crops."""
    torch = pytest.importorskip("torch")
    from torch import nn

    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(196, 2)
    ).eval()
    for seed, parameter in enumerate(model.parameters()):
        parameter.data = torch.from_numpy(integers(tuple(parameter.shape), seed, 1))
    fcn = fullconv.convert(model, window=(16, 16), step=(8, 4))
    images = integers((1, 3, 37, 41), seed=9)
    with torch.no_grad():
        scores = scores_of_crops(model, torch.from_numpy(images), (16, 16), (8, 4))
    return fcn, images, scores.numpy()


@pytest.mark.parametrize("name", ["native", "torch", "onnxruntime", "openvino"])
def test_a_torch_model_gives_its_crops_scores_in_every_runtime(small, name: str) -> None:
    if name == "openvino":
        need_openvino()
    fcn, images, expected = small
    with open_runtime(fcn, name) as runtime:
        assert runtime.name == ("torch" if name == "native" else name)
        assert (runtime.precision, runtime.device) == ("f32", "cpu")
        assert_equal(runtime.run(images), [expected])


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("channels", [1, 2, 16])
def test_openvino_is_right_where_strides_leave_one_column(channels: int, precision: str) -> None:
    """By itself it is not: Note [What OpenVINO computes wrong] in `runtimes.in_openvino`."""
    need_openvino(precision)
    filters = integers((2, channels, 3, 3), seed=4, limit=1)
    fcn = fullconv.convert(conv_model(filters, (1, 2)), step=(1, 2))
    compared = []
    for columns in (3, 4, 5, 8):
        images = integers((3, channels, 20, columns), seed=5, limit=1)
        expected = open_runtime(fcn, "onnxruntime").run(images)
        assert_equal(open_runtime(fcn, "openvino", precision=precision).run(images), expected)
        compared += expected
    assert all(np.ptp(scores) > 0 for scores in compared)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("channels", [1, 2])
def test_openvino_is_right_where_a_flat_kernels_result_is_added_to(channels, precision) -> None:
    need_openvino(precision)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["map"], pads=[0, 1, 0, 1]),
        helper.make_node("Add", ["map", "image"], ["sum"]),
        helper.make_node("Flatten", ["sum"], ["scores"]),
    ]
    size = ["n", channels, 1, 6]
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", channels * 6])],
        [numpy_helper.from_array(integers((channels, channels, 1, 3), limit=1), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    fcn = fullconv.convert(model)
    for rows, columns in ((1, 6), (6, 6), (7, 9)):
        images = integers((7, channels, rows, columns), seed=6)
        expected = open_runtime(fcn, "onnxruntime").run(images)
        assert_equal(open_runtime(fcn, "openvino", precision=precision).run(images), expected)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize(
    ("channels", "kernel", "strides"),
    [
        (1, (3,), (3,)),
        (2, (3,), (3,)),
        (2, (2, 1), (2, 3)),
        (1, (1, 1, 3), (3, 1, 3)),
        (2, (2, 1, 3), (1, 2, 2)),
    ],
)
def test_openvino_is_right_over_any_number_of_axes(
    channels: int, kernel: tuple[int, ...], strides: tuple[int, ...], precision: str
) -> None:
    """A sum of two convolutions that leave a single column; OpenVINO adds in the same pass."""
    need_openvino(precision)
    axes, shape = len(kernel), (3, channels, *kernel)
    nodes = [
        *(
            helper.make_node("Conv", ["image", name], [f"by {name}"], strides=strides)
            for name in ("v", "w")
        ),
        helper.make_node("Add", ["by v", "by w"], ["sum"]),
    ]
    weights = {"v": integers(shape, seed=1, limit=1), "w": integers(shape, seed=2, limit=1)}
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "sum",
        [helper.make_tensor_value_info("image", floats, ["n", channels, *(None,) * axes])],
        [helper.make_tensor_value_info("sum", floats, None)],
        [numpy_helper.from_array(held, name) for name, held in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    runtime = InOpenvino(model, precision)
    for cells in ((1,) * axes, (*(3,) * (axes - 1), 1), (4,) * axes):
        size = [k + (n - 1) * by for n, k, by in zip(cells, kernel, strides, strict=True)]
        images = integers((2, channels, *size), seed=3, limit=1)
        assert_equal(runtime.run(images), [session(model)(images)])


# ---------------------------------------------------------------------------------------------
# f32 is f32, and less only where it was asked for


def test_openvino_computes_in_f32_even_where_it_would_take_less(plain, image) -> None:
    need_openvino()
    from fullconv.runtimes.in_openvino import _openvino

    expected = open_runtime(plain, "onnxruntime").run(image)[0]
    scores = open_runtime(plain, "openvino").run(image)[0]
    scale = np.abs(expected).max()
    assert np.abs(scores - expected).max() < 1e-5 * scale
    core = _openvino().Core()
    free = core.compile_model(core.read_model(plain.model.SerializeToString()), "CPU")
    if np.abs(free([image])[0] - expected).max() < 1e-5 * scale:
        pytest.skip("on this processor OpenVINO computes in f32 by itself: it could not show")


@contextlib.contextmanager
def torch_may_take_bfloat16() -> Iterator[None]:
    """Allow it for convolutions of float32, as a user does."""
    import torch

    conv = torch.backends.mkldnn.conv
    before = conv.fp32_precision
    conv.fp32_precision = "bf16"
    try:
        yield
        assert conv.fp32_precision == "bf16"
    finally:
        conv.fp32_precision = before


def scores_of_torch(model: Any, image: np.ndarray) -> np.ndarray:
    """Return what a module gives by itself, under the user's settings."""
    import torch

    with torch.no_grad():
        return model(torch.from_numpy(image)).numpy()


def test_torch_is_told_to_compute_in_f32_whatever_the_user_has_set(image) -> None:
    """Holds on every processor, also where bfloat16 is never taken."""
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(16, 2, 3), torch.nn.Flatten())
    fcn = fullconv.convert(model.eval(), window=(3, 3))
    seen = []
    settings = torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul
    fcn.model.register_forward_hook(lambda *_: seen.extend(one.fp32_precision for one in settings))
    with torch_may_take_bfloat16():
        open_runtime(fcn).run(image)
        assert seen == ["ieee", "ieee"]
        scores_of_torch(fcn.model, image)
        assert seen[2] == "bf16"


def test_torch_computes_in_f32_whatever_the_user_has_set(image) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Conv2d(16, 64, 3)
    model = torch.nn.Sequential(layer, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    fcn = fullconv.convert(model.eval(), window=(16, 16))
    runtime = open_runtime(fcn)
    expected = runtime.run(image)
    plain = scores_of_torch(layer, image)
    with torch_may_take_bfloat16():
        assert_equal(runtime.run(image), expected)
        # Whether it is taken is for oneDNN to say: some processors that have it are not asked.
        if np.array_equal(scores_of_torch(layer, image), plain):
            pytest.skip("oneDNN convolves in float32 here, also where it may take bfloat16")
        assert not np.array_equal(scores_of_torch(fcn.model, image), expected[0])


@pytest.mark.parametrize(
    ("name", "precision"), [("torch", "bf16"), ("torch", "f16"), ("openvino", "bf16")]
)
def test_less_precision_comes_back_as_float32_that_is_close(small, name, precision) -> None:
    fcn, images, _ = small
    if name == "openvino":
        need_openvino()
    noise = np.random.default_rng(2).standard_normal(images.shape).astype(np.float32)
    exact = open_runtime(fcn).run(noise)[0]
    try:
        runtime = open_runtime(fcn, name, precision=precision)
    except InputError as error:
        pytest.skip(str(error))
    scores = runtime.run(noise)[0]
    assert (scores.dtype, runtime.precision) == (np.float32, precision)
    apart = np.abs(scores - exact).max() / np.abs(exact).max()
    assert 0 < apart < 0.03


def test_the_users_model_keeps_its_precision_and_mode(small) -> None:
    import torch

    fcn, images, expected = small
    fcn.model.train()
    try:
        open_runtime(fcn, precision="bf16").run(images)
        assert_equal(open_runtime(fcn).run(images), [expected])
        assert fcn.model.training
    finally:
        fcn.model.eval()
    assert {parameter.dtype for parameter in fcn.model.parameters()} == {torch.float32}


def test_lanes_of_torch_share_the_mode_and_the_precision_until_the_last_is_done() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.Dropout(), torch.nn.Flatten(), torch.nn.Linear(144, 2)
    )
    fcn = fullconv.convert(model, (8, 8), 1)
    fcn.model.train()
    before = torch.backends.mkldnn.conv.fp32_precision
    images = [integers((1, 1, 40, 50), seed) for seed in range(24)]
    with open_runtime(fcn, "torch") as alone, open_runtime(fcn, "torch", lanes=3) as runtime:
        wanted = [alone.run(image)[0] for image in images]
        with ThreadPoolExecutor(runtime.lanes) as lanes:
            made = list(lanes.map(lambda image: runtime.run(image)[0], images))
    assert runtime.lanes == 3
    assert all(np.array_equal(a, b) for a, b in zip(made, wanted, strict=True))
    assert fcn.model.training
    assert torch.backends.mkldnn.conv.fp32_precision == before


def test_a_torch_model_in_double_stays_in_double() -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 4), torch.nn.Flatten()).double().eval()
    fcn = fullconv.convert(model, window=(4, 4))
    images = integers((1, 1, 9, 9))
    expected = fcn(torch.from_numpy(images.astype(np.float64))).numpy()
    assert expected.dtype == np.float64
    assert_equal(open_runtime(fcn).run(images), [expected])


def test_openvino_refuses_a_model_in_double() -> None:
    need_openvino()
    # ONNX Runtime has no convolution in double precision, so nothing can be compared.
    model = conv_model(integers((2, 1, 4, 4)), (1, 1), np.float64)
    fcn = fullconv.convert(model, check=False)
    message = (
        "openvino computes in single precision, and the model is written in double; choose the "
        "runtime onnxruntime."
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        open_runtime(fcn, "openvino")


def test_cuda_gives_the_crops_scores(small) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    fcn, images, expected = small
    runtime = open_runtime(fcn, device="cuda")
    assert runtime.device == "cuda"
    assert_equal(runtime.run(images), [expected])


# ---------------------------------------------------------------------------------------------
# Choosing


def test_the_native_runtime_comes_first(plain, small) -> None:
    assert runtimes_for(plain)[0] == "onnxruntime"
    assert runtimes_for(small[0])[:2] == ["torch", "onnxruntime"]


@pytest.mark.parametrize(("machine", "is_taken"), [("x86_64", True), ("aarch64", False)])
def test_openvino_is_chosen_where_it_is_right(plain, monkeypatch, machine, is_taken) -> None:
    need_openvino()
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert ("openvino" in runtimes_for(plain)) == is_taken


def test_the_fastest_is_one_that_runs(plain, image, monkeypatch) -> None:
    monkeypatch.setattr(choosing, "MEASURED_S", 0.02)
    runtime = fastest(plain, image.shape)
    assert runtime.name in runtimes_for(plain)
    assert runtime.run(image)[0].shape[-2:] == plain.grid.shape(image.shape[2:])
    assert fastest(plain, image.shape, candidates=["torch", "onnxruntime"]).name == "onnxruntime"


def test_the_fastest_of_two_is_the_one_that_takes_less_time(small, monkeypatch) -> None:
    fcn, images, _ = small
    times = {"torch": 2.0, "onnxruntime": 1.0}
    monkeypatch.setattr(choosing, "_measure", lambda runtime, image: times[runtime.name])
    assert fastest(fcn, images.shape, candidates=["torch", "onnxruntime"]).name == "onnxruntime"
    times["onnxruntime"] = 3.0
    assert fastest(fcn, images.shape, candidates=["torch", "onnxruntime"]).name == "torch"


def test_where_none_can_the_first_says_why(plain, image) -> None:
    with pytest.raises(InputError, match=r"^runtime 'torch': the model is ONNX"):
        fastest(plain, image.shape, candidates=["torch"])


REFUSED = [
    (
        {"name": "tensorrt"},
        "runtime 'tensorrt': expected native, torch, onnxruntime, openvino.",
    ),
    ({"precision": "int8"}, "precision 'int8': expected f32, bf16, f16."),
    (
        {"name": "torch"},
        "runtime 'torch': the model is ONNX, which PyTorch does not run; choose onnxruntime or "
        "openvino, or convert the PyTorch model itself.",
    ),
    (
        {"precision": "bf16"},
        "precision 'bf16': onnxruntime computes in f32 or f16 on the CPU; choose f16, or for bf16 "
        "the runtime openvino, or torch with a PyTorch model.",
    ),
    (
        {"name": "torch", "precision": "f16"},
        "runtime 'torch': the model is ONNX, which PyTorch does not run; choose onnxruntime, or "
        "convert the PyTorch model itself.",
    ),
    (
        {"device": "cuda"},
        "device 'cuda': onnxruntime runs on the CPU here; leave the device out, or choose the "
        "runtime torch with a PyTorch model.",
    ),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_an_onnx_model_cannot_have_is_refused_in_one_line(plain, options, message) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        open_runtime(plain, **options)


def test_openvino_refuses_f16(plain) -> None:
    need_openvino()
    message = (
        "precision 'f16': openvino computes in f32 or bf16 here; choose bf16, or the runtime "
        "onnxruntime."
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        open_runtime(plain, "openvino", precision="f16")


def test_torch_refuses_devices_that_are_not_there(small) -> None:
    torch = pytest.importorskip("torch")
    for device in ("mps", "toaster"):
        with pytest.raises(InputError, match=f"^device '{device}': expected 'cpu' or 'cuda'.$"):
            open_runtime(small[0], device=device)
    if torch.cuda.is_available():
        pytest.skip("CUDA is there")
    message = (
        "device 'cuda': PyTorch sees no CUDA device here; leave the device out, or install a build "
        "of PyTorch for your GPU's driver."
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        open_runtime(small[0], device="cuda")


def test_openvino_refuses_an_operator_that_it_does_not_have_by_name() -> None:
    need_openvino()
    made = (
        convert(network, in_onnx(network)[0], step)
        for network, step, _, _ in drawn("onnx", 0)
        if "circular" in repr(network)
    )
    fcn = next(fcn for fcn in made if b"wrap" in fcn.model.SerializeToString())
    message = (
        "openvino cannot run the model (Unsupported padding mode: [wrap]); choose the runtime "
        "onnxruntime."
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        open_runtime(fcn, "openvino")


def test_openvino_refuses_in_bf16_what_would_crash_it() -> None:
    need_openvino()
    model = conv_model(integers((2, 8, 4, 1)), (1, 1), pads=[1, 0, 0, 1])
    fcn = fullconv.convert(model, exact=False)
    with pytest.raises(ModelError) as refused:
        open_runtime(fcn, "openvino", precision="bf16")
    pattern = (
        r"openvino computes convolutions that are padded by more than their kernel wrong in bf16, "
        r"and '[^']+' is one; choose f32, or another runtime\."
    )
    assert re.fullmatch(pattern, str(refused.value))


def test_what_fails_while_running_is_told_in_one_line(plain, image) -> None:
    runtime = open_runtime(plain)
    runtime.close()
    message = (
        "onnxruntime (f32) cannot run the model on 40x40 pixels (width x height): it is closed. "
        "Choose another runtime, or smaller tiles."
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        runtime.run(image)


def test_openvino_that_is_not_installed_is_named(plain, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    message = (
        "The runtime openvino needs the optional packages of the 'openvino' extra, which are not "
        'installed. Install them with: pip install "fullconv[openvino]"'
    )
    with pytest.raises(MissingExtraError, match=f"^{re.escape(message)}$") as refused:
        open_runtime(plain, "openvino")
    assert isinstance(refused.value, FullconvError)


def test_openvino_leaves_no_file_behind(plain, image, tmp_path) -> None:
    need_openvino()
    plain.save(tmp_path / "model.onnx")
    code = (
        "import numpy as np, fullconv\n"
        "from fullconv.runtimes import open_runtime\n"
        "fcn = fullconv.load('model.onnx')\n"
        "open_runtime(fcn, 'openvino').run(np.zeros((1, 16, 20, 20), np.float32))\n"
    )
    home = {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=home, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx"]
