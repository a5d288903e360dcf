"""Options that several commands share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fullconv.cli.paths import LocalPath, NamedType, PreprocessingType
from fullconv.cli.sizes import BandsType, NumbersType, StepType, WindowType
from fullconv.errors import InputError
from fullconv.geometry.grid import Sizes
from fullconv.preprocessing import CHANNEL_ORDERS, KNOWN, ChannelOrder, Preprocessing

if TYPE_CHECKING:
    from fullconv.frameworks.wsinfer import WsinferConfig

Decorated = Callable[..., Any]

MODEL_HELP = """MODEL is an .onnx, .pt2, .pt (TorchScript), .keras, .h5 or .hdf5 file; a .json of
Keras' architecture, with its weights beside it or from --weights; a folder of WSInfer, timm or
transformers, with config.json beside the weights; or the code of a PyTorch model as
package.module:callable, where the callable takes nothing and returns a torch.nn.Module; its weights
come from --weights. timm:NAME, torchvision:NAME and keras:NAME are those libraries' own models,
with their trained weights unless --weights gives others."""


@dataclass(frozen=True)
class Conversion:
    """The flags of `conversion`: how a command converts a classifier."""

    check: bool = True
    allow_random: bool = False


def conversion(command: Decorated) -> Decorated:
    """Add --no-check and --allow-random, which the command takes as ``conversion``."""

    @functools.wraps(command)
    def gathering(*positional: Any, check: bool, allow_random: bool, **others: Any) -> Any:
        return command(*positional, conversion=Conversion(check, allow_random), **others)

    gathered: Decorated = gathering
    for add in (
        allow_random,
        click.option(
            "--no-check",
            "check",
            is_flag=True,
            flag_value=False,
            default=True,
            help="Convert a classifier without comparing a few windows of random pixels with "
            "their crops first. The windows that a scan compares at its end are those of --check.",
        ),
    ):
        gathered = add(gathered)
    return gathered


def allow_random(command: Decorated) -> Decorated:
    """Add --allow-random."""
    return click.option(
        "--allow-random",
        is_flag=True,
        help="Take a classifier that draws random numbers, too; nothing is then called exact.",
    )(command)


@dataclass(frozen=True)
class ModelFlags:
    """The argument and flags of `model`: the model, and the windows that it is converted for."""

    named: str
    weights: Path | None = None
    window: int | Sizes | None = None
    step: int | Sizes | None = None
    approximate: bool = False

    @property
    def given(self) -> list[str]:
        """The flags of conversion that were typed."""
        flags = {"--window": self.window, "--step": self.step}
        typed = [flag for flag, value in flags.items() if value is not None]
        return [*typed, "--approximate"] if self.approximate else typed


def model(command: Decorated) -> Decorated:
    """Add MODEL, and which windows it is converted for, which the command takes as ``model``."""

    @functools.wraps(command)
    def gathering(
        *positional: Any,
        model: str,
        weights: Path | None,
        window: int | Sizes | None,
        step: int | Sizes | None,
        approximate: bool,
        **others: Any,
    ) -> Any:
        flags = ModelFlags(model, weights, window, step, approximate)
        return command(*positional, model=flags, **others)

    gathered: Decorated = gathering
    for add in (
        click.option(
            "--weights",
            type=LocalPath(reads=True),
            help="State dict, or a checkpoint with one, for package.module:callable, timm: or "
            "torchvision: (.safetensors, .pt, .pth or .ckpt); for keras: .weights.h5, .h5 or "
            ".keras; for a .json .h5 or .hdf5.",
        ),
        click.option(
            "--approximate",
            is_flag=True,
            help="Pad at the image's border only: the classical conversion. Always one pass, but "
            "for networks that pad, the scores are no longer those of the crops.",
        ),
        click.option(
            "--step",
            type=StepType(),
            metavar="N|WIDTHxHEIGHT",
            help="Pixels between neighbouring windows, one number for all axes. Default: the "
            "network's own stride.",
        ),
        click.option(
            "--window",
            type=WindowType(),
            metavar="N|WIDTHxHEIGHT",
            help="Size of the crops it was trained on, as in 64x128, of volumes "
            "WIDTHxHEIGHTxDEPTH; one number, as in 64, or 3000 of recordings, is the length along "
            "every axis that the model has. May be left out where the model fixes it.",
        ),
        click.argument("model", metavar="MODEL", type=NamedType()),
    ):
        gathered = add(gathered)
    return gathered


def as_json(command: Decorated) -> Decorated:
    """Add --json."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
    )(command)


