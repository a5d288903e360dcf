"""The preparation of pixels before the network, which is part of the classifier."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, get_args

from fullconv.checking import is_number
from fullconv.errors import ImageError, InputError
from fullconv.geometry.images import LETTERS, check_numbers
from fullconv.wording import kind, unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ChannelOrder = Literal["RGB", "BGR"]
CHANNEL_ORDERS: tuple[str, ...] = get_args(ChannelOrder)


def unchanged(dimensions: int) -> str:
    """Return the line for a model without preprocessing: pixels stay as they are."""
    things, images = unit(dimensions, many=True), dimensions == 2
    return (
        f"the model does not say how {things} are prepared for it, so they stay as they are"
        f"{' (0 to 255 for 8 bits)' if images else ''}; 'fullconv convert --scale/--mean/--std'"
        f"{', or --preprocessing imagenet,' if images else ''} stores it"
    )


EXPECTED = {"scale": "a number", "mean": "one number or more", "std": "one number or more"}


@dataclass(frozen=True)
class Preprocessing:
    """The preparation of pixels before the network: ``(pixel * scale - mean) / std``, per channel.

    Attributes
    ----------
    scale : float
        1 / 255 for networks trained on pixels between 0 and 1.
    mean, std : tuple of float
        One number, or one per channel, in the model's own order of channels.
    channel_order : {"RGB", "BGR"}
        The order in which the model takes colours. Images come as RGB; "BGR" reverses their
        channels first.
    um_per_pixel : float or None
        The resolution that the model was trained at, in micrometres per pixel; None where its
        images have none. It chooses the pixels that are read, and changes no pixel here.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channel_order: ChannelOrder = "RGB"
    um_per_pixel: float | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            value = getattr(self, name)
            is_list = isinstance(value, Iterable) and not isinstance(value, str)
            object.__setattr__(self, name, tuple(value) if is_list else (value,))
        for name, numbers in (("scale", (self.scale,)), ("mean", self.mean), ("std", self.std)):
            if not numbers or not all(map(_is_single, numbers)):
                raise InputError(
                    f"Preprocessing({name}={getattr(self, name)!r}): expected {EXPECTED[name]}, "
                    f"finite in single precision."
                )
        if any(_single(number) == 0 for number in self.std):
            raise InputError(
                f"Preprocessing(std={self.std}): a std of 0 divides by zero; give each channel's "
                f"standard deviation, or 1."
            )
        if str(self.channel_order) not in CHANNEL_ORDERS:
            raise InputError(
                f"Preprocessing(channel_order={self.channel_order!r}): expected 'RGB' or 'BGR', "
                f"the order in which the model takes colours."
            )
        um = self.um_per_pixel
        if um is not None and not (is_number(um) and um > 0):
            raise InputError(
                f"Preprocessing(um_per_pixel={um}): expected micrometres per pixel, more than 0, "
                f"as in 0.5."
            )

    @property
    def changes_pixels(self) -> bool:
        """Whether anything but the resolution is chosen."""
        plain = not any(self.mean) and all(number == 1 for number in self.std)
        return not (plain and self.scale == 1 and self.channel_order == "RGB")

    @property
    def formula(self) -> str:
        """The formula that is applied to a pixel, for people to read."""
        mean, std = (
            f"{n[0]:.6g}" if len(n) == 1 else f"({', '.join(f'{x:.6g}' for x in n)})"
            for n in (self.mean, self.std)
        )
        return f"(x * {self.scale:.6g} - {mean}) / {std}"

    def check_channels(self, channels: int) -> None:
        """Check that this fits images of ``channels`` channels.

        Raises
        ------
        InputError
            If mean or std are for another number of channels, or there is no RGB to reverse.
        """
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, channels):
                raise InputError(
                    f"Preprocessing({name}={numbers}): expected one number, or {channels}, one "
                    f"per channel of the model; got {len(numbers)}."
                )
        if self.channel_order == "BGR" and channels != 3:
            raise InputError(
                f"Preprocessing(channel_order='BGR'): only three channels can be turned round; "
                f"the model takes {channels}. Leave the channel order out."
            )

    def apply(
        self, pixels: Any, out: NDArray[np.float32] | None = None, *, dimensions: int = 2
    ) -> NDArray[np.float32]:
        """Return prepared pixels, float32, for pixels ``(..., C, H, W)`` of any dtype.

        Every pixel is computed by itself in float32, so a crop comes out the same, to the last
        bit, whether it is cut out before or after.

        Parameters
        ----------
        pixels : array
        out : array, optional
            Float32 of the same shape, to be written to and returned; by default a new one.
        dimensions : int
            Number of axes behind that of channels: 1 for recordings, 3 for volumes.

        Raises
        ------
        ImageError
            If there are no such axes.
        InputError
            If the channels do not fit (`check_channels`).
        """
        import numpy as np

        pixels = np.asarray(pixels)
        if pixels.ndim <= dimensions:
            number = {1: "two", 2: "three", 3: "four"}[dimensions]
            grey = {2: "a grey image"}.get(dimensions, f"a {kind(dimensions)} of one channel")
            raise ImageError(
                f"Preprocessing.apply(pixels): expected (..., C, {', '.join(LETTERS[dimensions])}),"
                f" at least {number} axes; got shape {pixels.shape}. For {grey} add the first "
                f"axis: pixels[None]."
            )
        check_numbers("Preprocessing.apply(pixels)", pixels.dtype)
        channels = pixels.shape[-1 - dimensions]
        self.check_channels(channels)
        behind = (slice(None),) * dimensions
        if self.channel_order == "BGR":
            pixels = pixels[(..., slice(None, None, -1), *behind)]
        prepared = np.empty(pixels.shape, np.float32) if out is None else out
        for channel in range(channels):
            # Most images interleave their colours: copied apart first, they are twice as fast.
            place: Any = (..., channel, *behind)
            self._prepare(np.ascontiguousarray(pixels[place]), channel, prepared[place])
        return prepared

    def _prepare(self, plane: NDArray[Any], channel: int, out: NDArray[np.float32]) -> None:
        """Write one channel's prepared pixels, without the steps that would change nothing."""
        import numpy as np

        mean, std = (n[channel % len(n)] for n in (self.mean, self.std))
        if self.scale != 1:
            np.multiply(plane, np.float32(self.scale), out, dtype=np.float32, casting="unsafe")
        else:
            out[...] = plane
        if mean:
            out -= np.float32(mean)
        if std != 1:
            out /= np.float32(std)

    def to_json(self) -> str:
        """Return the text that a model file stores."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read the text that a model file stores; older files have neither order nor resolution.

        Raises
        ------
        ValueError
            If the text is no preprocessing.
        """
        from fullconv.conversion import stored

        record = stored.value_of(text)
        scale, mean, std = stored.entries(record, ("scale", "mean", "std"))
        return cls(
            scale,
            stored.items(mean, stored.number),
            stored.items(std, stored.number),
            record.get("channel_order", "RGB"),
            record.get("um_per_pixel"),
        )


