"""Bad input gets one clear line and an exit code, runs nothing, and leaves nothing half-written."""

import re
import sys
import zipfile

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import fullconv
from bad_files import ARMED_NAME, listing, write_onnx, write_torch
from fullconv.cli.group import commands

ANY_STEP = (
    "Any whole number of pixels can be had; the divisors and multiples of the network's own "
    "stride are the cheapest."
)
BAD_STEP = (
    "explain: Invalid value for '--step': expected whole pixels of at least 1, one number for both "
    "directions as in 8, or WIDTHxHEIGHT as in 16x8; got {!r}. Any such step can be had; the "
    "divisors and multiples of the network's own stride are the cheapest. See 'fullconv explain "
    "--help'."
)
BAD_WINDOW = (
    "explain: Invalid value for '--window': expected WIDTHxHEIGHT in whole pixels of at least 1, "
    "as in 64x128; got {!r}. See 'fullconv explain --help'."
)
CUT_ONNX = "{} is not an ONNX model, or it is cut short (<any>); export or copy it again."
CUT_PT2 = "{} is not a .pt2 file, or it is cut short; save the model again with torch.export.save."
PICKLE = (
    "{} looks like a pickle, which runs code when it is loaded; fullconv does not open it. Save "
    "the model with torch.export.save(..., 'model.pt2') or as .onnx; or, on the command line, name "
    "its code, package.module:callable, and its state dict, --weights file.safetensors or .pt."
)
OUTSIDE = (
    "{}: its weight 'w' points to {}, outside the model's own folder; fullconv does not follow it. "
    "Put the data file beside the model."
)
ARMED = (
    "{} holds {}, and loading that could run code from the file; fullconv does not. Export the "
    "model again with torch.export.save from plain tensors, or as .onnx."
)
ENDING = (
    "{}: the kind of model is told by its ending, and {}. Give a .pt2 (torch.export), .pt "
    "(TorchScript), .onnx, .keras, .h5 or .hdf5 file; or, on the command line, code as "
    "package.module:callable."
)
NOWHERE = "cannot write {}: {}; choose a folder that exists and that you may write to."
SMALL = (
    "the image is 50x10 pixels (width x height), smaller than one window of 16x16; enlarge or pad "
    "the image to at least the window."
)
ONE_INPUT = (
    "convert: expected a model with one image input (N, C, H, W); the model's inputs are {}. "
    "Export the classifier with the image as its only input."
)
ONE_PROGRAM_INPUT = (
    "convert: expected a program with one image input (N, C, H, W); it has {}. Export the "
    "classifier with the image as its only input."
)
WRONG_WINDOW = (
    "convert(window=({0}, {0})): the model does not take images of {0}x{0} pixels (width x "
    "height): {1}. Give the size it was trained on"
)
NO_FEATURES = "; of a model of feature vectors, window=(1, 1), or --window 1x1."

