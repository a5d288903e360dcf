"""Detections as GeoJSON: for QuPath in pixels, for GIS in the raster's coordinates.

QuPath imports a FeatureCollection of polygons in pixels of the full image, from its top left
corner, with ``objectType``, ``classification`` (name, and color as red, green, blue) and
``measurements`` (a number for each name) in the properties (QuPath documentation, "Exporting
annotations", GeoJSON).

A raster's own coordinate reference system stands in the ``crs`` member of GeoJSON 2008, which
RFC 7946 has left out and GDAL still writes and reads. Each feature then has the box in pixels, as
``box``.

A member ``fullconv`` of the collection has the entries that QuPath and GIS do not use: the name of
the image, the names of all classes, and whether the corners are in other coordinates than pixels.
Names are written as Note [Names in files] says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fullconv.detections.columns import Columns
from fullconv.detections.palette import colour_of
from fullconv.detections.table import PREFIX
from fullconv.detections.text import dump_json, load_json
from fullconv.errors import InputError
from fullconv.geometry.placement import NOWHERE, epsg
from fullconv.sources.names import as_text, from_text

if TYPE_CHECKING:
    from fullconv.detections.found import Detections
    from fullconv.geometry.placement import Georeference

OWN = "fullconv"
BOX = "box"
SCORE = "score"


def lines(detections: Detections, georeference: Georeference | None) -> Iterator[str]:
    """Return the lines of the file, one for each box.

    Raises
    ------
    InputError
        If the detections are of several images: pixels of one are not those of another.
    """
    if len(detections.names) != 1:
        raise InputError(
            f".geojson holds the boxes of one image, and these are of {len(detections.names)}; "
            f"write a file for each, detections.of_image(name).save(...), or use .csv or .json."
        )
    return _lines(detections, georeference)


def _lines(detections: Detections, georeference: Georeference | None) -> Iterator[str]:
    transform = NOWHERE if georeference is None else georeference.transform
    yield '{"type": "FeatureCollection",'
    classes = [as_text(name) for name in detections.classes]
    own: dict[str, Any] = {"image": as_text(detections.names[0]), "classes": classes}
    if georeference is not None:
        own["placed"] = True
    yield f'\n"{OWN}": {dump_json(own)},'
    if georeference is not None and georeference.crs:
        yield f'\n"crs": {dump_json(crs_member(georeference.crs))},'
    yield '\n"features": ['
    for number, one in enumerate(detections):
        measurements = {SCORE: one.score}
        if detections.probabilities is not None:
            chances = detections.probabilities[number].tolist()
            measurements |= {
                f"{PREFIX}{name}": chance for name, chance in zip(classes, chances, strict=True)
            }
        feature: dict[str, Any] = {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring(one.box, transform)]},
            "properties": {
                "objectType": "detection",
                "classification": {
                    "name": classes[one.label],
                    "color": list(colour_of(one.label)),
                },
                "measurements": measurements,
            },
        }
        if georeference is not None:
            feature["properties"][BOX] = list(one.box)
        yield (",\n" if number else "\n") + dump_json(feature)
    yield "\n]}\n"


def ring(box: Sequence[float], transform: tuple[float, ...]) -> list[tuple[float, float]]:
    """Return the corners of a box, the first one again at the end.

    The left side comes first, downwards: on a map with north up that is counterclockwise, as
    RFC 7946 (section 3.1.6) wants an outer ring.
    """
    x0, y0, x1, y1 = box
    a, b, c, d, e, f = transform
    corners = [(x0, y0), (x0, y1), (x1, y1), (x1, y0), (x0, y0)]
    return [(a * x + b * y + c, d * x + e * y + f) for x, y in corners]


def crs_member(wkt: str) -> dict[str, Any]:
    """Return a coordinate reference system as GDAL names it in GeoJSON.

    A system is named by its EPSG code if the WKT ends with one, which is then that of the whole
    system. Longitude and latitude on WGS 84 are CRS84, because their order in GeoJSON is that of
    CRS84. Any other system is given as WKT, which GDAL reads as well.
    """
    code = epsg(wkt)
    if code is None:
        name = wkt
    elif code == "4326":
        name = "urn:ogc:def:crs:OGC:1.3:CRS84"
    else:
        name = f"urn:ogc:def:crs:EPSG::{code}"
    return {"type": "name", "properties": {"name": name}}


def parse(text: str) -> Columns:
    """Return the detections in a collection of polygons, each as the box around it.

    If another program has dropped the names, the image is called "", and classes are in the order
    of the polygons.
    """
    entries = load_json(text)
    try:
        features, own = list(entries["features"]), entries.get(OWN) or {}
        image = from_text(str(own.get("image", "")))
        classes = [str(name) for name in own.get("classes", ())]
        is_placed = "crs" in entries or bool(own.get("placed"))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(
            "expected a GeoJSON FeatureCollection, as fullconv writes it; something is missing or "
            "broken."
        ) from None
    places = {name: place for place, name in reversed(list(enumerate(classes)))}
    boxes, scores, labels, every = [], [], [], []
    for number, one in enumerate(features):
        try:
            boxes.append(_box(one, is_placed))
            properties = one["properties"]
            measurements = properties["measurements"]
            name = str(properties["classification"]["name"])
            if places.setdefault(name, len(classes)) == len(classes):
                classes.append(name)
            labels.append(places[name])
            scores.append(float(measurements[SCORE]))
            every.append(
                {key: float(n) for key, n in measurements.items() if key.startswith(PREFIX)}
            )
        except InputError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(
                f"feature {number} is no detection; expected a polygon with a classification and a "
                f"score among its measurements."
            ) from None
    chances = [[one.get(f"{PREFIX}{name}", np.nan) for name in classes] for one in every]
    probabilities = np.array(chances, dtype=np.float64).reshape(len(every), len(classes))
    return Columns(
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        scores=np.array(scores, dtype=np.float64),
        labels=np.array(labels, dtype=np.int64),
        images=np.zeros(len(boxes), dtype=np.int64),
        classes=tuple(from_text(name) for name in classes),
        names=(image,),
        sizes=(None,),
        probabilities=None if np.isnan(probabilities).any() or not len(every) else probabilities,
    )


def _box(feature: Mapping[str, Any], is_placed: bool) -> tuple[float, float, float, float]:
    """Return the box of a feature in pixels."""
    own = feature["properties"].get(BOX)
    if own is not None:
        x0, y0, x1, y1 = (float(edge) for edge in own)
        return x0, y0, x1, y1
    if is_placed:
        raise InputError(
            f"its boxes are in the coordinates of a raster, and have lost those in pixels "
            f"({BOX}); write them again."
        )
    if feature["geometry"]["type"] != "Polygon":
        raise ValueError
    corners = np.array([point[:2] for point in feature["geometry"]["coordinates"][0]], np.float64)
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return x0, y0, x1, y1
