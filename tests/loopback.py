"""A web server of this machine that counts who calls, to show that nobody does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SERVE = """
import socket, sys
held = socket.socket()
held.bind(("127.0.0.1", 0))
held.listen()
print(held.getsockname()[1], flush=True)
while True:
    caller, _ = held.accept()
    with open(sys.argv[1], "ab") as file:
        file.write(b".")
    caller.recv(4096)
    caller.sendall(b"HTTP/1.0 404 none\\r\\nContent-Length: 0\\r\\n\\r\\n")
    caller.close()
"""


@dataclass(frozen=True)
class Loopback:
    """Where it listens, and where it counts."""

    port: int
    counted: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> int:
        """How often it was called. It notes a call before it answers."""
        return self.counted.stat().st_size


@contextlib.contextmanager
def listening(counted: Path) -> Iterator[Loopback]:
    """Start one, in a process of its own: GDAL waits for answers without letting others run."""
    counted.write_bytes(b"")
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(counted)], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        yield Loopback(int(server.stdout.readline()), counted)
    finally:
        server.kill()
        server.communicate()