ONNX = [
    ("verify fixed.onnx small.png", 2, SMALL),
    (
        "verify fixed.onnx cut.png",
        2,
        "cut.png cannot be read: the file is damaged or cut short (<any>); copy or save it again.",
    ),
    (
        "verify fixed.onnx random.png",
        2,
        "random.png is not an image, or of a kind that fullconv does not know; give a PNG, JPEG, "
        "TIFF, or zarr, or with the extras 'wsi' and 'geo' a whole slide or a GDAL raster.",
    ),
    ("verify fixed.onnx no.png", 2, "no.png: no such file; check the path of the image."),
    (
        "verify fixed.onnx a_folder",
        2,
        "a_folder is a folder without zarr metadata; give an image in it, or a zarr folder.",
    ),
    ("explain no.onnx", 3, "no.onnx: no such file; check the path of the model."),
    (
        "explain a_folder",
        3,
        "a_folder is a folder without config.json; give the model file inside it, or a folder as "
        "WSInfer, timm and transformers keep them, with config.json beside the weights.",
    ),
    ("explain model.tflite", 3, ENDING.format("model.tflite", "'.tflite' is not known")),
    ("explain model", 3, ENDING.format("model", "it has none")),
    ("explain two.onnx", 3, ONE_INPUT.format("x (N, 3, 16, 16), z (N, 3, 16, 16)")),
    (
        "explain fixed.onnx --window 20x24",
        2,
        "convert(window=(24, 20)): the model takes images of 16x16 pixels (width x height) and no "
        "other; leave the window out, or give (16, 16).",
    ),
    (
        "explain free.onnx",
        2,
        "convert: the model leaves height and width free, so the window it was trained on must be "
        "given: window=(height, width), or --window WIDTHxHEIGHT.",
    ),
    (
        "explain free.onnx --window 20x20",
        2,
        WRONG_WINDOW.format(20, "Gemm 'head' says <any> 784 and 1296") + ".",
    ),
    ("explain cut.onnx", 3, CUT_ONNX.format("cut.onnx")),
    ("explain random.onnx", 3, CUT_ONNX.format("random.onnx")),
    ("explain empty.onnx", 3, CUT_ONNX.format("empty.onnx")),
    ("explain pickle.onnx", 3, CUT_ONNX.format("pickle.onnx")),
    ("explain pickle.pkl", 3, PICKLE.format("pickle.pkl")),
    ("explain pickle.pt", 3, PICKLE.format("pickle.pt")),
    ("explain pickle.pth", 3, PICKLE.format("pickle.pth")),
    ("explain ext/up.onnx", 3, OUTSIDE.format("ext/up.onnx", "'../secret.bin'")),
    ("explain ext/absolute.onnx", 3, OUTSIDE.format("ext/absolute.onnx", "'<any>/secret.bin'")),
    ("explain ext/link.onnx", 3, OUTSIDE.format("ext/link.onnx", "'link.bin'")),
    (
        "explain ext/missing.onnx",
        3,
        "ext/missing.onnx: its external data cannot be read (<any>); keep the data file beside the "
        "model.",
    ),
    *[(f"explain fixed.onnx --step {s}", 2, BAD_STEP.format(s)) for s in ("0", "-4", "2.5")],
    (
        "explain fixed.onnx --step 1x2x3",
        2,
        "convert(step=(3, 2, 1)): expected two whole numbers of at least 1 pixel, (rows, "
        f"columns), or one for both; got numbers for 3 axes. {ANY_STEP}",
    ),
    ("explain fixed.onnx --step 1x2x3x4", 2, BAD_STEP.format("1x2x3x4")),
    ("explain fixed.onnx --step 1,2", 2, BAD_STEP.format("1,2")),
    *[(f"explain fixed.onnx --window {w}", 2, BAD_WINDOW.format(w)) for w in ("0", "0x16", "big")],
    *[
        (
            f"explain fixed.onnx --image {size}",
            2,
            BAD_WINDOW.replace("window", "image").format(size),
        )
        for size in ("16x", "0x16", "1x2x3x4")
    ],
    (
        "explain fixed.onnx --image 40x40x40",
        2,
        "image=(40, 40, 40) (--image 40x40x40): the model takes images; expected two whole numbers "
        "of at least 1 pixel, (rows, columns); got a size along 3 axes.",
    ),
    (
        "explain fixed.onnx --image 40x8",
        2,
        "the image is 40x8 pixels (width x height), smaller than one window of 16x16; enlarge or "
        "pad the image to at least the window.",
    ),
    (
        "convert fixed.onnx -o no/x.onnx",
        3,
        NOWHERE.format("no/x.onnx", "No such file or directory"),
    ),
    (
        "convert fixed.onnx -o image.png/x.onnx",
        3,
        NOWHERE.format("image.png/x.onnx", "Not a directory"),
    ),
    (
        "convert fixed.onnx -o a_folder",
        2,
        "convert -o a_folder: the kind of file is told by its ending; use .onnx, .pt2 for "
        "PyTorch, or .keras for Keras.",
    ),
    (
        "convert fixed.onnx -o x.pt2",
        3,
        "save('x.pt2'): a model converted from ONNX is saved as .onnx; choose that ending.",
    ),
    (
        "convert fixed.onnx -o fixed.onnx",
        2,
        "convert -o fixed.onnx: that is the classifier itself, which would be lost; choose another "
        "name.",
    ),
    (
        "convert fixed.onnx -o x.onnx --mean 1,2",
        2,
        "convert --mean: expected one number, or 3, one per channel of the model; got 2.",
    ),
    (
        "convert fixed.onnx -o x.onnx --std 0",
        2,
        "Preprocessing(std=(0.0,)): a std of 0 divides by zero; give each channel's standard "
        "deviation, or 1.",
    ),
    (
        "convert fixed.onnx -o x.onnx --std 1,b",
        2,
        "convert: Invalid value for '--std': expected numbers between commas, as in "
        "0.485,0.456,0.406; got '1,b'. See 'fullconv convert --help'.",
    ),
]

