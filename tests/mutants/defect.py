"""The shape of a planted defect."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Defect:
    """An edit, and the tests of which one must fail.

    Attributes
    ----------
    name : str
        What is wrong with the code then.
    room : str
        A folder or file below ``src/fullconv``.
    old, new : str
        Text that stands there once, and what takes its place.
    tests : tuple of str
        As pytest names them, below ``tests``.
    """

    name: str
    room: str
    old: str
    new: str
    tests: tuple[str, ...]
