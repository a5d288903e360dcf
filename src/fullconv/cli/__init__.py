"""The command line, ``fullconv``: one file per command, each imported when it is used."""

from __future__ import annotations

import io
import sys
from typing import NoReturn

from fullconv.cli.exit_codes import INTERRUPTED


def main() -> NoReturn:
    """Run the command line, and leave with its exit code.

    0: done. 2: a wrong call. 3: it cannot be done. 4: a verification failed. 130: Ctrl-C.
    """
    from fullconv.cli.streams import finish, prepare

    prepare()
    try:
        import warnings

        # Other packages' warnings are for developers, not for the user of a command.
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
            # Errors in callbacks of libraries stop nothing and have no traceback; they are hidden.
            sys.unraisablehook = lambda _: None
            sys.excepthook = lambda kind, error, trace: (
                sys.__excepthook__(kind, error, trace) if trace else None
            )
        from fullconv.cli.group import commands

        _show_every_name()
        commands.main(prog_name="fullconv")
    except KeyboardInterrupt:  # while it was starting; later ones end in the group
        print("fullconv: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except SystemExit as leaving:
        sys.exit(finish(leaving.code if isinstance(leaving.code, int) else 0))
    sys.exit(finish(0))


def _show_every_name() -> None:
    """Print characters that standard output's encoding lacks by their codes, as on stderr.

    Windows gives a pipe the encoding of the country, while names of files may hold any character.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