TORCH = [
    (
        "explain badnets:features --window 16x16",
        2,
        WRONG_WINDOW.format(16, "mat1 and mat2 shapes cannot be multiplied <any>") + NO_FEATURES,
    ),
    (
        "explain badnets:tiny --window 20x20",
        2,
        WRONG_WINDOW.format(20, "mat1 and mat2 shapes cannot be multiplied <any>") + NO_FEATURES,
    ),
    (
        "explain badnets:tiny",
        2,
        "convert(model): a torch.nn.Module does not say which size it was trained on; give "
        "window=(height, width), or --window WIDTHxHEIGHT.",
    ),
    (
        "explain badnets:Two --window 16x16",
        3,
        "convert: expected a model with one image input, forward(image); its forward takes 2 "
        "inputs: left, right. Wrap it in a module that takes the image alone.",
    ),
    (
        "explain fixed.pt2 --window 20x20",
        2,
        "convert(window=(20, 20)): the program was exported for images of 16x16 pixels (width x "
        "height) and no other; leave the window out, or give (16, 16).",
    ),
    (
        "explain two.pt2",
        3,
        ONE_PROGRAM_INPUT.format("2 inputs: (2, 3, 16, 16), (2, 3, 16, 16)"),
    ),
    ("explain cut.pt2", 3, CUT_PT2.format("cut.pt2")),
    ("explain random.pt2", 3, CUT_PT2.format("random.pt2")),
    (
        "explain renamed.pt2",
        3,
        "renamed.pt2 is a pickle by another name, from torch.save, and loading it could run code "
        "from the file; fullconv does not. Export the model with torch.export.save, or as .onnx.",
    ),
    *[
        (f"explain armed_{way}.pt2", 3, ARMED.format(f"armed_{way}.pt2: it", what))
        for way, what in {
            "sample": "a pickle of more than tensors among its sample inputs",
            "weight": "a pickle of more than tensors as '0.weight'",
            "constant": "the object 'c', which is no tensor",
            "call": "the call 'torch.os.system', which is no operator",
            "expression": "the expression \"open('RAN', 'w')\", which computes no size",
            "layer": "the name 'L__self__,,torch.nn.modules.container.Sequential;L__self__0,', "
            "which is code",
            "name": f"the name {ARMED_NAME[:60]!r}, which is code",
            "library": "compiled libraries",
        }.items()
    ],
    (
        "explain badnets:no",
        2,
        "badnets:no: badnets has no 'no'; check the name after the colon.",
    ),
    (
        "explain no_module:x",
        2,
        "no_module:x: there is no module 'no_module', neither in the current folder nor among the "
        "installed packages; check its name.",
    ),
    (
        "explain badimport:x",
        3,
        "badimport:x: importing badimport failed, because there is no module 'no_such_thing'; "
        "install it.",
    ),
    (
        "explain badsyntax:x",
        3,
        "badsyntax:x: importing badsyntax failed with SyntaxError: <any>. Fix it, and try again.",
    ),
    (
        "explain badnets:fails",
        3,
        "badnets:fails: calling it without arguments failed with RuntimeError: disk on fire. "
        "Name a function that builds the model by itself.",
    ),
    (
        "explain badnets:number",
        3,
        "badnets:number: expected a callable that returns a torch.nn.Module; it returned int.",
    ),
    (
        "explain badnets:three",
        3,
        "badnets:three: expected a callable that returns a torch.nn.Module; it is int.",
    ),
    (
        "explain fixed.onnx --weights good.pt",
        2,
        "--weights good.pt: fixed.onnx is a file and holds its own weights; leave --weights out, "
        "or name the model's code: package.module:callable.",
    ),
    (
        "explain badnets:tiny --weights module.pt",
        3,
        "--weights module.pt: it holds more than tensors (torch.nn.modules.container.Sequential), "
        "and loading that would run code from the file; fullconv does not. Save the state dict "
        "alone, with torch.save(model.state_dict(), ...), or as .safetensors.",
    ),
    (
        "explain badnets:tiny --weights evil.pt",
        3,
        "--weights evil.pt: it holds more than tensors (<any>mkdir), and loading that would run "
        "code from the file; fullconv does not. Save the state dict alone, with "
        "torch.save(model.state_dict(), ...), or as .safetensors.",
    ),
    (
        "explain badnets:tiny --weights random.pt",
        3,
        "--weights random.pt: not a PyTorch state dict, or cut short; save it again with "
        "torch.save(model.state_dict(), ...), or as .safetensors.",
    ),
    (
        "explain badnets:tiny --weights random.safetensors",
        3,
        "--weights random.safetensors: not a .safetensors file, or cut short (<any>); save or copy "
        "it again.",
    ),
    (
        "explain badnets:tiny --weights other.pt",
        3,
        "--weights other.pt does not fit badnets:tiny: it lacks '0.weight', '0.bias', "
        "'3.weight', '3.bias'; the model has no 'weight', 'bias'. Give the weights that were "
        "trained with this code.",
    ),
    (
        "convert badnets:tiny --window 16x16 -o image.png/x.pt2",
        3,
        NOWHERE.format("image.png/x.pt2", "Not a directory"),
    ),
]


