"""What happens to pixels before the network: a part of the function that the classifier is."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, get_args

from fullconv.checking import is_number
from fullconv.errors import ImageError, InputError
from fullconv.images import LETTERS, check_numbers
from fullconv.wording import kind, unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ChannelOrder = Literal["RGB", "BGR"]
CHANNEL_ORDERS: tuple[str, ...] = get_args(ChannelOrder)


def unchanged(dimensions: int) -> str:
    """Return the line that says what happens where a model has no preprocessing."""
    things, images = unit(dimensions, many=True), dimensions == 2
    return (
        f"the model does not say how {things} are prepared for it, so they stay as they are"
        f"{', 0 to 255' if images else ''}; 'fullconv convert --scale/--mean/--std'"
        f"{', or --preprocessing imagenet,' if images else ''} stores it"
    )


EXPECTED = {"scale": "a number", "mean": "one number or more", "std": "one number or more"}


@dataclass(frozen=True)
class Preprocessing:
    """What happens to pixels before the network: ``(pixel * scale - mean) / std``, per channel.

    Attributes
    ----------
    scale : float
        1 / 255 for networks trained on pixels between 0 and 1.
    mean, std : tuple of float
        One number, or one per channel, in the model's own order of channels.
    channel_order : {"RGB", "BGR"}
        The order in which the model takes colours. Images come as RGB; "BGR" turns their channels
        round first.
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
            held = getattr(self, name)
            is_list = isinstance(held, Iterable) and not isinstance(held, str)
            object.__setattr__(self, name, tuple(held) if is_list else (held,))
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
        """What happens to a pixel, as people read it."""
        mean, std = (
            f"{n[0]:.6g}" if len(n) == 1 else f"({', '.join(f'{x:.6g}' for x in n)})"
            for n in (self.mean, self.std)
        )
        return f"(x * {self.scale:.6g} - {mean}) / {std}"

    def check_channels(self, channels: int) -> None:
        """Check that this can be done to images of so many channels.

        Raises
        ------
        InputError
            If there is a mean or std for each of another number of channels, or no RGB to turn
            round.
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
            How many axes there are behind that of channels: 1 for recordings, 3 for volumes.

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
            # Colours lie beside each other in most images: apart first, they are twice as fast.
            place: Any = (..., channel, *behind)
            self._prepare(np.ascontiguousarray(pixels[place]), channel, prepared[place])
        return prepared

    def _prepare(self, plane: NDArray[Any], channel: int, out: NDArray[np.float32]) -> None:
        """Write one channel's prepared pixels; what would change nothing is left out."""
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
        """Return what a model file stores."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Preprocessing:
        """Read what a model file stores; older files have neither order nor resolution.

        Raises
        ------
        ValueError
            If it is nothing of the kind.
        """
        from fullconv import stored

        held = stored.value_of(text)
        scale, mean, std = stored.entries(held, ("scale", "mean", "std"))
        return cls(
            scale,
            stored.items(mean, stored.number),
            stored.items(std, stored.number),
            held.get("channel_order", "RGB"),
            held.get("um_per_pixel"),
        )


def _single(number: float) -> float:
    """Return a number as single precision holds it, in which pixels are computed."""
    held: float = struct.unpack("f", struct.pack("f", number))[0]
    return held


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
"""What is done to pixels of 0 to 255 for weights that many share, by the name that timm has for it
(``timm/data/constants.py``); ``caffe`` is that of Caffe's VGG and ResNet, and Keras' of them."""

ALIASES = {
    "default": "imagenet",
    "imagenet-default": "imagenet",
    "imagenet-dpn": "dpn",
    "imagenet-inception": "inception",
    "openai": "clip",
    "openai-clip": "clip",
}
"""Other names of the same."""


def known_preprocessing(name: str) -> Preprocessing | None:
    """Return what a name in `KNOWN`, or timm's own, means; None for any other.

    Capitals and underscores count as small letters and hyphens: ``OPENAI_CLIP``.
    """
    plain = name.lower().replace("_", "-")
    return KNOWN.get(ALIASES.get(plain, plain))
