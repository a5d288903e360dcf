"""The image of a scan, opened as its options ask for."""

from __future__ import annotations

from math import prod

from fullconv.conversion.converted import FullyConvolutional
from fullconv.errors import ImageError
from fullconv.scanning.options import Options
from fullconv.sources import Source, fit_channels, open_source, resized
from fullconv.sources.given import ImageLike
from fullconv.wording import extent

MOST_WINDOWS = 1 << 36
"""Most windows of one scan. Their scores take 275 GB for each class, and some file formats let a
few bytes claim far more pixels than these have."""


def open_image(fcn: FullyConvolutional, source: ImageLike, options: Options) -> Source:
    """Open an image at the level, resolution and size that is asked for, with the model's
    channels."""
    return fitted(fcn, read_image(fcn, source, options), options.resize)


def read_image(fcn: FullyConvolutional, source: ImageLike, options: Options) -> Source:
    """Open an image at the level and resolution that is asked for, with its own bands."""
    options.check_tile(fcn.grid.dimensions)
    preprocessing = options.prepared(fcn)
    um_per_pixel = options.um_per_pixel
    if um_per_pixel is None and options.level is None and preprocessing is not None:
        # An open source is at the resolution that was chosen for it.
        um_per_pixel = None if isinstance(source, Source) else preprocessing.um_per_pixel
    return open_source(
        source,
        level=options.level,
        um_per_pixel=um_per_pixel,
        own_um_per_pixel=options.own_um_per_pixel,
        bands=options.bands,
        dimensions=fcn.grid.dimensions,
    )


def fitted(fcn: FullyConvolutional, image: Source, scale: float) -> Source:
    """Return an open image with the model's channels, resized by a factor."""
    image = fit_channels(image, fcn.shape.channels)
    fcn.embedded.check_pixels(image.name, image.dtype)
    if scale != 1:
        image = resized(image, [max(1, round(n * scale)) for n in image.size])
    fcn.shape.check_size(image.size)
    _check_count(fcn, image)
    return image


def _check_count(fcn: FullyConvolutional, image: Source) -> None:
    """Refuse an image that claims more pixels than can be scanned.

    Raises
    ------
    ImageError
        If it has too many windows.
    """
    grid = fcn.grid
    count = prod(
        max(0, (n - w) // s + 1) for n, w, s in zip(image.size, grid.window, grid.step, strict=True)
    )
    if count > MOST_WINDOWS:
        raise ImageError(
            f"{image.name} says that it is {extent(image.size)}, which is {count:.2g} windows at "
            f"this step, and fullconv scans up to {MOST_WINDOWS:.2g} at a time; choose a larger "
            f"step or a coarser level, or cut out a part."
        )