def says(line, expected):
    """Whether a line is the expected one, in which ``<any>`` stands for others' words."""
    pattern = ".+".join(re.escape(part) for part in expected.split("<any>"))
    return re.fullmatch(pattern, line) is not None


@pytest.fixture(scope="module")
def onnx_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    write_onnx(folder)
    return folder


@pytest.fixture(scope="module")
def all_files(onnx_files):
    pytest.importorskip("torch")
    write_torch(onnx_files)
    return onnx_files


def check_line(folder, monkeypatch, arguments, exit_code, expected):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = listing(folder)
    result = CliRunner().invoke(commands, arguments.split())
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    line = result.stderr.removesuffix("\n")
    assert says(line, f"fullconv: error: {expected}"), line
    assert listing(folder) == before, "something was run, or left behind"


@pytest.mark.parametrize(("arguments", "exit_code", "expected"), ONNX, ids=lambda v: str(v)[:48])
def test_one_line_says_what_to_do(onnx_files, monkeypatch, arguments, exit_code, expected):
    check_line(onnx_files, monkeypatch, arguments, exit_code, expected)


@pytest.mark.parametrize(("arguments", "exit_code", "expected"), TORCH, ids=lambda v: str(v)[:48])
def test_one_line_says_what_to_do_for_pytorch(
    all_files, monkeypatch, arguments, exit_code, expected
):
    check_line(all_files, monkeypatch, arguments, exit_code, expected)


def test_an_armed_archive_would_run_code_if_it_were_not_refused(all_files, tmp_path, monkeypatch):
    from fullconv.frameworks.torch import framework

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(framework, "check_archive", lambda path: None)
    with pytest.raises(fullconv.FullconvError):
        fullconv.convert(all_files / "armed_weight.pt2")
    assert listing(tmp_path) == {"RAN"}


def test_an_armed_name_would_run_code_if_it_were_not_refused(all_files, tmp_path, monkeypatch):
    from fullconv.frameworks.torch import framework

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(framework, "check_archive", lambda path: None)
    path = all_files / "armed_name.pt2"
    fcn = fullconv.convert(path, check=False)
    with pytest.raises(AttributeError):
        fullconv.verify(fcn, path, fcn.framework.images(None, np.zeros((1, 3, 20, 20), "f")))
    assert listing(tmp_path) == {"RAN"}


@pytest.mark.parametrize("held", [0, 8, 428])
def test_a_pt2_record_that_is_shorter_than_its_weight_is_refused(
    all_files, tmp_path, monkeypatch, held
):
    monkeypatch.chdir(tmp_path)
    with (
        zipfile.ZipFile(all_files / "fixed.pt2") as old,
        zipfile.ZipFile("short.pt2", "w") as new,
    ):
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data[:held] if name.endswith("weights/weight_0") else data)
    with pytest.raises(fullconv.FullconvError) as caught:
        fullconv.convert("short.pt2")
    assert str(caught.value) == (
        f"short.pt2 cannot be read as a .pt2 file (it holds {held} bytes of '0.weight', which "
        f"takes 432); save the model again with torch.export.save, in this or a newer version of "
        f"PyTorch."
    )


def test_the_check_of_lines_can_fail():
    assert says("a (b) c", "a (<any>) c")
    assert not says("a (b) c d", "a (<any>) c")
    assert not says("a\nb", "a")


