"""How an image file becomes what a model takes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fullconv.converted import FullyConvolutional
from fullconv.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODES = {1: "L", 3: "RGB", 4: "RGBA"}

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")
"""Grey images of more than 8 bits, whose values Pillow would clip to 255 on conversion."""


def read_image(path: Path, channels: int) -> NDArray[np.float32]:
    """Read an image file as ``(channels, H, W)``, with its pixel values unchanged.

    Parameters
    ----------
    path : Path
        Any file that Pillow reads; of several pages, the first.
    channels : int
        1 for grey, 3 for RGB, 4 for RGBA. Grey pixels are repeated for a model that takes RGB.

    Raises
    ------
    ImageError
        If the file is missing, broken or huge, or the model takes another number of channels.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    if channels not in MODES:
        raise ImageError(
            f"{path}: the model takes {channels} channels, and image files are read as grey (1), "
            f"RGB (3) or RGBA (4); call fullconv.verify from Python with your own array."
        )
    if not path.exists():
        raise ImageError(f"{path}: no such file; check the path of the image.")
    if path.is_dir():
        raise ImageError(f"{path} is a folder; give an image file inside it.")
    try:
        with warnings.catch_warnings():
            # Large images are what this is for; Pillow refuses the absurd ones by an error.
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                deep = image.mode in DEEP_MODES
                pixels = np.asarray(image if deep else image.convert(MODES[channels]), np.float32)
    except UnidentifiedImageError:
        raise ImageError(
            f"{path} is not an image, or of a kind that Pillow does not know; give a PNG, JPEG "
            f"or TIFF file."
        ) from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"{path} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels, "
            f"too many to read at once; cut out the part that you want to check."
        ) from None
    except Exception as error:
        raise ImageError(
            f"{path} cannot be read: the file is damaged or cut short ({error}); copy or save it "
            f"again."
        ) from None
    if pixels.ndim == 2:
        return np.broadcast_to(pixels, (channels, *pixels.shape))
    return pixels.transpose(2, 0, 1)


def prepare(fcn: FullyConvolutional, pixels: NDArray[np.float32]) -> Any:
    """Return pixels ``(C, H, W)`` as the model's own arrays ``(1, C, H, W)``, preprocessed."""
    import numpy as np

    if fcn.preprocessing is not None:
        pixels = fcn.preprocessing.apply(pixels)
    return fcn.framework.images(fcn.model, np.ascontiguousarray(pixels[None]))
