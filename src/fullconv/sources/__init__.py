"""Images of any kind and size, read rectangle by rectangle.

`open_source` returns a `Source`. Its size, bands, resolution and place are known at once; its
pixels are read on demand. A source reads one level of a pyramid, all or some of its bands
(`open_source`), as many channels as a model takes (`fit_channels`), or the image in another size
(`resized`).
"""

from __future__ import annotations

from fullconv.geometry.placement import Georeference
from fullconv.sources.channels import fit_channels
from fullconv.sources.finding import find_images
from fullconv.sources.opening import open_source, reopen
from fullconv.sources.resized import resized
from fullconv.sources.source import Source

__all__ = [
    "Georeference",
    "Source",
    "find_images",
    "fit_channels",
    "open_source",
    "reopen",
    "resized",
]
