"""The place of a picture or TIFF on the ground, from its own tags or a file beside it."""

from __future__ import annotations

from pathlib import Path

from fullconv.errors import MissingExtraError
from fullconv.sources.sidecars import Place, placing


def find_place(path: Path, tags: str = "", offset: int | None = None) -> Place:
    """Return the place of a picture or TIFF that GDAL reads from it and from files beside it.

    Parameters
    ----------
    path : Path
    tags : str
        Name of the tags in the file that give its place, for messages; empty without any.
    offset : int, optional
        Offset of the page's directory in a TIFF, if the page is not the first.
    """
    evidence = [*([tags] if tags else []), *(file.name for file in placing(path))]
    if not evidence:
        return Place()
    line = f"{path} lies on the ground by its {' and '.join(evidence)}, not used here"
    try:
        from fullconv.sources.raster import place_of
    except MissingExtraError as error:
        return Place(None, (f"{line}: {error}",))
    place = place_of(path, offset)
    if place.georeference is None and not place.remarks:
        return Place(None, (f"{line}: GDAL finds no place there, or does not read such files.",))
    return place
