"""``fullconv train``: what it prints, what it exits with, and that nothing trained is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import fullconv
from drawn_crops import draw, ground, write_crops, write_photos
from fullconv.cli.group import SUMMARIES, commands

FOLDERS = {"background": 40, "disc ü": 24}
QUICK = ("--epochs", "3", "--device", "cpu")


@pytest.fixture(autouse=True)
def listed(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setitem(SUMMARIES, "train", SUMMARIES.get("train", "Train a classifier."))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_crops(tmp_path / "crops", FOLDERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def command(*arguments):
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def train(*arguments):
    return command("train", "crops", "-o", "disc.onnx", *QUICK, *arguments)


def test_from_crops_to_boxes_without_a_flag(folder):
    result = train("--epochs", "8")
    assert result.exit_code == 0, result.output
    for name in ("explain", "convert", "verify", "scan", "detect"):
        assert name in SUMMARIES
    rng = np.random.default_rng(3)
    photo = ground(rng, 60, 90)
    draw(photo, "disc", (10, 20), rng)
    draw(photo, "disc", (60, 34), rng)
    photo.save("photo.png")
    explained = command("explain", "disc.onnx", "--json")
    record = json.loads(explained.stdout)
    assert (record["exact"], record["one_pass"], record["per_window"]) == (True, True, False)
    assert record["reasons"] == []
    assert command("convert", "disc.onnx", "-o", "fcn.onnx").exit_code == 0
    assert fullconv.load("fcn.onnx").classes == ("background", "disc ü")
    assert command("verify", "disc.onnx", "photo.png").exit_code == 0
    assert command("scan", "disc.onnx", "photo.png", "-o", "heat.zarr").exit_code == 0
    found = command("detect", "disc.onnx", "photo.png", "-o", "boxes.csv", "--json")
    assert found.exit_code == 0
    assert "note" not in found.stderr  # it is known how pixels are prepared
    boxes = json.loads(found.stdout)["images"][0]["detections"]
    assert {box["class"] for box in boxes} == {"disc ü"}
    centres = [((x0 + x1) / 2, (y0 + y1) / 2) for x0, y0, x1, y1 in (box["box"] for box in boxes)]
    for x, y in ((15, 25), (65, 39)):
        assert any(abs(x - cx) <= 4 and abs(y - cy) <= 4 for cx, cy in centres), centres


LINES = """\
crops    51 to learn \\(background 32, disc ü 19\\), 13 held out
network  window 16x16, stride 2x2 \\(width x height\\), 211,[0-9]{3} numbers to learn, on cpu
result   exact: every window equals its crop, and all windows share one pass
cost     1\\.87 M from crops, .* \\(multiply-accumulates per window\\)
epoch   1/3  loss \\d\\.\\d{4}  held out: loss .*, accuracy \\d\\.\\d{4} \\(best\\)  at most .* left
epoch   2/3  loss .*
epoch   3/3  loss .*  at most 0 s left
held out accuracy \\d\\.\\d{4} on 13 crops, by epoch \\d; found of each class: back.*, disc ü .*
wrote    disc.onnx \\(0\\.\\d MB\\)
wrote    disc-confusion.png
wrote    disc-curves.png
wrote    disc-report.json
"""


def test_it_prints_what_it_does_line_by_line(folder):
    result = train()
    assert result.exit_code == 0, result.output
    assert re.fullmatch(LINES, result.stdout), result.stdout
    assert result.stderr == ""


def test_json_is_the_report_and_the_lines_go_to_stderr(folder):
    result = train("--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((folder / "disc-report.json").read_bytes())
    assert "epoch   3/3" in result.stderr


def test_negatives_say_what_each_round_scored(folder):
    write_photos(folder / "photos", 1, seed=1)
    result = train("--negatives", "photos", "--rounds", "1")
    assert result.exit_code == 0, result.output
    rounds = re.findall(r"^negatives .*$", result.stdout, re.MULTILINE)
    assert len(rounds) == 2
    assert re.fullmatch(
        r"negatives 2337 windows of 1 photos scored in \d+\.\d s: \d+ false alarms; \d+ crops "
        r"added",
        rounds[0],
    )
    assert rounds[1].endswith("0 crops added")
    assert "epoch   5/5" in result.stdout


def test_a_damaged_picture_is_a_warning_and_the_rest_is_trained(folder):
    (folder / "crops" / "disc ü" / "bad.png").write_bytes(b"\x89PNG\r\n")
    result = train("--epochs", "1")
    assert result.exit_code == 0
    assert result.stderr.startswith("fullconv: warning: left out: crops/disc ü/bad.png ")
    assert len(result.stderr.splitlines()) == 1
    assert json.loads((folder / "disc-report.json").read_bytes())["crops"]["left_out"] == 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("no", "-o", "x.onnx"), "train no: that does not exist; expected one folder"),
        (("crops", "-o", "x.keras"), "train -o x.keras: the kind of model is told by its ending"),
        (("crops", "-o", "x.onnx", "--window", "8x64"), "this one is 8x64 (width x height)"),
        (("crops", "-o", "x.onnx", "--background", "sky"), "train --background sky: there is no"),
        (("crops", "-o", "x.onnx", "--negatives", "no-*"), "no-*: no file matches"),
        (("crops", "-o", "x.onnx", "--arch", "deep"), "train --arch deep: expected auto, or code"),
        (("crops", "-o", "x.onnx", "--arch", "json:nope"), "json has no 'nope'"),
        (("crops", "-o", "x.onnx", "--holdout", "1"), "Invalid value for '--holdout'"),
        (("crops", "-o", "x.onnx", "--flips", "v"), "Invalid value for '--flips'"),
    ],
)
def test_a_wrong_call_is_one_line_exit_code_2_and_leaves_nothing(folder, arguments, expected):
    result = command("train", *arguments)
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert os.listdir(folder) == ["crops"]


OWN = """
import torch

