"""Names come back from text as they were, and go to every disk."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fullconv.sources.names import LONGEST_BYTES, as_file, as_text, from_text

anything = st.text(st.characters(exclude_categories=()))
"""Also halves of surrogate pairs, as which Python holds bytes that are no UTF-8."""

tricky = st.text("%25uE9DC0A\udce9\ud83d\ude00\x85\n é")
"""Signs of which codes consist, and what is written by one."""


@given(anything | tricky)
@example("%%\n%E9%e9%25%2541%u2028%uDCE9%4%\udce9")
def test_every_name_comes_back_from_text(name):
    text = as_text(name)
    assert from_text(text) == name
    text.encode("utf-8")
    assert len(text.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f]", text)


@given(anything | tricky)
def test_what_is_no_code_stays_as_it_is(text):
    """Names that other programs wrote, as in a%20b.png, are read as they stand."""
    name = from_text(text)
    assert name == text or as_text(name) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ('photos/été 100%, "a" b.png', 'photos/été 100%, "a" b.png'),
        ("caf\udce9.png", "caf%E9.png"),
        ("caf%E9.png", "caf%25E9.png"),
        ("caf%e9.png", "caf%e9.png"),
        ("a\r\n\tb", "a%0D%0A%09b"),
        ("\x85\u2028\ud800", "%u0085%u2028%uD800"),
    ],
)
def test_names_are_written_as_the_note_says(name, text):
    assert as_text(name) == text


@pytest.mark.parametrize(
    ("name", "ending", "file"),
    [
        ("a.b", ".zarr", "a.b.zarr"),
        ("été (2), 100%", ".csv", "été (2), 100%.csv"),
        ("a:b|c\\d", ".csv", "a%3Ab%7Cc%5Cd.csv"),
        ("a%3Ab", ".csv", "a%253Ab.csv"),
        ("con", ".zarr", "%63on.zarr"),
        ("Com1.more", ".zarr", "%43om1.more.zarr"),
        ("console", ".zarr", "console.zarr"),
        ("caf\udce9\n", ".zarr", "caf%E9%0A.zarr"),
        ("a.", ".zarr", "a..zarr"),
        ("folder.", "", "folder%2E"),
        ("folder ", "", "folder%20"),
    ],
)
def test_results_have_names_that_every_disk_can_hold(name, ending, file):
    assert as_file(name, ending) == file


@given(st.lists(anything.filter(bool) | tricky.filter(bool), unique=True, max_size=8))
@example(["con", "%63on", "a.", "a%2E", "a" * 300, "a" * 299, "é" * 200, "é" * 201])
def test_no_two_names_give_one_result(names):
    files = [as_file(name) for name in names]
    assert len(set(files)) == len(names)
    for file in files:
        assert len(file.encode()) <= LONGEST_BYTES
        assert not re.search(r'[<>:"/\\|?*\x00-\x1f]|[. ]$', file)
