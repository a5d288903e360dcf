"""TorchScript files and modules: read through PyTorch's converter, and distrusted before."""

from __future__ import annotations

import copy
import json
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

import fullconv  # noqa: E402
from fullconv.cli.group import commands  # noqa: E402
from fullconv.frameworks import archives  # noqa: E402
from fullconv.frameworks.torch import script_program, torchscript  # noqa: E402
from fullconv.frameworks.torch.state import read_state  # noqa: E402
from models import Padded, Valid, integer_images, with_integers  # noqa: E402
from oracle import assert_same, scores_of_crops, torch_classifier  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Gate(nn.Module):
    """Normalized, padded by name, in place, with dropout and a global pool; windows of (8, 8)."""

    window = (8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding="same", bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor, scale: int = 2) -> Tensor:
        x = torch.relu_(self.norm(self.conv(x)))
        return self.head(self.drop(torch.amax(x, (2, 3)))) * scale


class Turned(nn.Module):
    """A transposed convolution; windows of (6, 6)."""

    window = (6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.up = nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 2, 2, stride=2)
        with torch.no_grad():
            self.up.weight.copy_(torch.arange(16.0).reshape(2, 2, 2, 2) % 3 - 1)
            self.up.bias.fill_(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.conv(x)).flatten(1)


class One(nn.Module):
    """Its trace keeps the number of images; windows of (6, 6)."""

    window = (6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).view(1, -1))


class Pair(NamedTuple):
    kind: Tensor
    place: tuple[Tensor, Tensor]


class Structured(nn.Module):
    """Several outputs, one in another; windows of (6, 6)."""

    window = (6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 6)

    def forward(self, x: Tensor) -> Pair:
        y = self.conv(x).flatten(1)
        return Pair(y, (y + 1, y * 2))


def scripted(model: nn.Module) -> Any:
    return torch.jit.script(model)


def traced(model: Any) -> Any:
    return torch.jit.trace(model, torch.zeros(1, 1, *model.window))


def frozen(model: nn.Module) -> Any:
    return torch.jit.freeze(torch.jit.script(model))


FORMS = [scripted, traced, frozen]


def save(model: Any, path: Path) -> Path:
    torch.jit.save(model, path)
    return path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("network", [Valid, Padded, Gate, Turned])
def test_every_window_equals_its_crop_and_shares(
    network: Any, form: Callable[[Any], Any], tmp_path: Path
) -> None:
    model = with_integers(network())
    path = save(form(model), tmp_path / "model.pt")
    height, width = model.window
    images = integer_images(2, 1, height + 9, width + 5)
    fcn = fullconv.convert(path, model.window, 2 if network is not Turned else 1)
    assert fcn.report.reasons == ()
    expected = scores_of_crops(torch_classifier(model), images, model.window, fcn.grid.step)
    assert_same(fcn(images), expected)


@pytest.mark.parametrize("form", [scripted, traced])
def test_layers_keep_their_names_and_share_their_weights(form: Callable[[Any], Any]) -> None:
    model = form(with_integers(Valid()))
    fcn = fullconv.convert(model, (20, 24))
    assert [change.layer for change in fcn.report.changes] == ["classifier.0", "classifier.2"]
    mine, own = dict(fcn.model.named_parameters()), dict(model.named_parameters())
    assert list(mine) == list(own)
    assert all(p.requires_grad and p.data_ptr() == own[n].data_ptr() for n, p in mine.items())


def test_a_module_in_memory_stays_as_it_was() -> None:
    model = scripted(with_integers(Gate()).train())
    model.eval()
    crops = integer_images(3, 1, 8, 8)
    before = model(crops)
    model.train()
    fullconv.convert(model, (8, 8))
    assert all(part.training for part in model.modules())
    assert_same(model.eval()(crops), before)


