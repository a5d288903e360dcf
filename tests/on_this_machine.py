"""What a test needs of the machine that it runs on, tried and not read off its description."""

from __future__ import annotations

import resource
import sys
from importlib.util import find_spec

import pytest

from fullconv.errors import InputError
from fullconv.runtimes import open_runtime
from scans import converted


def need_openvino(precision: str = "f32") -> None:
    """Skip where it is not installed, or computes in another precision than is asked for.

    Looked for without an import, which would report to its makers.
    """
    if find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    if precision != "f32":
        try:
            open_runtime(converted((2, 1)), "openvino", precision=precision).close()
        except InputError as error:
            pytest.skip(str(error))


def peak_bytes() -> int:
    """Return the most memory that this process has had."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