class Own(torch.nn.Sequential):
    def __init__(self, classes):
        super().__init__(
            torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2),
            torch.nn.Flatten(), torch.nn.Linear(16, classes),
        )
"""


def test_an_own_network_is_named_by_its_code_and_explained(folder):
    (folder / "own_nets_of_train.py").write_text(OWN)
    result = train("--arch", "own_nets_of_train:Own", "--epochs", "1")
    assert result.exit_code == 0, result.output
    assert "stride 8x8 (width x height), 146 numbers to learn" in result.stdout
    assert "but for the cells that see a window's own border" in result.stdout


RUN = """
import sys
from fullconv.cli.group import SUMMARIES, commands
SUMMARIES.setdefault("train", "")
import torch
torch.set_num_threads(1)
commands.main(prog_name="fullconv")
"""


def arguments(*more):
    return [sys.executable, "-c", RUN, "train", "crops", "-o", "disc.onnx", *more]


def test_ctrl_c_keeps_the_best_and_resume_ends_as_if_nothing_had_happened(folder):
    options = ("--epochs", "12", "--patience", "12", "--device", "cpu")
    process = subprocess.Popen(
        arguments(*options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that was started in the background ignores Ctrl-C, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 300
    while not (folder / "disc.onnx.training").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 130, stderr
    assert re.search(
        r"^fullconv: interrupted: the best so far, of epoch \d+, is in disc\.onnx; --resume goes "
        r"on$",
        stderr,
        re.MULTILINE,
    )
    assert "Traceback" not in stderr
    assert fullconv.convert("disc.onnx").report.exact
    result = subprocess.run(arguments(*options, "--resume"), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    resumed = (folder / "disc.onnx").read_bytes()
    result = subprocess.run(arguments(*options, "--overwrite"), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert (folder / "disc.onnx").read_bytes() == resumed


FULL_DISK = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))
"""


def test_a_disk_that_is_full_is_told_and_what_fits_is_kept(folder):
    """A limit on the size of files stands in for the disk: the system refuses to write on."""
    full = [*arguments("--epochs", "2", "--device", "cpu")]
    full[2] = full[2].replace("commands.main", FULL_DISK.format(1_500_000) + "commands.main")
    result = subprocess.run(full, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    line = (
        "fullconv: warning: no checkpoint of this epoch: cannot write disc.onnx.training: File "
        "too large; free some space or choose another place."
    )
    assert result.stderr.splitlines() == [line, line]
    assert fullconv.convert("disc.onnx").report.exact
    assert not (folder / "disc.onnx.training").exists()


def test_a_disk_that_holds_nothing_is_one_error(folder):
    full = [*arguments("--epochs", "1", "--device", "cpu")]
    full[2] = full[2].replace("commands.main", FULL_DISK.format(100_000) + "commands.main")
    result = subprocess.run(full, capture_output=True, text=True)
    assert result.returncode == 3, result.stderr
    assert result.stderr.splitlines()[-1] == (
        "fullconv: error: cannot write disc.onnx: File too large; free some space or choose "
        "another place. No checkpoint could be written either."
    )
    assert os.listdir(folder) == ["crops"]


def test_without_pytorch_it_names_the_extra(folder):
    code = "import sys; sys.modules['torch'] = None\n" + RUN.replace("import torch\n", "").replace(
        "torch.set_num_threads(1)\n", ""
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "train", "crops", "-o", "x.onnx"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 3
    assert result.stderr == (
        "fullconv: error: Training needs the optional packages of the 'train' extra, which are not "
        'installed. Install them with: pip install "fullconv[train]"\n'
    )


def test_mixed_sizes_are_refused_without_a_window_and_noted_with_one(folder):
    Image.new("RGB", (20, 16)).save(folder / "crops" / "background" / "wide.png")
    refused = train()
    assert refused.exit_code == 2
    assert "name the window, as in --window 16x16" in refused.stderr
    result = train("--window", "16x16", "--epochs", "1")
    assert result.exit_code == 0
    assert "note     1 of 65 crops are of another size" in result.stdout
