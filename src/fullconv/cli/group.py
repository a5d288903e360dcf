"""The group of commands: light help, and one line for every error."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from fullconv import __version__
from fullconv.cli.exit_codes import CANNOT, INTERRUPTED, USAGE
from fullconv.errors import FullconvError

SURROGATE = re.compile("[\udc80-\udcff]")
"""The characters by which Python represents bytes of a name that are no UTF-8."""

# One line on each command for the list, which is printed without importing any of them.
SUMMARIES = {
    "demo": "See it work: find the dresses in a drawn street, two ways.",
    "train": "Train a classifier on folders of crops, exact when it is converted.",
    "explain": "Say what conversion would do to a model, layer by layer.",
    "convert": "Convert a window classifier and save the result.",
    "inspect": "Say what a model file holds, without running anything from it.",
    "verify": "Compare a converted model, or a finished heatmap, with crops of your own image.",
    "scan": "Score every window of images of any size.",
    "detect": "Find what a model knows in images of any size, as boxes.",
    "quantize": "Write a model in 8-bit integers, calibrated on your photos, with its agreement.",
    "bench": "Time a converted model against crops of your own image.",
}


class Stop(click.ClickException):
    """The end of a command: one line on stderr, and an exit code."""

    def __init__(self, line: str, code: int) -> None:
        super().__init__(line)
        self.code = code


class Commands(click.Group):
    """Commands that are imported when they are used; all handle errors in the same way."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order in which a newcomer meets them."""
        return list(SUMMARIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in SUMMARIES:
            return None
        command: click.Command = import_module(f"fullconv.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; every error becomes one line."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            raise Stop("interrupted", INTERRUPTED) from None
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # somebody closed our output, as `head` does; click ends quietly
            if ctx.params["debug"]:
                import traceback

                traceback.print_exc()
            if isinstance(error, FullconvError):
                raise Stop(f"error: {error}", error.exit_code) from None
            if isinstance(error, UnicodeEncodeError) and SURROGATE.search(error.object):
                near = error.object[max(0, error.start - 60) : error.end + 20]
                raise Stop(
                    f"error: a name that is not UTF-8 cannot be written into this kind of result "
                    f"(...{near!r}...); rename the file.",
                    CANNOT,
                ) from None
            raise Stop(
                f"error: unexpected {type(error).__name__}: {error}. This is a bug in fullconv; "
                f"please report it, with what 'fullconv --debug ...' prints.",
                CANNOT,
            ) from None

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run the command line and exit."""
        try:
            result = super().main(args, prog_name or "fullconv", standalone_mode=False, **extra)
        except Stop as stop:
            _leave(stop.message, stop.code)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(USAGE)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            path = context.command_path if context else "fullconv"
            command = path.removeprefix("fullconv").strip()
            _leave(
                f"error: {f'{command}: ' if command else ''}{error.format_message().rstrip('.')}. "
                f"See '{path} --help'.",
                USAGE,
            )
        except click.Abort:
            _leave("interrupted", INTERRUPTED)
        sys.exit(result if isinstance(result, int) else 0)


def _leave(line: str, exit_code: int) -> NoReturn:
    # Messages that quote others may hold line breaks; a caller's log wants one line.
    click.echo("fullconv: " + " ".join(line.splitlines()), err=True)
    sys.exit(exit_code)


@click.group(
    "fullconv",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="fullconv")
@click.option("--debug", is_flag=True, help="Show the traceback of an error as well.")
def commands(debug: bool) -> None:
    """Turn a trained window classifier into a fully convolutional network.

    A window classifier answers for one small crop. Its fully convolutional form answers for every
    window of an image of any size, in one pass, with the very scores that the crops would get.

    New here? Run 'fullconv demo'.
    """