def _single(number: float) -> float:
    """Return a number rounded to single precision, in which pixels are computed."""
    rounded: float = struct.unpack("f", struct.pack("f", number))[0]
    return rounded


def _is_single(number: object) -> bool:
    try:
        return is_number(number) and isfinite(_single(number))  # type: ignore[arg-type]
    except OverflowError:
        return False


KNOWN = {
    "imagenet": Preprocessing(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": Preprocessing(1 / 255, (0.5,), (0.5,)),
    "dpn": Preprocessing(1 / 255, (124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),)),
    "clip": Preprocessing(
        1 / 255, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
    "caffe": Preprocessing(mean=(103.939, 116.779, 123.68), channel_order="BGR"),
}
"""Preprocessing of pixels of 0 to 255 for widely shared weights, by timm's name for it
(``timm/data/constants.py``); ``caffe`` is that of Caffe's VGG and ResNet, also in Keras."""

ALIASES = {
    "default": "imagenet",
    "imagenet-default": "imagenet",
    "imagenet-dpn": "dpn",
    "imagenet-inception": "inception",
    "openai": "clip",
    "openai-clip": "clip",
}
"""Other names, for those in `KNOWN`."""


def known_preprocessing(name: str) -> Preprocessing | None:
    """Return the preprocessing by its name in `KNOWN` or in timm; None for any other name.

    Capitals and underscores count as small letters and hyphens: ``OPENAI_CLIP``.
    """
    plain = name.lower().replace("_", "-")
    return KNOWN.get(ALIASES.get(plain, plain))