@pytest.mark.parametrize(
    ("step", "came"),
    [
        *[(step, "") for step in (0, -4, 2.5, "8", True, float("nan"))],
        ((1, 2, 3), "; got numbers for 3 axes"),
        ((4,), "; got numbers for 1 axis"),
    ],
)
def test_python_refuses_a_bad_step(onnx_files, step, came):
    with pytest.raises(fullconv.FullconvError) as caught:
        fullconv.convert(onnx_files / "fixed.onnx", step=step)
    assert str(caught.value) == (
        f"convert(step={step!r}): expected two whole numbers of at least 1 pixel, (rows, columns), "
        f"or one for both{came}. {ANY_STEP}"
    )
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "window", "exit_code", "expected"),
    [(line.split()[1], None, code, text) for line, code, text in ONNX if "ext/" in line]
    + [(f"{n}.onnx", None, 3, CUT_ONNX.format("<any>")) for n in ("cut", "random", "empty")]
    + [
        ("pickle.pkl", None, 3, PICKLE.format("<any>")),
        ("two.onnx", None, 3, ONE_INPUT.format("<any>")),
        ("free.onnx", (20, 20), 2, WRONG_WINDOW.format(20, "<any>") + "."),
        ("fixed.onnx", (20,), 2, "convert(window=(20,)): expected two whole numbers, <any>"),
    ],
)
def test_python_refuses_a_bad_model(onnx_files, monkeypatch, name, window, exit_code, expected):
    monkeypatch.chdir(onnx_files)
    before = listing(onnx_files)
    with pytest.raises(fullconv.FullconvError) as caught:
        fullconv.convert(name, window)
    assert says(str(caught.value), expected), caught.value
    assert caught.value.exit_code == exit_code
    assert listing(onnx_files) == before


def test_python_refuses_what_is_no_model():
    with pytest.raises(fullconv.FullconvError) as caught:
        fullconv.convert(3)
    assert str(caught.value) == (
        "expected a torch.nn.Module, a torch.export.ExportedProgram, an onnx.ModelProto, a "
        "keras.Model, or the path of a .pt2, .pt, .onnx, .keras, .h5 or .hdf5 file; got "
        "builtins.int."
    )


BAD_ARRAYS = [
    ((3, 40, 50), "fcn(images): expected (N, 3, H, W), four axes; got shape (3, 40, 50). <any>"),
    ((1, 1, 40, 50), "fcn(images): the model takes 3 channels, (N, 3, H, W); got 1 in shape <any>"),
    ((1, 3, 10, 50), SMALL),
]


@pytest.mark.parametrize(("shape", "expected"), BAD_ARRAYS)
def test_python_refuses_a_bad_array(onnx_files, shape, expected):
    path = onnx_files / "fixed.onnx"
    fcn, images = fullconv.convert(path), np.zeros(shape, np.float32)
    for call in (lambda: fcn(images), lambda: fullconv.verify(fcn, path, images)):
        with pytest.raises(fullconv.FullconvError) as caught:
            call()
        assert says(str(caught.value), expected), caught.value
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(("shape", "expected"), BAD_ARRAYS)
def test_python_refuses_a_bad_tensor(all_files, shape, expected):
    torch = pytest.importorskip("torch")
    fcn = fullconv.convert(all_files / "fixed.pt2")
    with pytest.raises(fullconv.FullconvError) as caught:
        fcn(torch.zeros(shape))
    assert says(str(caught.value), expected), caught.value


def test_an_image_too_large_to_take_at_once_is_refused_by_its_size(onnx_files, monkeypatch):
    monkeypatch.chdir(onnx_files)
    assert CliRunner().invoke(commands, ["verify", "fixed.onnx", "image.png"]).exit_code == 0
    monkeypatch.setattr("fullconv.cli.verify.LARGEST", 900)
    result = CliRunner().invoke(commands, ["verify", "fixed.onnx", "image.png"])
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: image.png has 50x40 pixels, too many to take at once; 'fullconv scan' "
        "takes it in tiles, and compares them with crops at its end.\n"
    )


WARNING = (
    "NaN or infinite weights in {}: every score they touch is meaningless; check the file they "
    "came from"
)


def test_nan_weights_are_warned_of_and_convert_all_the_same(onnx_files, tmp_path, monkeypatch):
    monkeypatch.chdir(onnx_files)
    fcn = fullconv.convert("odd.onnx")
    assert fcn.report.warnings == (WARNING.format("w"),)
    out = tmp_path / "x.onnx"
    result = CliRunner().invoke(commands, ["convert", "odd.onnx", "-o", str(out)])
    assert result.exit_code == 0
    assert f"warning  {WARNING.format('w')}\n" in result.stdout
    onnx.checker.check_model(onnx.load(out))


def test_nan_and_infinite_weights_of_pytorch_are_warned_of(all_files, monkeypatch):
    monkeypatch.chdir(all_files)
    monkeypatch.setattr(sys, "path", list(sys.path))
    result = CliRunner().invoke(commands, ["explain", "badnets:odd", "--window", "16x16"])
    assert result.exit_code == 0
    assert result.stdout.endswith(f"warning  {WARNING.format('0.weight, 3.bias')}\n")
