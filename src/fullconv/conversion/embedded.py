"""The preprocessing and activation that a converted model holds beside the network.

Note [Embedded]

A converted ONNX model may begin with its preprocessing and end with an activation. It then takes
bytes as image libraries give them, ``(N, H, W, C)``, and gives probabilities. The network between
them is the one that was compared with crops. Pixels are prepared one by one, ahead of any padding,
and the scores of each window are activated by themselves. So a window still has the scores of its
crop: of the crop prepared, scored alone, and activated. Verification compares with exactly that,
and does outside of the classifier the steps that it does not hold itself (`Embedded.without`).

The graph prepares pixels by the operations of `Preprocessing.apply`, in their order and in single
precision. In ONNX Runtime the network therefore sees the same numbers, to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from fullconv.choices import Activation
from fullconv.errors import ImageError
from fullconv.geometry.images import LETTERS, ImageShape
from fullconv.preprocessing import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEY = "fullconv.embedded"
"""The metadata key that holds an `Embedded` as JSON."""


@dataclass(frozen=True)
class Embedded:
    """The steps inside a converted model, beside the network; see Note [Embedded].

    Attributes
    ----------
    activation : {"none", "softmax", "sigmoid"}
        The function behind the network: softmax over the classes of every window, or sigmoid.
    preprocessing : Preprocessing or None
        The preparation ahead of the network; the model then takes bytes, channels last.
    """

    activation: Activation = "none"
    preprocessing: Preprocessing | None = None

    def __bool__(self) -> bool:
        """Whether anything is inside."""
        return self != NOTHING

    def without(self, own: Embedded) -> Embedded:
        """Return the steps that are left to do outside of a model that holds its ``own``."""
        return Embedded(
            "none" if own.activation != "none" else self.activation,
            None if own.preprocessing is not None else self.preprocessing,
        )

    def prepared(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return pixels ``(N, C, *size)`` as the network sees them."""
        if self.preprocessing is None:
            return pixels
        return self.preprocessing.apply(pixels, dimensions=pixels.ndim - 2)

    def activated(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return scores ``(N, K, ...)`` as the model gives them."""
        if self.activation == "none":
            return scores
        from fullconv.conversion.activations import sigmoid, softmax

        return softmax(scores, axis=1) if self.activation == "softmax" else sigmoid(scores)

    def check_pixels(self, call: str, dtype: object) -> None:
        """Check that pixels are bytes, where the model prepares them itself.

        Raises
        ------
        ImageError
            If they are anything else.
        """
        name = str(getattr(dtype, "name", dtype))
        if self.preprocessing is not None and name != "uint8":
            raise ImageError(
                f"{call}: the model takes bytes (uint8, 0 to 255), for its preprocessing is "
                f"inside; got {name}. Convert the image to 8 bits, or the classifier without "
                f"embedded preprocessing."
            )

    def lines(self, shape: ImageShape) -> tuple[str, ...]:
        """Return the lines of a report on these steps."""
        found = []
        if self.preprocessing is not None:
            order = f", {self.preprocessing.formula}"
            if shape.channels == 3:
                turned = self.preprocessing.channel_order == "BGR"
                order = f", RGB{' (turned to BGR first)' if turned else ''}{order}"
            found.append(f"takes bytes (uint8) {image_axes(shape)}{order}")
        if self.activation != "none":
            over = " over the classes of every window" if self.activation == "softmax" else ""
            found.append(f"gives probabilities: {self.activation}{over}")
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the JSON that a model file stores."""
        return json.dumps(self.as_dict())

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Embedded:
        """Read the metadata of a model; without the key, it holds nothing.

        Raises
        ------
        ValueError
            If the entry cannot be read.
        """
        return cls.from_json(metadata[KEY]) if KEY in metadata else cls()

    @classmethod
    def from_json(cls, text: str) -> Embedded:
        """Read the JSON that a model file stores.

        Raises
        ------
        ValueError
            If it is no such JSON.
        """
        from fullconv.conversion import stored

        activation, preparation = stored.entries(
            stored.value_of(text), ("activation", "preprocessing")
        )
        if preparation is not None:
            preparation = Preprocessing.from_json(json.dumps(preparation))
        return cls(stored.activation(activation), preparation)


NOTHING = Embedded()


def image_axes(shape: ImageShape) -> str:
    """Return the axes of images of bytes, as messages name them: ``(N, H, W, 3)``."""
    channels = () if shape.takes == "cells" else (str(shape.channels),)
    return f"({', '.join(('N', *LETTERS[shape.grid.dimensions], *channels))})"
