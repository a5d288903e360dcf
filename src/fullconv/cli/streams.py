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
"""How the streams write what their encoding lacks (`_write_name`)."""


class Stream(io.TextIOWrapper):
    """A standard stream that takes everything: what is lost is no reason to stop the work.

    That somebody has closed a pipe is passed on, so that ``| head`` ends the command.

    Attributes
    ----------
    lost : OSError or None
        The first reason why something could not be written.
    """

    lost: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or lose, a text."""
        with self._taken():
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is held."""
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
    """Make the standard streams fit to be used, whatever they are.

    Where one is closed, the next file that is opened would get its number, and whatever any library
    prints would go into that file.
    """
    while (held := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(held, True)
    os.close(held)
    codecs.register_error(NAMES, _write_name)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the program's own
    sys.stdout = _taking(sys.stdout, 1)
    sys.stderr = _taking(sys.stderr, 2)


def _taking(stream: TextIO | None, number: int) -> TextIO:
    """Return a stream that goes where this one does, or if it was closed, nowhere."""
    if stream is None:
        return Stream(open(number, "wb", closefd=False), errors=NAMES)
    if isinstance(stream, Stream) or not isinstance(stream, io.TextIOWrapper):
        return stream
    # In place of an ASCII stream click would write to one of its own, which loses names.
    is_ascii = codecs.lookup(stream.encoding).name == "ascii"
    return Stream(
        stream.buffer,
        "utf-8" if is_ascii else stream.encoding,
        NAMES,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _write_name(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write bytes of a name that are no UTF-8 as they are, and other letters by their numbers."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def finish(code: int) -> int:
    """Return the exit code, once all that was printed is written."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    lost = getattr(sys.stdout, "lost", None)
    if lost is None:
        return code
    # Python would try once more at its end, and complain.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(
        f"fullconv: error: standard output cannot be written: {lost.strerror or lost}; send it "
        f"where there is room.",
        file=sys.stderr,
    )
    return code or CANNOT
