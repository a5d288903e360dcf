"""A check that HDF5 can read a file to its end: damaged files can hang it, or crash the process.

HDF5 2.0 never returns from some attributes whose place in the file is damaged, and nothing in
Python can stop it. So the structure of a file is read once in a separate process,
``python -m fullconv.frameworks.keras.hdf5 FILE SECONDS``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from multiprocessing.spawn import get_executable
from pathlib import Path
from typing import Any

from fullconv.errors import ModelError

SECONDS = 5
"""Processor time for reading a structure; a thousand layers take tenths of a second."""

WAIT = 120
"""Seconds of wall time: for systems that do not limit processor time, and for slow disks."""

WEIGHTS_FILE = "model.weights.h5"
"""The entry of a ``.keras`` file that is HDF5."""


def check_ends(path: Path) -> None:
    """Refuse a file that HDF5 cannot read to its end, in a process of its own.

    Errors that HDF5 itself reports are ignored: reading the file later raises them again.

    Raises
    ------
    ModelError
        If HDF5 does not come to an end, or crashes the process.
    """
    if getattr(sys, "frozen", False) or not (python := get_executable()):
        return  # Python inside another program, with no interpreter to start
    try:
        ended = subprocess.run(
            [python, "-P", "-m", __name__, str(path), str(SECONDS)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=WAIT,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        ended = -1
    except OSError:
        return  # no process can be started here
    if ended < 0 or ended >= 1 << 30:  # by a signal, or by an exception on Windows
        raise ModelError(
            f"{path} is damaged: HDF5 does not come to its end; copy it again, or save the model "
            f"again, with model.save('model.keras')."
        )


def read_through(path: Path) -> None:
    """Read the whole structure of a file: names, attributes, and the places of chunks."""
    import h5py

    if path.suffix.lower() != ".keras":
        with h5py.File(path, "r") as root:
            _visit(root)
        return
    with (
        zipfile.ZipFile(path) as archive,
        archive.open(WEIGHTS_FILE) as weights,
        h5py.File(weights, "r") as root,
    ):
        _visit(root)


def _visit(root: Any) -> None:
    import h5py

    def read(_: str, value: Any) -> None:
        for name in value.attrs:
            value.attrs[name]
        if isinstance(value, h5py.Dataset) and value.chunks is not None:
            value.id.get_num_chunks()

    read("", root)
    root.visititems(read)


def _limit(seconds: int) -> None:
    try:
        import resource
    except ModuleNotFoundError:  # Windows has none
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _limit(int(sys.argv[2]))
    read_through(Path(sys.argv[1]))
