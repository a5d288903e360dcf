"""How sizes and lists are written on the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from typing import Any

import click

from fullconv.choices import LARGEST_SCALE
from fullconv.geometry import NUMBERS, Sizes

DIGITS = r"[0-9]{1,18}"
"""A whole number; of more digits none is meant, and Python would not read thousands of them."""

NOT_FINITE = "{} is not a finite number"


class Window(click.ParamType[int | Sizes]):
    """``WIDTHxHEIGHT`` as image sizes are written; the value is (height, width).

    A volume has ``WIDTHxHEIGHTxDEPTH``: the last axis of arrays stands first. One number is the
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


class Step(click.ParamType[int | Sizes]):
    """One number for all directions, or as `Window`; the value is (rows, columns)."""

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


class Tile(Step):
    """As `Step`, in windows."""

    expected = (
        "expected windows, at least 1: one number for both directions as in 32, or WIDTHxHEIGHT "
        "as in 64x32; got {!r}"
    )


def along(sizes: int | Sizes | None, dimensions: int) -> Sizes | None:
    """Return what `Step` has read along every axis: one number is that of all."""
    return (sizes,) * dimensions if isinstance(sizes, int) else sizes


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers between commas."""

    name = "A,B,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if not numbers or not all(math.isfinite(number) for number in numbers):
            self.fail(
                f"expected numbers between commas, as in 0.485,0.456,0.406; got {value!r}",
                param,
                ctx,
            )
        return numbers


def between_commas(numbers: Iterable[float]) -> str:
    """Return numbers as they are typed."""
    return ",".join(f"{number:g}" for number in numbers)


class Scales(Numbers):
    """Factors between commas, by each of which an image is resized."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Read the text."""
        try:
            scales = super().convert(value, param, ctx)
        except click.BadParameter:
            scales = ()
        if not scales or not all(0 < scale <= LARGEST_SCALE for scale in scales):
            self.fail(
                f"expected numbers above 0 and up to {LARGEST_SCALE} between commas, as in "
                f"1,0.75,0.5; got {value!r}",
                param,
                ctx,
            )
        return scales


class Number(click.ParamType[float]):
    """Any number, but no NaN nor infinity."""

    name = "float"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text."""
        number: float = click.FLOAT.convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(NOT_FINITE.format(value), param, ctx)
        return number


class Finite(click.FloatRange):
    """A number in a range, as `click.FloatRange`, and no NaN nor infinity."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(NOT_FINITE.format(value), param, ctx)
        return number


class Bands(click.ParamType[tuple[int, ...]]):
    """Band numbers between commas, counted from 1."""

    name = "A,B,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(rf"(?!0){DIGITS}(,(?!0){DIGITS})*", value, re.ASCII):
            self.fail(
                f"expected band numbers from 1 between commas, as in 4,3,2; got {value!r}",
                param,
                ctx,
            )
        return tuple(int(part) for part in value.split(","))


class Box(click.ParamType[tuple[float, ...]]):
    """``X0,Y0,X1,Y1`` in pixels; of a recording ``T0,T1``, of a volume ``X0,Y0,Z0,X1,Y1,Z1``."""

    name = "X0,Y0,X1,Y1"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        begin, end = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        is_box = len(begin) == len(end) and len(begin) in NUMBERS
        is_box = is_box and all(map(math.isfinite, numbers))
        if not is_box or any(first >= last for first, last in zip(begin, end, strict=True)):
            self.fail(
                f"expected X0,Y0,X1,Y1 in pixels, as in 0,0,2048,1024, with X0 left of X1 and Y0 "
                f"above Y1; got {value!r}",
                param,
                ctx,
            )
        return numbers


class Memory(click.ParamType[int]):
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


class Names(click.ParamType[tuple[str, ...]]):
    """Names between commas."""

    name = "A,B,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in value.split(","))
        if not all(names) or len(set(names)) < len(names):
            self.fail(
                f"expected different names between commas, as in background,dress; got {value!r}",
                param,
                ctx,
            )
        return names


def _sizes(text: str) -> Sizes | None:
    """Read numbers with an x between them, the last axis first; None where they are none."""
    found = re.fullmatch(rf"{DIGITS}([xX]{DIGITS}){{0,2}}", text.strip(), re.ASCII)
    sizes = tuple(int(number) for number in reversed(text.lower().split("x"))) if found else ()
    return sizes if sizes and all(sizes) else None
