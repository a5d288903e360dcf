"""What is not the input's fault: a missing extra, a folder that cannot be written, Ctrl-C."""

import os
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

import fullconv
from bad_files import listing, write_onnx
from fullconv.cli.group import commands

MISSING = (
    "A PyTorch model needs the optional packages of the 'torch' extra, which are not installed. "
    'Install them with: pip install "fullconv[torch]"'
)

WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from fullconv.cli import main
main()
"""

# Stands in for the file that `whole` has begun to write: half of it, and then the user waits.
SLOW_SAVE = """
import sys, time
from pathlib import Path

def half(self, data):
    with open(self, "wb") as file:
        file.write(data[: len(data) // 2])
    print("half-written", flush=True, file=sys.stderr)
    time.sleep(60)

Path.write_bytes = half
from fullconv.cli import main
main()
"""


@pytest.fixture
def folder(tmp_path):
    write_onnx(tmp_path)
    return tmp_path


def python(code, folder, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True
    )


@pytest.mark.parametrize("model", ["model.pt2", "package.module:callable"])
def test_a_missing_torch_is_named_with_what_to_install(folder, model):
    (folder / "model.pt2").write_bytes(b"")
    result = python(WITHOUT_TORCH, folder, "explain", model)
    assert result.returncode == 3
    assert result.stdout == ""
    assert result.stderr == f"fullconv: error: {MISSING}\n"


def test_onnx_needs_no_torch(folder):
    result = python(WITHOUT_TORCH, folder, "verify", "fixed.onnx", "image.png")
    assert result.returncode == 0, result.stderr
    assert "verdict                equal" in result.stdout


def interrupt(code, arguments, folder, sign):
    """Run, wait for a sign of life on stderr, press Ctrl-C, and return code, stdout and stderr."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that was started in the background ignores Ctrl-C, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stderr is not None
    try:
        assert process.stderr.readline() == f"{sign}\n"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, stdout, stderr


def test_ctrl_c_while_saving_leaves_nothing_half_written(folder):
    before = listing(folder)
    result = interrupt(SLOW_SAVE, ["convert", "fixed.onnx", "-o", "x.onnx"], folder, "half-written")
    assert result == (130, "", "fullconv: interrupted\n")
    assert listing(folder) == before


def test_ctrl_c_leaves_the_file_that_was_there_before(folder):
    (folder / "x.onnx").write_text("older")
    interrupt(SLOW_SAVE, ["convert", "fixed.onnx", "-o", "x.onnx"], folder, "half-written")
    assert (folder / "x.onnx").read_text() == "older"


def test_ctrl_c_while_verifying_is_one_line(folder):
    slow = SLOW_SAVE.replace("Path.write_bytes = half", "").replace(
        "from fullconv.cli import main",
        "import fullconv.verification.verifying as verify\n"
        "def wait(*arguments, **options):\n"
        "    print('comparing', flush=True, file=sys.stderr)\n"
        "    time.sleep(60)\n"
        "sys.modules['fullconv.verification.verifying'].judge = wait\n"
        "from fullconv.cli import main",
    )
    result = interrupt(slow, ["verify", "fixed.onnx", "image.png"], folder, "comparing")
    assert result == (130, "", "fullconv: interrupted\n")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that nobody may write")
def test_a_folder_that_nobody_may_write_is_one_line(folder, monkeypatch):
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(commands, ["convert", "fixed.onnx", "-o", "/proc/x.onnx"])
    assert result.exit_code == 3
    assert result.stderr == (
        "fullconv: error: cannot write /proc/x.onnx: No such file or directory; choose a folder "
        "that exists and that you may write to.\n"
    )
    with pytest.raises(OSError, match=r"cannot write /proc/x\.onnx"):
        fullconv.convert("fixed.onnx").save("/proc/x.onnx")


def test_the_demo_says_so_when_its_folder_cannot_be_made(folder, monkeypatch):
    monkeypatch.chdir(folder)
    before = listing(folder)
    result = CliRunner().invoke(commands, ["demo", "-o", "image.png"])
    assert result.exit_code == 3
    assert result.stderr == (
        "fullconv: error: demo -o image.png: the folder cannot be made: File exists; choose "
        "another place.\n"
    )
    assert listing(folder) == before
