"""Files that nobody should feed to fullconv, and some that they may, for `test_bad_input`."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

NETS = """
import torch
from torch import nn


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 2))


def features():
    return nn.Linear(10, 2)


class Two(nn.Module):
    def forward(self, left, right):
        return (left + right).mean((2, 3))


def odd():
    model = tiny()
    with torch.no_grad():
        model[0].weight[0, 0, 0, 0] = float("nan")
        model[3].bias[0] = float("inf")
    return model


def fails():
    raise RuntimeError("disk on fire\\nand more")


def number():
    return 3


three = 3
"""


MAKE_RAN = list(b"import os; os.mkdir('RAN')")  # without a dot, at which names are split
ARMED_NAME = f'0"), exec(bytes({MAKE_RAN})), ("x.weight'
"""A weight's name that ends the quotes which PyTorch writes it between."""


class Evil:
    """A pickle of this makes the folder ``RAN`` when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("RAN",)


def image_input(name, *sizes):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *sizes])


def classifier(inputs, first=()):
    """Return an ONNX classifier of 16x16 windows: convolution, flatten, fully connected."""
    rng = np.random.default_rng(0)
    weights = {"w": (4, 3, 3, 3), "fw": (2, 784), "fb": (2,)}
    x = "sum" if first else "x"
    graph = helper.make_graph(
        [
            *first,
            helper.make_node("Conv", [x, "w"], ["c"], name="conv"),
            helper.make_node("Flatten", ["c"], ["f"], name="flatten"),
            helper.make_node("Gemm", ["f", "fw", "fb"], ["y"], name="head", transB=1),
        ],
        "classifier",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        [
            numpy_helper.from_array(rng.integers(-2, 3, shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_onnx(folder: Path) -> None:
    """Write the ONNX models and the images."""
    rng = np.random.default_rng(0)
    fixed = classifier([image_input("x", 3, 16, 16)])
    onnx.save(fixed, folder / "fixed.onnx")
    onnx.save(classifier([image_input("x", 3, "H", "W")]), folder / "free.onnx")
    add = helper.make_node("Add", ["x", "z"], ["sum"])
    inputs = [image_input("x", 3, 16, 16), image_input("z", 3, 16, 16)]
    onnx.save(classifier(inputs, [add]), folder / "two.onnx")
    flat = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "flat",
        [image_input("x", 10)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
    )
    onnx.save(helper.make_model(flat, ir_version=8), folder / "flat.onnx")
    odd = classifier([image_input("x", 3, 16, 16)])
    odd.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.full((4, 3, 3, 3), np.nan, np.float32), "w")
    )
    onnx.save(odd, folder / "odd.onnx")
    whole = (folder / "fixed.onnx").read_bytes()
    (folder / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "random.onnx").write_bytes(rng.bytes(2000))
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "pickle.onnx").write_bytes(pickle.dumps(Evil()))
    (folder / "pickle.pkl").write_bytes(pickle.dumps(Evil()))
    (folder / "pickle.pt").write_bytes(pickle.dumps(Evil()))
    (folder / "pickle.pth").write_bytes(pickle.dumps(Evil()))
    write_external(folder, fixed)
    (folder / "a_folder").mkdir()

    noise = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "image.png")
    Image.fromarray(noise[:10]).save(folder / "small.png")
    whole = (folder / "image.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "random.png").write_bytes(rng.bytes(500))


def write_external(folder: Path, fixed: onnx.ModelProto) -> None:
    """Write models whose first weight lies in another file, in ``ext/``."""
    (folder / "ext").mkdir()
    (folder / "secret.bin").write_bytes(bytes(4 * 4 * 3 * 3 * 3))
    (folder / "ext" / "link.bin").symlink_to("../secret.bin")
    places = {
        "up": "../secret.bin",
        "absolute": str(folder / "secret.bin"),
        "link": "link.bin",
        "missing": "none.bin",
    }
    for name, place in places.items():
        model = onnx.ModelProto()
        model.CopyFrom(fixed)
        weight = model.graph.initializer[0]
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=place)
        (folder / "ext" / f"{name}.onnx").write_bytes(model.SerializeToString())


def write_torch(folder: Path) -> None:
    """Write the PyTorch models and weights."""
    import torch
    from torch import nn

    rng = np.random.default_rng(0)
    (folder / "badnets.py").write_text(NETS)
    (folder / "badimport.py").write_text("import no_such_thing\n")
    (folder / "badsyntax.py").write_text("def x(:\n")
    torch.manual_seed(0)
    tiny = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(196, 2))
    torch.export.save(torch.export.export(tiny, (torch.zeros(2, 3, 16, 16),)), folder / "fixed.pt2")
    linear = torch.export.export(nn.Linear(10, 2), (torch.zeros(2, 10),))
    torch.export.save(linear, folder / "flat.pt2")
    bilinear = torch.export.export(nn.PairwiseDistance(), (torch.zeros(2, 3, 16, 16),) * 2)
    torch.export.save(bilinear, folder / "two.pt2")
    whole = (folder / "fixed.pt2").read_bytes()
    (folder / "cut.pt2").write_bytes(whole[: len(whole) // 2])
    (folder / "random.pt2").write_bytes(rng.bytes(2000))
    torch.save(tiny.state_dict(), folder / "good.pt")
    torch.save(tiny, folder / "module.pt")
    torch.save(Evil(), folder / "evil.pt")
    torch.save(Evil(), folder / "renamed.pt2")
    torch.save(nn.Linear(10, 2).state_dict(), folder / "other.pt")
    (folder / "random.pt").write_bytes(rng.bytes(500))
    (folder / "random.safetensors").write_bytes(rng.bytes(500))
    write_armed(folder)


def write_armed(folder: Path) -> None:
    """Write ``.pt2`` archives that would run code in each way that PyTorch's loader offers."""
    import torch

    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    evil = buffer.getvalue()

    def rewrite(name, change, more=()):
        with (
            zipfile.ZipFile(folder / "fixed.pt2") as old,
            zipfile.ZipFile(folder / name, "w") as new,
        ):
            for entry in old.namelist():
                new.writestr(entry, change(entry.partition("/")[2], old.read(entry)))
            for entry, data in more:
                new.writestr(f"fixed/{entry}", data)

    def weight(entry, data):
        if entry.endswith("weights_config.json"):
            config = json.loads(data)
            config["config"]["0.weight"]["use_pickle"] = True
            return json.dumps(config)
        return evil if entry.endswith("weight_0") else data

    def constant(entry, data):
        if not entry.endswith("constants_config.json"):
            return data
        held = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True}
        return json.dumps({"config": {"c": {**held, "tensor_meta": None}}})

    def call(entry, data):
        return data.replace(b"torch.ops.aten.relu.default", b"torch.os.system")

    def expression(entry, data):
        if not entry.startswith("models/"):
            return data
        program = json.loads(data)
        expr = {"as_expr": {"expr_str": "open('RAN', 'w')", "hint": {"as_int": 3}}}
        for held in program["graph_module"]["graph"]["tensor_values"].values():
            held["sizes"] = [expr, *held["sizes"][1:]]
        return json.dumps(program)

    def name(entry, data):
        return data.replace(b'"0.weight"', json.dumps(ARMED_NAME).encode())

    rewrite("armed_sample.pt2", lambda e, d: evil if "sample_inputs" in e else d)
    rewrite("armed_weight.pt2", weight)
    armed = [("data/constants/opaque_obj_0", pickle.dumps(Evil()))]
    rewrite("armed_constant.pt2", constant, armed)
    rewrite("armed_call.pt2", call)
    rewrite("armed_expression.pt2", expression)
    rewrite("armed_name.pt2", name)
    rewrite("armed_layer.pt2", lambda e, d: d.replace(b"L__self__0,0,", b'L__self__0,0\\",'))
    rewrite("armed_library.pt2", lambda e, d: d, [("data/aotinductor/model/x.so", b"library")])


def listing(folder: Path) -> set[str]:
    """Name everything below a folder, but for Python's own caches."""
    return {
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, folders, names in os.walk(folder)
        for name in [*folders, *names]
        if "__pycache__" not in os.path.join(parent, name)
    }
