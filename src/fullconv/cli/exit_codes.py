"""The exit codes of the command line; 0 says that all is done."""

from __future__ import annotations

USAGE = 2
"""Exit code of a wrong call."""

CANNOT = 3
"""Exit code of a correct call that cannot be carried out."""

INTERRUPTED = 130
"""Exit code of a program that Ctrl-C ended: 128 plus the signal's number, as shells have it."""

DIFFERS = 4
"""Exit code of a comparison in which scores claim to be those of crops and are not."""
