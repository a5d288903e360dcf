"""What a model file holds, read without running anything from it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import fullconv
from bad_files import write_onnx
from fullconv.cli.group import commands

FILES = Path(__file__).parent / "files"
NUMBERS = 4 * 3 * 3 * 3 + 4 + 2 * 4 * 14 * 14 + 2
"""Of a 3x3 convolution to 4 channels, and 2 filters of what it gives for a window of 16x16."""


def net():
    torch.manual_seed(0)
    head = nn.Linear(4 * 14 * 14, 2)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), head).eval()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """The same network in two files."""
    folder = tmp_path_factory.mktemp("converted")
    held = fullconv.Preprocessing(scale=1 / 255, mean=(0.5,), std=(0.25,))
    fcn = fullconv.convert(net(), (16, 16), (4, 2), classes=["no", "other"], preprocessing=held)
    fcn.save(folder / "net.onnx")
    fcn.save(folder / "net.pt2")
    return fcn, folder


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2"])
def test_a_converted_file_says_everything_that_saving_wrote(converted, name):
    fcn, folder = converted
    found = fullconv.inspect(folder / name)
    assert found.report == fullconv.load(folder / name).report
    assert found.shape == fcn.shape
    assert found.settings == (("no", "other"), "other", fcn.preprocessing)
    assert found.contents.weights.numbers == NUMBERS
    assert found.contents.weights.bytes == 4 * NUMBERS
    assert [value.shape[1] for value in found.contents.inputs] == [3]
    assert [value.dtype for value in found.contents.inputs] == ["float32"]
    # Nothing that the file carries is left out of the JSON.
    assert set(found.as_dict()["metadata"]) == set(found.contents.metadata)
    assert found.as_dict()["metadata"]["fullconv.step"] == [4, 2]


def test_the_table_has_a_line_for_each(converted):
    _, folder = converted
    result = CliRunner().invoke(commands, ["inspect", str(folder / "net.onnx")])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].endswith("kB), ONNX")
    assert f"by       fullconv {fullconv.__version__}" in lines
    assert set(str(fullconv.load(folder / "net.onnx").report).splitlines()) <= set(lines)
    for line in (
        "classes  no, other",
        "         the background is 'other'",
        "pixels   (pixel * 0.00392157 - mean) / std, mean 0.5, std 0.25, channels as RGB",
        "input    images (batch, 3, height, width) float32",
        f"weights  {NUMBERS / 1000:.3g} k numbers, {4 * NUMBERS / 1000:.1f} kB (float32)",
        "beside   fullconv.axes = first",
    ):
        assert line in lines


def test_a_classifier_is_said_to_be_one(tmp_path):
    write_onnx(tmp_path)
    path = tmp_path / "fixed.onnx"
    result = CliRunner().invoke(commands, ["inspect", str(path), "--json"])
    found = json.loads(result.stdout)
    assert found["converted"] is False
    assert found["report"] is None
    assert found["nodes"] == len(onnx.load(path).graph.node)
    assert f"result   not converted; 'fullconv convert {path} -o OUT' does that" in str(
        fullconv.inspect(path)
    )


def test_an_onnx_file_counts_what_lies_in_branches_and_other_domains(tmp_path):
    make = onnx.helper
    flag, x, z = (
        make.make_tensor_value_info(name, kind, [1])
        for name, kind in (("c", onnx.TensorProto.BOOL), ("x", onnx.TensorProto.FLOAT16), ("z", 1))
    )
    one = make.make_node("Constant", [], ["y"], value_float=1.0)
    inner = make.make_graph([one], "then", [], [make.make_tensor_value_info("y", 1, [])])
    branch = make.make_node("If", ["c"], ["w"], then_branch=inner, else_branch=inner)
    custom = make.make_node("F", ["x"], ["z"], domain="my")
    graph = make.make_graph([custom, branch], "g", [flag, x], [z])
    opsets = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("my", 3)]
    path = tmp_path / "odd.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    contents = fullconv.inspect(path).contents
    assert contents.operations == {"my.F": 1, "If": 1, "Constant": 2}
    assert contents.versions == {"IR version": "9", "opset": "20", "opset of my": "3"}
    assert list(map(str, contents.inputs)) == ["c (1) bool", "x (1) float16"]


def test_a_keras_file_is_read_without_keras_or_pytorch():
    path = FILES / "converted-before-axes.keras"
    code = (
        "import json, sys; from fullconv.cli.group import commands\n"
        f"try: commands.main(['inspect', {str(path)!r}, '--json'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'keras', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["converted"] is True
    assert found["report"]["window"] == [8, 7]
    assert found["inputs"][0]["shape"] == [None, None, None, 2]
    assert found["weights"]["numbers"] == 613


def test_hdf5_is_counted_without_the_optimizer(tmp_path):
    h5py = pytest.importorskip("h5py")
    layers = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 9, 9, 1], "name": "x"}},
        {"class_name": "Sequential", "config": [{"class_name": "Dense", "config": {}}]},
    ]
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as held:
        config = {"class_name": "Functional", "config": {"layers": layers}}
        held.attrs["model_config"] = json.dumps(config)
        held["model_weights/dense/kernel"] = np.zeros((3, 5), np.float32)
        held["optimizer_weights/kernel"] = np.zeros((3, 5), np.float32)
        held["link"] = h5py.ExternalLink("elsewhere.h5", "/x")
    found = fullconv.inspect(path)
    assert found.contents.operations == {"InputLayer": 1, "Dense": 1}
    assert found.contents.weights.types == {"float32": 15}
    assert [value.shape for value in found.contents.inputs] == [(None, 9, 9, 1)]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_named_and_not_loaded(tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.trace(net(), torch.zeros(1, 3, 16, 16)).save(str(path))
    found = fullconv.inspect(path)
    assert found.contents.format == "TorchScript"
    assert found.contents.weights.bytes == 4 * NUMBERS
    assert "nodes    not listed" in str(found)


def refusal(*arguments):
    result = CliRunner().invoke(commands, ["inspect", *map(str, arguments)])
    assert result.stdout == ""
    return result.stderr.removeprefix("fullconv: ").rstrip("\n"), result.exit_code


def test_what_cannot_be_read_is_refused_in_a_line(tmp_path, converted):
    _, folder = converted
    model = onnx.load(folder / "net.onnx")
    for entry in model.metadata_props:
        entry.value = "[0]" if entry.key == "fullconv.report" else entry.value
    damaged, cut, pickled = (tmp_path / name for name in ("a.onnx", "b.pt2", "c.pth"))
    onnx.save(model, damaged)
    cut.write_bytes((folder / "net.pt2").read_bytes()[:9000])
    pickled.write_bytes(b"\x80\x04N.")
    assert refusal(damaged) == (
        f"error: inspect {damaged}: its fullconv metadata cannot be read ([0] has no names); "
        f"convert the original model again.",
        3,
    )
    assert refusal(cut) == (
        f"error: {cut} is not a .pt2 file, or it is cut short; save the model again with "
        f"torch.export.save.",
        3,
    )
    assert refusal(tmp_path)[1] == 2
    line, code = refusal(pickled)
    assert line.startswith(f"error: {pickled} looks like a pickle, which runs code")
    assert code == 3
    line, code = refusal(tmp_path / "none.pt2")
    assert line == f"error: {tmp_path / 'none.pt2'}: no such file; check the path of the model."


def test_a_program_that_says_nonsense_is_one_line(tmp_path, converted):
    _, folder = converted
    path = tmp_path / "odd.pt2"
    with zipfile.ZipFile(folder / "net.pt2") as held, zipfile.ZipFile(path, "w") as written:
        for entry in held.infolist():
            data = held.read(entry)
            if entry.filename.endswith("models/model.json"):
                data = b'{"graph_module": {"graph": {"nodes": 3}}}'
            written.writestr(entry.filename, data)
    line, code = refusal(path)
    assert line.startswith(f"error: {path} is not a .pt2 file, or it is cut short")
    assert code == 3
