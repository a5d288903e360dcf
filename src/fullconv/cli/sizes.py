"""How sizes and lists are written on the command line."""

from __future__ import annotations

import math
import re
from typing import Any

import click

from fullconv.geometry import Pair


class Window(click.ParamType[Pair]):
    """``WIDTHxHEIGHT`` as image sizes are written; the value is (height, width)."""

    name = "WIDTHxHEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Pair:
        """Read the text."""
        if isinstance(value, tuple):
            return value[0], value[1]
        pair = _pair(value)
        if pair is None:
            self.fail(
                f"expected WIDTHxHEIGHT in whole pixels of at least 1, as in 64x128; got {value!r}",
                param,
                ctx,
            )
        return pair


class Step(click.ParamType[Pair]):
    """One number for both directions, or ``WIDTHxHEIGHT``; the value is (rows, columns)."""

    name = "N|WIDTHxHEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Pair:
        """Read the text."""
        if isinstance(value, tuple):
            return value[0], value[1]
        pair = _pair(f"{value}x{value}" if re.fullmatch(r"\d+", value) else value)
        if pair is None:
            self.fail(
                f"expected whole pixels of at least 1, one number for both directions as in 8, or "
                f"WIDTHxHEIGHT as in 16x8; got {value!r}. Any such step can be had; the divisors "
                f"and multiples of the network's own stride are the cheapest",
                param,
                ctx,
            )
        return pair


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


def _pair(text: str) -> Pair | None:
    """Read ``WIDTHxHEIGHT`` as (height, width); None where it is nothing of the kind."""
    match = re.fullmatch(r"(\d+)[xX](\d+)", text.strip(), re.ASCII)
    if match is None:
        return None
    width, height = int(match[1]), int(match[2])
    return (height, width) if width and height else None
