"""`import fullconv` and the command line's help load nothing heavy, and take no time."""

import json
import pkgutil
import subprocess
import sys
import time

import pytest

HEAVY = (
    *("torch", "onnx", "onnx_ir", "onnxruntime", "openvino", "keras", "numpy", "rich"),
    *("PIL", "tifffile", "zarr", "imagecodecs", "rasterio", "openslide"),
)
ALLOWED_S = 0.3
RUNS = 5

IMPORT = "import fullconv"
HELP = "import sys; sys.argv[1:] = ['--help']; from fullconv.cli import main; main()"
HELP_OF = HELP.replace("['--help']", "['{}', '--help']")
OF_IMAGES = [HELP_OF.format(name) for name in ("scan", "detect", "bench")]


def loaded_by(code):
    """Return which heavy packages a program loads, whatever way it ends."""
    watched = (
        "import atexit, json, sys\n"
        f"report = lambda: print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))\n"
        f"atexit.register(report)\n{code}"
    )
    result = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def seconds(code):
    """Return the least time of several runs: what the program costs on an idle machine."""
    best = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        best = min(best, time.perf_counter() - start)
    return best


@pytest.mark.parametrize("code", [IMPORT, HELP])
def test_nothing_heavy_is_loaded(code):
    assert loaded_by(code) == []


@pytest.mark.parametrize("code", OF_IMAGES)
def test_help_of_a_command_loads_no_framework_and_no_image_library(code):
    assert set(loaded_by(code)) <= {"numpy"}


def test_the_check_of_what_is_loaded_can_fail():
    assert "numpy" in loaded_by("import fullconv; fullconv.verify")


@pytest.mark.parametrize("code", [IMPORT, HELP])
def test_it_takes_no_time(code):
    bare = seconds("pass")
    # A machine on which Python itself starts slowly may be as much slower with us.
    allowed = ALLOWED_S * max(1.0, bare / 0.03)
    assert seconds(code) < allowed


def test_the_check_of_time_can_fail():
    assert seconds("import time; time.sleep(0.31)") > ALLOWED_S


def test_no_file_bears_the_name_of_a_verb():
    """Importing such a file would put the module in the verb's place."""
    import fullconv

    files = {module.name for module in pkgutil.iter_modules(fullconv.__path__)}
    assert "conversion" in files
    assert not files & set(fullconv._HOMES)


def test_every_exported_name_exists():
    import fullconv

    assert sorted(fullconv.__all__) == sorted([*fullconv._HOMES, "__version__"])
    for name in fullconv.__all__:
        assert getattr(fullconv, name) is not None
    with pytest.raises(AttributeError, match="module 'fullconv' has no attribute 'no_such_name'"):
        _ = fullconv.no_such_name
