"""The keywords of the verbs: one set of names and defaults for Python and the command line."""

from __future__ import annotations

from dataclasses import MISSING, fields
from importlib import import_module
from typing import Any

import click
import pytest

import fullconv
from fullconv.detections.search import Search
from fullconv.keywords import ScanOptions, TrainOptions
from fullconv.scanning.options import Options, OutputOptions
from fullconv.training.settings import TrainSettings

SCAN = {**ScanOptions.__annotations__, "resize": "float"}
DETECT = {**ScanOptions.__annotations__, **{field.name: "" for field in fields(Search)}}

OTHERWISE = {
    "scan": {"output_number": "output"},
    "detect": {"across_classes": "per_class"},
    "train": {},
}
"""Options of the command line that have another name than the keyword, and why: the name
``output`` is taken by -o; a flag says what is not usual."""

OF_COMMANDS = {
    "scan": {
        *("model", "weights", "window", "step", "approximate", "check", "allow_random"),
        *("images", "output", "overlay", "dry_run", "as_json"),
        *("scale", "mean", "std", "channel_order", "um_per_pixel"),
    },
    "train": {"crops", "output", "window", "as_json"},
}
"""What only a command takes: the model, files, and flags from which a record is made."""
OF_COMMANDS["detect"] = {*OF_COMMANDS["scan"], "truth"}


def defaults(*records: type) -> dict[str, Any]:
    """Return the defaults that records hold."""
    return {
        field.name: field.default
        for record in records
        for field in fields(record)
        if field.default is not MISSING
    }


def options(verb: str) -> dict[str, click.Parameter]:
    """Return the options of a command by the keywords that they are."""
    command = import_module(f"fullconv.cli.{verb}").command
    return {
        OTHERWISE[verb].get(option.name, option.name): option
        for option in command.params
        if option.name not in OF_COMMANDS[verb]
    }


def default(option: click.Parameter) -> Any:
    """Return what an option is when it is not given."""
    context = click.Context(click.Command("any"))
    value = option.get_default(context)
    if option.name == "across_classes":
        return not value
    if isinstance(value, str):
        return option.type.convert(value, option, context)
    return value if isinstance(value, bool | int | float) else None  # click's mark of nothing


@pytest.mark.parametrize(
    ("verb", "known", "records"),
    [
        ("scan", SCAN, (Options, OutputOptions)),
        ("detect", DETECT, (Options, OutputOptions, Search)),
        ("train", TrainOptions.__annotations__, (TrainSettings,)),
    ],
)
def test_the_command_line_has_the_keywords_of_python_and_their_defaults(
    verb: str, known: dict[str, Any], records: tuple[type, ...]
) -> None:
    given = options(verb)
    assert set(given) <= set(known)
    expected = {name: value for name, value in defaults(*records).items() if name in given}
    assert {name: default(given[name]) for name in expected} == expected
    assert len(expected) >= 12


@pytest.mark.parametrize("record", [Options, OutputOptions])
def test_every_default_of_a_scan_belongs_to_a_keyword(record: type) -> None:
    assert set(defaults(record)) <= set(SCAN)


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [(fullconv.scan, (None, None)), (fullconv.detect, (None, None)), (fullconv.train, ("a", "b"))],
)
def test_a_keyword_that_is_none_is_refused_as_python_refuses_it(
    verb: Any, arguments: tuple[Any, ...]
) -> None:
    said = rf"^{verb.__name__}\(\) got an unexpected keyword argument 'devcie'$"
    with pytest.raises(TypeError, match=said):
        verb(*arguments, devcie="cpu")