def test_a_module_saved_in_training_mode_is_taken_in_eval_mode(tmp_path: Path) -> None:
    model = with_integers(Gate())
    images = integer_images(1, 1, 11, 12)
    expected = scores_of_crops(torch_classifier(model), images, (8, 8), (1, 1))
    path = save(scripted(model.train()), tmp_path / "model.pt")
    fcn = fullconv.convert(path, (8, 8), 1)
    assert_same(fcn(images), expected)
    assert fullconv.verify(fcn, path, images).max_error == 0


@pytest.mark.parametrize("form", [scripted, traced])
def test_outputs_come_back_in_their_structure(form: Callable[[Any], Any], tmp_path: Path) -> None:
    model = with_integers(Structured())
    path = save(form(model), tmp_path / "model.pt")
    images = integer_images(2, 1, 8, 9)
    fcn = fullconv.convert(path, (6, 6))
    expected = scores_of_crops(lambda x: tuple(model(x)), images, (6, 6), (1, 1))
    assert_same(fcn(images), expected)  # the names of a named tuple live in the file alone
    assert fullconv.verify(fcn, path, images).max_error == 0


def test_a_trace_of_one_image_is_compared_one_by_one(tmp_path: Path) -> None:
    model = with_integers(One())
    path = save(traced(model), tmp_path / "model.pt")
    images = integer_images(1, 1, 8, 9)
    fcn = fullconv.convert(path, (6, 6), 1)
    expected = scores_of_crops(torch_classifier(model), images, (6, 6), (1, 1), batch=1)
    assert_same(fcn(images), expected)
    proof = fullconv.verify(fcn, path, images)
    assert (proof.max_error, proof.windows) == (0, 12)


def test_half_precision_stays_half(tmp_path: Path) -> None:
    model = with_integers(Valid()).half()
    path = save(scripted(model), tmp_path / "model.pt")
    images = integer_images(1, 1, 24, 28, dtype=torch.float16)
    expected = scores_of_crops(torch_classifier(model), images, (20, 24), (4, 4))
    assert_same(fullconv.convert(path, (20, 24))(images), expected)


