"""Standard streams that are closed, full, or cannot write every name."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import Any, TextIO

from fullconv.cli.exit_codes import CANNOT

NAMES = "fullconv-names"
"""The name of the error handler for characters that an encoding lacks (`_write_name`)."""


class Stream(io.TextIOWrapper):
    """A standard stream on which a failing write is recorded and does not stop the work.

    A closed pipe still raises, so that ``| head`` ends the command.

    Attributes
    ----------
    lost : OSError or None
        The first error of a write.
    """

    lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text, or record why it is lost."""
        with self._taken():
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write buffered text."""
        with self._taken():
            super().flush()

    @contextlib.contextmanager
    def _taken(self) -> Any:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            self.lost = self.lost or error


def prepare() -> None:
    """Make the standard streams usable, whatever they are.

    If one is closed, the next file to be opened would get its number, and output of libraries would
    go into that file.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    codecs.register_error(NAMES, _write_name)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the program's own
    sys.stdout = _taking(sys.stdout, 1)
    sys.stderr = _taking(sys.stderr, 2)


def _taking(stream: TextIO | None, number: int) -> TextIO:
    """Return a `Stream` to the same place; if the stream was closed, to nowhere."""
    if stream is None:
        return Stream(open(number, "wb", closefd=False), errors=NAMES)
    if isinstance(stream, Stream) or not isinstance(stream, io.TextIOWrapper):
        return stream
    # click replaces an ASCII stream by one of its own, which loses names.
    is_ascii = codecs.lookup(stream.encoding).name == "ascii"
    return Stream(
        stream.buffer,
        "utf-8" if is_ascii else stream.encoding,
        NAMES,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _write_name(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write bytes of a name that are no UTF-8 unchanged, and other characters by their codes."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def finish(code: int) -> int:
    """Flush standard output, and return the exit code."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    lost = getattr(sys.stdout, "lost", None)
    if lost is None:
        return code
    # Otherwise Python would try once more when it exits, and print an error.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(
        f"fullconv: error: standard output cannot be written: {lost.strerror or lost}; send it "
        f"where there is room.",
        file=sys.stderr,
    )
    return code or CANNOT