def bands(command: Decorated) -> Decorated:
    """Add --bands."""
    text = "Which bands, counted from 1, as in 4,3,2."
    return click.option("--bands", type=BandsType(), help=text)(command)


@dataclass(frozen=True)
class PreprocessingFlags:
    """The flags of `preprocessing`; None for those that were not given.

    --preprocessing gives a ``file``, or the preprocessing ``known`` by a name.
    """

    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channel_order: ChannelOrder | None = None
    um_per_pixel: float | None = None
    file: Path | None = None
    known: Preprocessing | None = None

    @functools.cached_property
    def config(self) -> WsinferConfig | None:
        """The content of --preprocessing's file; None without one."""
        if self.file is None:
            return None
        from fullconv.frameworks.wsinfer import read_wsinfer

        return read_wsinfer(self.file)

    @property
    def given(self) -> list[str]:
        """Name the flags that were given and that change pixels."""
        flags = {
            "--scale": self.scale,
            "--mean": self.mean,
            "--std": self.std,
            "--channel-order": self.channel_order,
            "--preprocessing": self.file or self.known,
        }
        return [name for name, value in flags.items() if value is not None]

    def check_channels(self, command: str, channels: int) -> None:
        """Check the numbers that were typed against the model's channels.

        Raises
        ------
        InputError
            If their count is neither 1 nor the number of channels.
        """
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if numbers is not None and len(numbers) not in (1, channels):
                raise InputError(
                    f"{command} --{name}: expected one number, or {channels}, one per channel of "
                    f"the model; got {len(numbers)}."
                )


def preprocessing_of(
    flags: PreprocessingFlags, stored: Preprocessing | None
) -> Preprocessing | None:
    """Return the preprocessing that flags, file and model give; None if none of them does.

    A flag wins over the file, and the file over the preprocessing stored in the model. A flag
    changes its own field and keeps the others. The file sets all fields, and a known name all but
    the resolution.
    """
    base = flags.config.preprocessing if flags.config else stored
    if flags.known is not None:
        base = replace(flags.known, um_per_pixel=stored.um_per_pixel if stored else None)
    given = {
        name: value
        for name in ("scale", "mean", "std", "channel_order", "um_per_pixel")
        if (value := getattr(flags, name)) is not None
    }
    return replace(base or Preprocessing(), **given) if given else base


def preprocessing(command: Decorated) -> Decorated:
    """Add the flags of preprocessing, which the command takes as ``flags``."""

    @functools.wraps(command)
    def gathering(
        *positional: Any,
        scale: float | None,
        mean: tuple[float, ...] | None,
        std: tuple[float, ...] | None,
        channel_order: ChannelOrder | None,
        um_per_pixel: float | None,
        preprocessing: Path | Preprocessing | None,
        **others: Any,
    ) -> Any:
        known = preprocessing if isinstance(preprocessing, Preprocessing) else None
        file = preprocessing if isinstance(preprocessing, Path) else None
        flags = PreprocessingFlags(
            scale=scale,
            mean=mean,
            std=std,
            channel_order=channel_order,
            um_per_pixel=um_per_pixel,
            file=file,
            known=known,
        )
        return command(*positional, flags=flags, **others)

    gathered: Decorated = gathering
    for add in (
        click.option(
            "--preprocessing",
            metavar="FILE|NAME",
            type=PreprocessingType(),
            help=f"A WSInfer config.json that says all of this, or the name of what was done for "
            f"weights that many share: {', '.join(KNOWN)}.",
        ),
        click.option(
            "--um-per-pixel",
            type=float,
            help="Resolution that the model was trained at, in micrometres per pixel.",
        ),
        click.option(
            "--channel-order",
            type=click.Choice(CHANNEL_ORDERS),
            help="The order in which the model takes colours. Default: RGB.",
        ),
        click.option("--std", type=NumbersType(), help="Then they are divided by this."),
        click.option(
            "--mean",
            type=NumbersType(),
            help="Then this is subtracted; one number, or per channel.",
        ),
        click.option(
            "--scale", type=float, help="Pixels are multiplied by this first, as in 0.00392157."
        ),
    ):
        gathered = add(gathered)
    return gathered