def test_a_file_that_was_saved_on_a_gpu_is_read_on_the_cpu(tmp_path: Path) -> None:
    path = save(scripted(with_integers(Valid())), tmp_path / "model.pt")
    images = integer_images(1, 1, 24, 28)
    expected = fullconv.convert(path, (20, 24))(images)
    on_gpu = rewritten(path, lambda _, data: data.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0"))
    assert on_gpu.read_bytes().count(b"cuda:0") == 1
    assert_same(fullconv.convert(on_gpu, (20, 24))(images), expected)


@pytest.mark.parametrize("ending", [".torchscript", ".ts"])
def test_other_endings_of_torchscript_are_known(ending: str, tmp_path: Path) -> None:
    path = save(scripted(Valid()), tmp_path / f"model{ending}")
    assert fullconv.explain(path, (20, 24)).exact


# The command line.


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(commands, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a TorchScript file and a picture."""
    folder = tmp_path_factory.mktemp("script")
    save(scripted(with_integers(Valid(channels=3))), folder / "model.pt")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    return folder


def test_every_command_takes_a_torchscript_file(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    window = ("--window", "24x20")
    heat = tmp_path / "heat.zarr"
    explained = run("explain", "model.pt", *window, "--json")
    assert json.loads(explained.stdout)["exact"]
    for arguments in (
        ("convert", "model.pt", *window, "-o", tmp_path / "fcn.pt2"),
        ("convert", "model.pt", *window, "-o", tmp_path / "fcn.onnx"),
        ("verify", "model.pt", "image.png", *window),
        ("verify", tmp_path / "fcn.pt2", "image.png", "--original", "model.pt"),
        ("scan", "model.pt", "image.png", *window, "-o", heat),
        ("verify", heat),
        ("detect", "model.pt", "image.png", *window, "-o", tmp_path / "boxes.csv"),
        ("bench", "model.pt", "image.png", *window, "--rounds", "1"),
    ):
        done = run(*arguments)
        assert done.exit_code == 0, (arguments, done.stderr, done.exception)
    save(scripted(with_integers(Valid(channels=3), seed=1)), files / "model.pt")
    assert run("verify", heat).stderr == (
        f"fullconv: error: verify {heat}: {files / 'model.pt'} has changed or moved since the "
        f"heatmap was made; name the classifier as it was then, --original MODEL.\n"
    )


# What is refused.

CONVERTER = (
    "convert: PyTorch's converter cannot read this TorchScript ({}). Save the model with "
    "torch.export.save(..., 'model.pt2'), or as .onnx, from the code that it was made of."
)


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if float(x.sum()) > 0:
            x = x * 2
        return x.mean((2, 3))


class Two(nn.Module):
    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (left + right).mean((2, 3))


def refused(path: Path, window: tuple[int, int] | None = (8, 8)) -> tuple[str, int]:
    with pytest.raises(fullconv.FullconvError) as caught:
        fullconv.convert(path, window)
    return str(caught.value), caught.value.exit_code


def test_a_file_without_a_window_asks_for_it(tmp_path: Path) -> None:
    assert refused(save(scripted(Gate()), tmp_path / "model.pt"), None) == (
        "convert(model): a torch.nn.Module does not say which size it was trained on; give "
        "window=(height, width), or --window WIDTHxHEIGHT.",
        2,
    )


def test_a_wrong_window_is_told_with_what_the_model_says(tmp_path: Path) -> None:
    assert refused(save(scripted(Valid()), tmp_path / "model.pt"), (30, 30)) == (
        "convert(window=(30, 30)): the model does not take images of 30x30 pixels (width x "
        "height): mat1 and mat2 shapes cannot be multiplied (1x96 and 36x8). Give the size it was "
        "trained on; a trace takes the number of images that it was made with, which must be 1 or "
        "any.",
        2,
    )


def test_two_images_are_refused(tmp_path: Path) -> None:
    assert refused(save(scripted(Two()), tmp_path / "model.pt")) == (
        "convert: expected a model with one image input, forward(image); its forward takes 2 "
        "inputs: left, right. Wrap it in a module that takes the image alone.",
        3,
    )


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of such a trace
def test_a_trace_in_training_mode_is_refused(tmp_path: Path) -> None:
    model = torch.jit.trace(Gate().train(), torch.zeros(2, 1, 8, 8), check_trace=False)
    assert refused(save(model, tmp_path / "model.pt")) == (
        "convert: the model was traced in training mode (batch_norm is that of training); trace "
        "it again after model.eval().",
        3,
    )


class Moved(Valid):
    """Its ``.to`` changes nothing, so what is written into its result is written into ``y``."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x).flatten(1)
        y.to(torch.float32).add_(1)
        return self.classifier(y)


@pytest.mark.parametrize("form", [scripted, frozen])
def test_a_conversion_that_changes_the_scores_is_refused(
    form: Callable[[Any], Any], tmp_path: Path
) -> None:
    path = save(form(with_integers(Moved())), tmp_path / "model.pt")
    assert refused(path, (20, 24)) == (
        "convert: PyTorch's converter changes what this TorchScript computes: two random crops "
        "score differently. Save the model with torch.export.save(..., 'model.pt2'), or as .onnx, "
        "from the code that it was made of.",
        3,
    )


def test_rounding_is_no_change_and_random_numbers_stay_as_they_were() -> None:
    model = Valid().eval()
    image, state = torch.zeros(2, 1, 20, 24), torch.random.get_rng_state()
    program = torch.export.export(model, (image,))
    same = []
    for change in (1, 1 + 1e-6, 1.01):
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.classifier[2].weight *= change
        same.append(script_program.same_scores(program, scripted(other), image))
    assert same == [True, True, False]
    assert torch.equal(torch.random.get_rng_state(), state)


class Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if bool(x.mean() > 0):
            x = x * 2
        return x.mean((2, 3))


class Raising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] == 8:
            raise ValueError("eight")
        return x.mean((2, 3))


class Several(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None, int]:
        return x.mean((2, 3)), None, 3


class Five(nn.Module):
    def forward(self, x: Tensor) -> int:
        return 5


class Printing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        print("HELLO")
        return x.mean((2, 3))


RETURNS = (
    "convert: expected a model that returns tensors of scores, a row for every image; it returns "
    "{}. Wrap it in a module that returns the scores alone."
)
REFUSED = [
    (
        Deciding,
        "convert: the model decides by the numbers of an image what to compute (cond), and would "
        "decide once for all images of a batch. Compute both ways and choose with torch.where, "
        "image by image.",
        3,
    ),
    (
        Raising,
        "convert(window=(8, 8)): the model does not take images of 8x8 pixels (width x height): "
        "builtins.ValueError: eight. Give the size it was trained on; a trace takes the number of "
        "images that it was made with, which must be 1 or any.",
        2,
    ),
    (Several, RETURNS.format("NoneType and int among them"), 3),
    (Five, RETURNS.format("int"), 3),
    (Printing, CONVERTER.format("it stops at torch.ops.prim.Print.default"), 3),
    (Branching, CONVERTER.format("it stops at torch.ops.aten.gt.float_int"), 3),
]


@pytest.mark.parametrize(("network", "said", "code"), REFUSED)
def test_a_script_that_cannot_be_taken_is_one_line_and_prints_nothing(
    network: Any, said: str, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = save(scripted(network()), tmp_path / "model.pt")
    assert refused(path) == (said, code)
    assert capfd.readouterr() == ("", "")


def test_a_cut_file_is_told_from_a_pickle(files: Path, tmp_path: Path) -> None:
    whole = (files / "model.pt").read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(whole[: len(whole) // 2])
    assert refused(path) == (f"{path} is damaged or cut short; copy or save it again.", 3)


def test_a_file_whose_names_are_no_text_is_damaged(files: Path, tmp_path: Path) -> None:
    path = tmp_path / "names.pt"
    held = bytearray((files / "model.pt").read_bytes())
    first = held.index(b"PK\x01\x02")  # in the table at the end: the flag that says UTF-8, a name
    held[first + 9] |= 8
    held[first + 46] = 0xFF
    path.write_bytes(held)
    line, code = refused(path)
    assert (code, "\n" in line) == (3, False)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "none.pt"
    assert refused(path) == (f"{path}: no such file; check the path of the model.", 3)


def test_a_state_dict_is_no_torchscript(tmp_path: Path) -> None:
    torch.save(Valid().state_dict(), tmp_path / "state.pt")
    assert refused(tmp_path / "state.pt")[0].startswith(
        f"{tmp_path / 'state.pt'} looks like a pickle, which runs code when it is loaded; "
    )
    (tmp_path / "state.pt").rename(tmp_path / "state.ts")
    assert refused(tmp_path / "state.ts") == (
        f"{tmp_path / 'state.ts'} is no TorchScript file; save the model again with "
        f"torch.jit.save, or with torch.export.save(..., 'model.pt2').",
        3,
    )


def rewritten(path: Path, change: Callable[[str, bytes], bytes], method: int = 0) -> Path:
    """Write a TorchScript file beside another, every entry changed."""
    out = path.with_name("changed.pt")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out


def test_wrong_contents_are_one_line(files: Path, tmp_path: Path) -> None:
    path = save(scripted(Valid()), tmp_path / "model.pt")
    broken = rewritten(path, lambda name, data: b"?" if name.endswith("data.pkl") else data)
    said, code = refused(broken)
    assert code == 3
    assert said.startswith(f"{broken} cannot be read as TorchScript (")
    assert said.endswith(
        "). Copy it again, or save it again with torch.jit.save. Save the model with "
        "torch.export.save(..., 'model.pt2'), or as .onnx, where the model's code is at hand."
    )


class Constant(nn.Module):
    """Holds no parameter; what it adds is a constant of its code, and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.device, self.more = torch.device("cpu"), [torch.ones(2), torch.ones(3, 2).t()[1:, ::2]]

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + torch.ones(2) * self.more[0] + self.more[1]


@pytest.mark.parametrize(
    ("network", "form", "record", "needed"),
    [
        (Valid, scripted, "data/0", None),
        (Valid, frozen, "constants/1", None),
        (Constant, scripted, "data/1", 24),
    ],
)
def test_a_record_that_is_shorter_than_its_tensors_is_refused(
    network: Any, form: Callable[[Any], Any], record: str, needed: int | None, tmp_path: Path
) -> None:
    path = save(form(network().eval()), tmp_path / "model.pt")
    with zipfile.ZipFile(path) as archive:
        held = archive.getinfo(f"model/{record}").file_size
    assert needed in (None, held)
    torchscript.load_script(path)
    cut = rewritten(path, lambda name, data: data[:10] if name.endswith(record) else data)
    assert refused(cut) == (
        f"{cut} is damaged: {record} in it is of 10 bytes, and the tensors there take {held}; copy "
        f"it again, or save it again with torch.jit.save.",
        3,
    )


def test_a_tensor_that_reaches_beyond_its_record_is_refused(tmp_path: Path) -> None:
    class Longer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.ones(5))

    path = save(torch.jit.trace_module(Longer(), {}), tmp_path / "model.pt")
    # K 0 is where the tensor begins, (K 5 t its size.
    beyond = rewritten(path, lambda name, data: data.replace(b"K\0(K\5t", b"K\3(K\7t"))
    assert refused(beyond)[0].startswith(f"{beyond} is damaged: data/0 in it is of 5 numbers, and ")


@pytest.mark.parametrize("name", ["_rebuild_from_type_v2", "_rebuild_sparse_tensor"])
def test_tensors_of_other_kinds_are_not_read(name: str, tmp_path: Path) -> None:
    path = save(scripted(Valid()), tmp_path / "model.pt")
    other = rewritten(path, lambda _, d: d.replace(b"_rebuild_tensor_v2", name.encode()))
    assert refused(other)[0].startswith(
        f"{other} cannot be read as TorchScript (data.pkl: {name} is not known). Copy it again, "
    )


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = save(scripted(Valid()), tmp_path / "model.pt")
    size = archives.ALWAYS + 100_000
    bomb = rewritten(
        path,
        lambda name, data: bytes(size) if name.endswith("data.pkl") else data,
        zipfile.ZIP_DEFLATED,
    )
    said, code = refused(bomb)
    assert code == 3
    assert re.fullmatch(
        rf"{re.escape(str(bomb))} says that it unpacks to 67\d{{6}} bytes, far more than a model "
        rf"of its size holds; save it again with torch\.jit\.save\.",
        said,
    )


class Armed(nn.Module):
    """Maps a file into memory when it is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.a = torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    @torch.jit.export
    def __getstate__(self) -> tuple[Tensor, bool]:
        return self.a, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[Tensor, bool]) -> None:
        self.a = torch.from_file("RAN", True, 4)
        self.training = state[1]


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Reading(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + torch.from_file("RAN", True, 1)


class Writing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "RAN")
        return x.mean((2, 3))


REACHES = "a call that reaches files or other machines"
LOOKED_UP = "an operator whose name is looked up"
CALL = 'torch.from_file("RAN", True, 4)'
FORWARD, FIELD = "x: Tensor)", "  training : bool"
ARMED = {
    "default": (FORWARD, f"x: Tensor, y: Tensor={CALL})", REACHES),
    "constant": (FIELD, f"  K : Final[Tensor] = {CALL}\n{FIELD}", REACHES),
    "spaced": (FORWARD, f"x: Tensor, y: Tensor={CALL.replace('.', ' . ')})", REACHES),
    "joined": (
        FORWARD,
        'x: Tensor, y: Tensor=getattr(torch, "from_" "file")("RAN", True, 4))',
        LOOKED_UP,
    ),
    "escaped": (
        FORWARD,
        'x: Tensor, y: Tensor=getattr( torch, "\\146rom_file")("RAN", True, 4))',
        LOOKED_UP,
    ),
}
"""What is put in the place of what in a file's program, and what is said of it."""
HARMLESS_BEFORE = {
    "library": (FORWARD, "x: Tensor, y: Tensor=ops.image.read_file(x))", "operators of other "
    "libraries"),
    "object": (
        FIELD,
        "  c : __torch__.torch.classes.quantized.Conv2dPackedParamsBase\n" + FIELD,
        "objects of C++ classes, as quantized models do",
    ),
}  # fmt: skip


def armed(kind: str, folder: Path) -> tuple[Path, str]:
    """Write a file that does something else than to hold a network; return what is said of it."""
    if kind == "setstate":
        return save(scripted(Armed()), folder / "armed.pt"), "a __setstate__ method"
    if kind in ("reading", "writing"):
        model = {"reading": Reading, "writing": Writing}[kind]()
        return save(scripted(model), folder / "armed.pt"), REACHES
    place, put, fault = (ARMED | HARMLESS_BEFORE)[kind]
    path = save(scripted(Mean()), folder / "plain.pt")

    def change(name: str, data: bytes) -> bytes:
        return data.replace(place.encode(), put.encode()) if name.endswith(".py") else data

    return rewritten(path, change), fault


@pytest.mark.parametrize("kind", ["setstate", "reading", "writing", *ARMED, *HARMLESS_BEFORE])
def test_a_file_that_reaches_beyond_its_tensors_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, fault = armed(kind, tmp_path)
    assert refused(path) == (
        f"{path}: it holds {fault}, and loading that could run code from the file; fullconv does "
        f"not. Export the model with torch.export.save, or as .onnx.",
        3,
    )
    assert not Path("RAN").exists()


def test_weights_are_never_read_from_torchscript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, _ = armed("setstate", tmp_path)
    with pytest.raises(fullconv.FullconvError, match="not a PyTorch state dict, or cut short"):
        read_state(path, "--weights armed.pt")
    assert not Path("RAN").exists()


@pytest.mark.parametrize("kind", ["setstate", *ARMED])
def test_an_armed_file_would_run_if_it_were_not_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, _ = armed(kind, tmp_path)
    monkeypatch.setattr(torchscript, "check_script", lambda path: None)
    with pytest.raises(fullconv.FullconvError):
        fullconv.convert(path)
    assert Path("RAN").exists()


@pytest.mark.parametrize(
    ("kind", "call"), [("reading", "aten::from_file"), ("writing", "aten::save")]
)
def test_operators_are_looked_at_again_when_they_are_compiled(
    kind: str, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, _ = armed(kind, tmp_path)
    monkeypatch.setattr(torchscript, "check_script", lambda path: None)
    assert refused(path)[0].startswith(f"{path}: it holds a call of {call}, and loading that ")
    assert not Path("RAN").exists()


def test_a_layer_whose_name_is_code_is_refused(tmp_path: Path) -> None:
    layers = {"a-b": nn.Conv2d(1, 1, 8), "flat": nn.Flatten()}
    path = save(scripted(nn.Sequential(OrderedDict(layers))), tmp_path / "model.pt")
    assert fullconv.explain(path, (8, 8)).exact
    code = 'a"), f(), ("b'  # it ends the quotes in which PyTorch writes getattr(self, "a-b")

    def change(name: str, data: bytes) -> bytes:
        if name.endswith("data.pkl"):
            return data.replace(b"X\x03\0\0\0a-b", b"X\x0d\0\0\0" + code.encode())
        return data.replace(b'"a-b"', json.dumps(code).encode()) if name[-3:] == ".py" else data

    armed = rewritten(path, change)
    assert refused(armed)[0].startswith(f"{armed}: it holds the name {code!r}, which is code, and ")


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of what is quantized
def test_a_quantized_file_is_refused(tmp_path: Path) -> None:
    from torch.ao.nn.quantized import Linear

    path = save(scripted(nn.Sequential(nn.Flatten(), Linear(64, 2))), tmp_path / "model.pt")
    assert (
        "it holds objects of C++ classes, as quantized models do, and loading" in refused(path)[0]
    )
