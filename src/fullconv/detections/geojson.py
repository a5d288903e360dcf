"""Detections as GeoJSON: for QuPath in pixels, for GIS in the raster's coordinates.

QuPath imports a FeatureCollection of polygons in pixels of the full image, from its top left
corner, with ``objectType``, ``classification`` (name, and color as red, green, blue) and
``measurements`` (a number for each name) in the properties (QuPath documentation, "Exporting
annotations", GeoJSON).

A raster's own coordinate reference system stands in the ``crs`` member of GeoJSON 2008, which
RFC 7946 has left out and GDAL still writes and reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from fullconv.detections.found import Detections, Georeferenced
from fullconv.detections.palette import colour_of
from fullconv.errors import InputError
from fullconv.placement import NOWHERE, epsg


def lines(found: Detections, georeference: Georeferenced | None) -> Iterator[str]:
    """Return the lines of the file, one for each box.

    Raises
    ------
    InputError
        If the detections are of several images: pixels of one are not those of another.
    """
    if len(found.names) != 1:
        raise InputError(
            f".geojson holds the boxes of one image, and these are of {len(found.names)}; write "
            f"a file for each, detections.of_image(name).save(...), or use .csv or .json."
        )
    return _lines(found, georeference)


def _lines(found: Detections, georeference: Georeferenced | None) -> Iterator[str]:
    transform = NOWHERE if georeference is None else georeference.transform
    yield '{"type": "FeatureCollection",'
    if georeference is not None and georeference.crs:
        yield f'\n"crs": {json.dumps(crs_member(georeference.crs), ensure_ascii=False)},'
    yield '\n"features": ['
    for number, one in enumerate(found):
        measurements = {"score": one.score}
        if found.probabilities is not None:
            chances = found.probabilities[number].tolist()
            measurements |= {
                f"prob_{name}": chance for name, chance in zip(found.classes, chances, strict=True)
            }
        feature = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring(one.box, transform)]},
            "properties": {
                "objectType": "detection",
                "classification": {"name": one.name, "color": list(colour_of(one.label))},
                "measurements": measurements,
            },
        }
        yield (",\n" if number else "\n") + json.dumps(feature, ensure_ascii=False)
    yield "\n]}\n"


def ring(
    box: tuple[float, float, float, float], transform: tuple[float, ...]
) -> list[tuple[float, float]]:
    """Return the corners of a box, the first one again at the end.

    Down the left side first: on a map with north up that is counterclockwise, as RFC 7946
    (section 3.1.6) wants an outer ring.
    """
    x0, y0, x1, y1 = box
    a, b, c, d, e, f = transform
    corners = [(x0, y0), (x0, y1), (x1, y1), (x1, y0), (x0, y0)]
    return [(a * x + b * y + c, d * x + e * y + f) for x, y in corners]


def crs_member(wkt: str) -> dict[str, Any]:
    """Return how GDAL names a coordinate reference system in GeoJSON.

    By its EPSG code where the WKT ends with one, which is then that of the whole system;
    longitude and latitude on WGS 84 as CRS84, because their order in GeoJSON is that of CRS84.
    Any other is given as it is, which GDAL reads as well.
    """
    code = epsg(wkt)
    if code is None:
        name = wkt
    elif code == "4326":
        name = "urn:ogc:def:crs:OGC:1.3:CRS84"
    else:
        name = f"urn:ogc:def:crs:EPSG::{code}"
    return {"type": "name", "properties": {"name": name}}
