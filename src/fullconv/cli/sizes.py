"""Parameters of the command line that are sizes, numbers or lists."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from operator import lt
from typing import Any, Generic, TypeVar

import click

from fullconv.choices import LARGEST_SCALE
from fullconv.geometry.grid import NUMBERS, Sizes

DIGITS = r"[0-9]{1,18}"
"""A whole number of at most 18 digits; Python refuses to read thousands of them."""

NOT_FINITE = "{} is not a finite number"

T = TypeVar("T")


class WindowType(click.ParamType[int | Sizes]):
    """``WIDTHxHEIGHT`` as image sizes are written; the value is (height, width).

    A volume has ``WIDTHxHEIGHTxDEPTH``, with the last axis of arrays first. One number is the
    length along every axis.
    """

    name = "N|WIDTHxHEIGHT"

    def __init__(self, dimensions: Collection[int] = NUMBERS) -> None:
        self.dimensions = dimensions

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Sizes:
        """Read the text."""
        if isinstance(value, int | tuple):
            return value
        sizes = _sizes(value)
        if sizes is not None and len(sizes) == 1:
            return sizes[0] if len(self.dimensions) > 1 else sizes * min(self.dimensions)
        if sizes is None or len(sizes) not in self.dimensions:
            self.fail(
                f"expected WIDTHxHEIGHT in whole pixels of at least 1, as in 64x128; got {value!r}",
                param,
                ctx,
            )
        return sizes


class StepType(click.ParamType[int | Sizes]):
    """One number for all directions, or as `WindowType`; the value is (rows, columns)."""

    name = "N|WIDTHxHEIGHT"
    expected = (
        "expected whole pixels of at least 1, one number for both directions as in 8, or "
        "WIDTHxHEIGHT as in 16x8; got {!r}. Any such step can be had; the divisors and multiples "
        "of the network's own stride are the cheapest"
    )

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Sizes:
        """Read the text."""
        if isinstance(value, int | tuple):
            return value
        sizes = _sizes(value)
        if sizes is None:
            self.fail(self.expected.format(value), param, ctx)
        return sizes[0] if len(sizes) == 1 else sizes


class TileType(StepType):
    """A size in windows, written as `StepType` is."""

    expected = (
        "expected windows, at least 1: one number for both directions as in 32, or WIDTHxHEIGHT "
        "as in 64x32; got {!r}"
    )


def along(sizes: int | Sizes | None, dimensions: int) -> Sizes | None:
    """Return a value of `StepType` as one number per axis."""
    return (sizes,) * dimensions if isinstance(sizes, int) else sizes


class Listed(click.ParamType[tuple[T, ...]], Generic[T]):
    """Values between commas.

    Attributes
    ----------
    expected : str
        The message for a text that is no such list, with ``{!r}`` for the text.
    """

    name = "A,B,..."
    expected: str

    def read(self, text: str) -> tuple[T, ...]:
        """Return the values of a text; none if it is no such list."""
        raise NotImplementedError

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[T, ...]:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        values = self.read(value)
        if not values:
            self.fail(self.expected.format(value), param, ctx)
        return values


class NumbersType(Listed[float]):
    """Finite numbers between commas."""

    expected = "expected numbers between commas, as in 0.485,0.456,0.406; got {!r}"

    def read(self, text: str) -> tuple[float, ...]:
        """Return the numbers; none if one of them is no finite number."""
        try:
            numbers = tuple(float(part) for part in text.split(","))
        except ValueError:
            return ()
        return numbers if all(map(math.isfinite, numbers)) else ()


def between_commas(numbers: Iterable[float]) -> str:
    """Return numbers as a user types them."""
    return ",".join(f"{number:g}" for number in numbers)


class ScalesType(NumbersType):
    """Factors between commas, by each of which an image is resized."""

    expected = (
        f"expected numbers above 0 and up to {LARGEST_SCALE} between commas, as in 1,0.75,0.5; "
        "got {!r}"
    )

    def read(self, text: str) -> tuple[float, ...]:
        """Return the factors; none if one of them is out of range."""
        scales = super().read(text)
        return scales if all(0 < scale <= LARGEST_SCALE for scale in scales) else ()


class NumberType(click.ParamType[float]):
    """Any finite number."""

    name = "float"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text."""
        number: float = click.FLOAT.convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(NOT_FINITE.format(value), param, ctx)
        return number


class FiniteType(click.FloatRange):
    """A finite number in a range, as in `click.FloatRange`."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(NOT_FINITE.format(value), param, ctx)
        return number


class BandsType(Listed[int]):
    """Band numbers between commas, counted from 1."""

    expected = "expected band numbers from 1 between commas, as in 4,3,2; got {!r}"

    def read(self, text: str) -> tuple[int, ...]:
        """Return the band numbers; none if one of them is no whole number from 1."""
        if not re.fullmatch(rf"(?!0){DIGITS}(,(?!0){DIGITS})*", text, re.ASCII):
            return ()
        return tuple(int(part) for part in text.split(","))


class BoxType(NumbersType):
    """``X0,Y0,X1,Y1`` in pixels; of a recording ``T0,T1``, of a volume ``X0,Y0,Z0,X1,Y1,Z1``."""

    name = "X0,Y0,X1,Y1"
    expected = (
        "expected X0,Y0,X1,Y1 in pixels, as in 0,0,2048,1024, with X0 left of X1 and Y0 above Y1; "
        "got {!r}"
    )

    def read(self, text: str) -> tuple[float, ...]:
        """Return the edges; none if they are not those of a box."""
        edges = super().read(text)
        begin, end = edges[: len(edges) // 2], edges[len(edges) // 2 :]
        is_box = len(begin) == len(end) and len(begin) in NUMBERS
        return edges if is_box and all(map(lt, begin, end)) else ()


class MemoryType(click.ParamType[int]):
    """An amount of memory, as in 512MB or 2GB; the value is in bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(rf"({DIGITS}(?:\.\d+)?)\s*([KMG]?)B?", value.strip().upper(), re.ASCII)
        size = int(float(match[1]) * 1000 ** " KMG".index(match[2] or " ")) if match else 0
        if not size:
            self.fail(
                f"expected an amount of memory, as in 512MB or 2GB; got {value!r}", param, ctx
            )
        return size


class NamesType(Listed[str]):
    """Different names between commas."""

    expected = "expected different names between commas, as in background,dress; got {!r}"

    def read(self, text: str) -> tuple[str, ...]:
        """Return the names; none if one of them is empty or repeated."""
        names = tuple(part.strip() for part in text.split(","))
        return names if all(names) and len(set(names)) == len(names) else ()


def _sizes(text: str) -> Sizes | None:
    """Read numbers with an x between them, last axis first; None for any other text."""
    match = re.fullmatch(rf"{DIGITS}([xX]{DIGITS}){{0,2}}", text.strip(), re.ASCII)
    sizes = tuple(int(number) for number in reversed(text.lower().split("x"))) if match else ()
    return sizes if sizes and all(sizes) else None
