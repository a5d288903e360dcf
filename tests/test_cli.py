"""The commands: what they print, as text and as JSON, and what they exit with."""

import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

import fullconv
from bad_files import NETS, listing, write_onnx
from fullconv.cli.group import SUMMARIES, commands
from fullconv.demo import run as demo


def fullconv_command(*arguments):
    return CliRunner().invoke(commands, [str(a) for a in arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_onnx(tmp_path)
    (tmp_path / "goodnets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "goodnets", raising=False)
    return tmp_path


EXPLAINED = """\
window   16x16 pixels (width x height)
step     {} pixels (the network's own stride is 1x1)
result   exact: every window equals its crop, and all windows share one pass
cost     22.7 k from crops, {} (multiply-accumulates per window)
changes
"""

# A 3x3 convolution from 3 to 4 channels on 14x14 cells, and 2 filters of 14x14x4 for every window:
# 14 * 14 * 108 + 1568 from a crop; 108 and 1568 at step 1; 8 * 108 and 1568 at step 4x2.
AT_STEP_1 = "1.68 k exact (13.6 times fewer), 1.68 k approximate (13.6 times fewer)"
AT_STEP_4X2 = "2.43 k exact (9.35 times fewer), 2.43 k approximate (9.35 times fewer)"


def test_explain_prints_the_report_and_writes_nothing(folder):
    before = listing(folder)
    result = fullconv_command("explain", "fixed.onnx")
    assert result.exit_code == 0
    assert result.stdout == f"{fullconv.explain('fixed.onnx')}\n"
    assert result.stdout.startswith(EXPLAINED.format("1x1", AT_STEP_1))
    assert listing(folder) == before


def test_sizes_are_width_by_height_and_a_single_step_goes_both_ways(folder):
    def step_of(text):
        result = fullconv_command("explain", "fixed.onnx", "--step", text, "--json")
        return json.loads(result.stdout)["step"]

    assert step_of("3x2") == [2, 3]
    assert step_of("4") == [4, 4]
    result = fullconv_command("explain", "free.onnx", "--window", "16x16", "--json")
    assert json.loads(result.stdout)["window"] == [16, 16]


def test_explain_json_is_one_object(folder):
    result = fullconv_command("explain", "fixed.onnx", "--json")
    expected = {"model": "fixed.onnx", **fullconv.explain("fixed.onnx").as_dict()}
    assert json.loads(result.stdout) == expected
    assert result.stderr == ""


def test_convert_writes_a_model_that_loads_with_what_it_was_told(folder):
    result = fullconv_command(
        *("convert", "fixed.onnx", "-o", "x.onnx", "--step", "4x2", "--classes", "no,yes"),
        *("--scale", "0.5", "--mean", "1,2,3", "--std", "4"),
    )
    assert result.exit_code == 0
    assert result.stdout.startswith(EXPLAINED.format("4x2", AT_STEP_4X2))
    assert re.search(r"\nwrote    x\.onnx \(\d+\.\d kB\)\n$", result.stdout)
    fcn = fullconv.load("x.onnx")
    assert fcn.grid == fullconv.Grid((16, 16), (2, 4))
    assert fcn.classes == ("no", "yes")
    assert fcn.preprocessing == fullconv.Preprocessing(0.5, (1.0, 2.0, 3.0), (4.0,))


def test_convert_compares_windows_with_their_crops_first(folder):
    result = fullconv_command("convert", "fixed.onnx", "-o", "x.onnx")
    assert re.search(r"\nchecked  [45] windows of random pixels: largest difference", result.stdout)
    for arguments in (["--no-check"], ["--approximate"]):
        result = fullconv_command("convert", "fixed.onnx", "-o", "y.onnx", *arguments)
        assert ("checked" in result.stdout) == (arguments == ["--approximate"])


def test_convert_writes_nothing_where_scores_differ(folder, monkeypatch):
    scores = fullconv.FullyConvolutional.scores
    monkeypatch.setattr(fullconv.FullyConvolutional, "scores", lambda *a: scores(*a) + 0.5)
    before = listing(folder)
    result = fullconv_command("convert", "fixed.onnx", "-o", "x.onnx")
    assert result.exit_code == 4
    assert result.stderr.startswith(
        "fullconv: error: convert: fixed.onnx gives other scores for crops of random pixels than "
        "the converted network (by up to 0.5"
    )
    assert result.stderr.count("\n") == 1
    assert listing(folder) == before
    assert fullconv_command("convert", "fixed.onnx", "-o", "x.onnx", "--no-check").exit_code == 0


def test_convert_json_says_what_was_written(folder):
    result = fullconv_command("convert", "fixed.onnx", "-o", "x.onnx", "--json")
    record = json.loads(result.stdout)
    assert (record["output"], record["exact"], record["classes"]) == ("x.onnx", True, [])
    assert record["preprocessing"] is None
    assert record["verification"]["passed"] is True


NO_PREPROCESSING = (
    "note     the model does not say how pixels are prepared for it, so they stay as they are (0 "
    "to 255 for 8 bits); 'fullconv convert --scale/--mean/--std', or --preprocessing imagenet, "
    "stores it\n"
)


def test_verify_prints_the_figures_and_says_that_pixels_stay_as_they_are(folder):
    result = fullconv_command("verify", "fixed.onnx", "image.png", "--windows", "9")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{NO_PREPROCESSING}windows compared       9\n")
    assert result.stdout.endswith("verdict                equal: the scores are the crops' own\n")


def test_verify_json_keeps_remarks_off_stdout(folder):
    result = fullconv_command("verify", "fixed.onnx", "image.png", "--json", "--seed", "3")
    record = json.loads(result.stdout)
    assert record["passed"] is True
    assert (record["original"], record["windows"]) == ("fixed.onnx", 64)
    assert result.stderr == NO_PREPROCESSING


def test_verify_takes_a_converted_model_with_and_without_its_original(folder):
    fullconv_command("convert", "fixed.onnx", "-o", "x.onnx", "--scale", "0.1")
    alone = fullconv_command("verify", "x.onnx", "image.png")
    assert alone.exit_code == 0
    assert alone.stdout.startswith(
        "note     checked against itself, run on crops of its native size (16x16); --original "
        "MODEL checks it against the classifier that it was converted from\nwindows compared"
    )
    checked = fullconv_command("verify", "x.onnx", "image.png", "--original", "fixed.onnx")
    assert checked.exit_code == 0
    assert checked.stdout.startswith("windows compared       64\n")


def test_verify_exits_4_against_another_classifier(folder):
    fullconv_command("convert", "fixed.onnx", "-o", "x.onnx")
    result = fullconv_command("verify", "x.onnx", "image.png", "--original", "odd.onnx")
    assert result.exit_code == 4
    assert "verdict                NOT equal" in result.stdout
    result = fullconv_command("verify", "x.onnx", "image.png", "--original", "odd.onnx", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["max_error"] is None, "JSON has no infinity"


def test_verify_refuses_to_convert_a_converted_model_again(folder):
    fullconv_command("convert", "fixed.onnx", "-o", "x.onnx")
    result = fullconv_command("verify", "x.onnx", "image.png", "--step", "2", "--approximate")
    assert result.exit_code == 2
    assert result.stderr == (
        "fullconv: error: verify x.onnx --step, --approximate: the model is converted already, "
        "with its own window and step; leave --step, --approximate out, or give the classifier.\n"
    )


def test_a_pytorch_model_is_named_by_its_code_and_its_weights(folder):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    torch.manual_seed(1)
    state = {
        "0.weight": torch.randn(4, 3, 3, 3),
        "0.bias": torch.randn(4),
        "3.weight": torch.randn(2, 196),
        "3.bias": torch.randn(2),
    }
    torch.save(state, "w.pt")
    save_file(state, "w.safetensors")
    for weights in ("w.pt", "w.safetensors"):
        result = fullconv_command(
            *("convert", "goodnets:tiny", "--weights", weights, "--window", "16x16", "-o", "x.pt2")
        )
        assert result.exit_code == 0, result.stderr
        held = fullconv.load("x.pt2").model.state_dict()
        assert any(torch.equal(tensor, state["0.weight"]) for tensor in held.values())
        result = fullconv_command(
            *("verify", "x.pt2", "image.png", "--original", "goodnets:tiny", "--weights", weights)
        )
        assert result.exit_code == 0, result.output
    result = fullconv_command("verify", "x.pt2", "image.png", "--original", "goodnets:tiny")
    assert result.exit_code == 4, "other weights are another classifier"


def test_an_approximate_conversion_reports_its_differences_and_does_not_fail(folder):
    pytest.importorskip("torch")
    (folder / "padnets.py").write_text(
        "from torch import nn\n\ndef padded():\n    return nn.Sequential(nn.Conv2d(3, 4, 3, "
        "padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 2))\n"
    )
    result = fullconv_command(
        *("verify", "padnets:padded", "image.png", "--window", "16x16", "--approximate", "--json")
    )
    assert result.exit_code == 0
    record = json.loads(result.stdout)
    assert not record["exact"]
    assert record["max_error"] > record["allowed"]


def test_what_the_users_code_prints_does_not_disturb_json(folder):
    pytest.importorskip("torch")
    (folder / "loud.py").write_text("from goodnets import tiny\nprint('hello')\n")
    result = fullconv_command("explain", "loud:tiny", "--window", "16x16", "--json")
    assert json.loads(result.stdout)["exact"] is True
    assert result.stderr == "hello\n"


def test_the_demo_tells_the_story_and_writes_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "REPEATS", 1)
    result = fullconv_command("demo")
    assert result.exit_code == 0
    assert result.stdout.isascii()
    assert max(map(len, result.stdout.splitlines())) <= 100
    for sentence in (
        "31 places across times 13 down makes 403 windows",
        "node_linear    Gemm -> Conv2d, 64 filters of 4x4x96",
        "The other 15 of 17 operations stay as they were.",
        "All 403 windows were compared",
        "Found 5 of 5 dresses, with 0 false alarms. Average precision 1.00 (1 is best).",
        "So every score of the one pass is the crop's own",
        "fullconv verify fullconv-demo/dress-fcn.onnx fullconv-demo/scene.png",
    ):
        assert sentence in result.stdout
    files = {"scene.png", "overlay.png", "boxes.png", "dress-fcn.onnx"}
    assert listing(tmp_path / "fullconv-demo") == files
    assert (
        fullconv_command(
            "verify", "fullconv-demo/dress-fcn.onnx", "fullconv-demo/scene.png"
        ).exit_code
        == 0
    )


def test_the_demo_as_json_and_with_another_street(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "REPEATS", 1)
    result = fullconv_command("demo", "-o", tmp_path / "d", "--seed", "3", "--json")
    record = json.loads(result.stdout)
    assert record["grid"] == [13, 31]
    assert record["verification"]["windows"] == 403
    assert record["verification"]["passed"] is True
    assert record["folder"] == str(tmp_path / "d")
    assert record["ratio"] == record["crops_s"] / record["one_pass_s"]


def test_the_demo_fails_when_a_score_is_not_the_crops(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "REPEATS", 1)
    whole = fullconv.verify

    def doubting(*arguments, **options):
        from dataclasses import replace

        return replace(whole(*arguments, **options), passed=False)

    monkeypatch.setattr(fullconv, "verify", doubting)
    result = fullconv_command("demo", "-o", tmp_path / "d")
    assert result.exit_code == 4
    assert "This is NOT as it should be" in result.stdout


def test_unexpected_errors_are_one_line_too_and_debug_shows_where(folder, monkeypatch):
    def breaks(*arguments, **options):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(fullconv, "explain", breaks)
    result = fullconv_command("explain", "fixed.onnx")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        "fullconv: error: unexpected ZeroDivisionError: oh no. This is a bug in fullconv; please "
        "report it, with what 'fullconv --debug ...' prints.\n"
    )
    result = fullconv_command("--debug", "explain", "fixed.onnx")
    assert result.stderr.startswith("Traceback (most recent call last):\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["expl"], "No such command 'expl'. See 'fullconv --help'."),
        (["explain"], "explain: Missing argument 'MODEL'. See 'fullconv explain --help'."),
        (
            ["explain", "x.onnx", "--bad"],
            "explain: No such option '--bad'. See 'fullconv explain --help'.",
        ),
        (
            ["convert", "x.onnx"],
            "convert: Missing option '-o' / '--output'. See 'fullconv convert --help'.",
        ),
    ],
)
def test_a_wrong_call_is_one_line(arguments, line):
    result = fullconv_command(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"fullconv: error: {line}\n"


def test_help_names_every_command_and_every_command_has_help():
    listed = fullconv_command("--help").stdout
    for name, summary in SUMMARIES.items():
        assert f"  {name} " in listed
        assert summary in " ".join(listed.split())
        helped = fullconv_command(name, "--help")
        assert helped.exit_code == 0
        assert "None" not in helped.stdout  # as of a range without bounds


def test_the_console_script_runs(folder):
    code = "from fullconv.cli import main; main()"
    run = [sys.executable, "-c", code, "explain", "fixed.onnx"]
    result = subprocess.run(run, capture_output=True, text=True, cwd=folder)
    assert result.returncode == 0
    assert result.stdout.startswith(EXPLAINED.format("1x1", AT_STEP_1))
    assert result.stderr == ""
