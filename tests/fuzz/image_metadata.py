"""What images say beside their pixels: tags, descriptions, places, settings, all hostile."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from random import Random

import numpy as np
import tifffile

from fuzz.case import Case, Cases, Files
from fuzz.mutating import VALUES, json_changed, text_changed
from fuzz.scenes import classifier
from fuzz.sound_images import OME, SVS, VRT, sound_images

BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "'
    + b"a" * 1000
    + b'">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]>"
)
"""The head of an XML text that grows to terabytes where its entities are taken for text."""

GDAL = b'<GDALMetadata><Item name="a" domain="OVERVIEWS">1</Item></GDALMetadata>'

SCAN = ("scan", "model.onnx", "image.tif", "-o", "heat.zarr", "--check", "0")

Made = tuple[Files, tuple[str, ...]]
"""Files, and the call that reads them."""


def cases(seed: int, count: int) -> Cases:
    """Yield images whose pixels are sound."""
    chance = Random(seed)
    for number in range(count):
        make = MAKERS[number % len(MAKERS)]
        files, call = make(chance)
        what = make.__name__[1:]
        yield Case(f"{number}-{what}", call, {"model.onnx": classifier(), **files})


def _tags(chance: Random) -> Made:
    """Change kind, count or value of one to three tags of a TIFF."""
    name = chance.choice([name for name in sound_images() if name.startswith("tiff ")])
    data = bytearray(sound_images()[name]["image.tif"])
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        tags = [(tag.offset, tiff.tiff.offsetsize) for page in tiff.pages for tag in page.tags]
    for at, size in chance.sample(tags, min(len(tags), chance.choice((1, 1, 2, 3)))):
        field = chance.choice(("kind", "count", "value", "value"))
        value = chance.choice((0, 1, 2, 7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1))
        if field == "kind":
            data[at + 2 : at + 4] = struct.pack("<H", chance.randrange(20))
        elif field == "count":
            data[at + 4 : at + 8] = struct.pack("<I", value)
        else:
            data[at + 4 + size : at + 8 + size] = struct.pack("<I", value)
    return {"image.tif": bytes(data)}, SCAN


def _descriptions(chance: Random) -> Made:
    """Change the text in which a microscope's maker says what a TIFF is."""
    text = chance.choice((OME, SVS, "ImageJ=1.53\nimages=1\nunit=um\nspacing=2.0\n", VRT))
    changed = text_changed(text.encode(), chance)
    numbers = [chance.choice((0.0, -1.0, float("nan"), 1e308, 1e-308)) for _ in range(6)]
    keys = [1, 1, 0, chance.choice((1, 9, 65535)), 1024, 0, 1, chance.randrange(65536)]
    more = [
        (42112, "s", 0, text_changed(GDAL, chance), True),
        *((33550, "d", 3, numbers[:3], True), (33922, "d", 6, numbers, True)),
        (34735, "H", 8, keys, True),
    ]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.zeros((72, 88, 3), np.uint8),
        **{"photometric": "rgb", "tile": (32, 32), "metadata": None},
        description=changed,
        extratags=more if chance.random() < 0.5 else [],
        resolution=(chance.choice((0, 1, 300, 2**32 - 1)), chance.choice((0, 1, 300))),
    )
    asked = ("--um-per-pixel", chance.choice(("0.5", "1e-9", "1e9")))
    return {"image.tif": file.getvalue()}, SCAN + (asked if chance.random() < 0.3 else ())


def _entities(chance: Random) -> Made:
    """Give XML whose entities grow without end, or name files."""
    head = chance.choice((BOMB, b'<!DOCTYPE x [<!ENTITY j SYSTEM "/etc/passwd">]>'))
    if chance.random() < 0.5:
        text = OME.partition("?>")[2].encode().replace(b'"Image:0"', b'"&j;"')
        file = io.BytesIO()
        pixels = np.zeros((72, 88), np.uint8)
        tifffile.imwrite(file, pixels, metadata=None, description=head + text)
        return {"image.tif": file.getvalue()}, SCAN
    text = VRT.encode().replace(b"EPSG:32631", b"&j;")
    files = {"image.vrt": head + text, "part.tif": sound_images()["tiff deflate"]["image.tif"]}
    return files, ("scan", "model.onnx", "image.vrt", *SCAN[3:])


def _wsinfer(chance: Random) -> Made:
    """Change a config.json of WSInfer."""
    config = {
        "spec_version": "1.0",
        "architecture": "small",
        "num_classes": 2,
        "class_names": ["a", "b"],
        "patch_size_pixels": 16,
        "spacing_um_px": 0.5,
        "transform": [
            {"name": "Resize", "arguments": {"size": 16}},
            {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": [0.5] * 3, "std": [0.5] * 3}},
        ],
    }
    data = json_changed(json.dumps(config).encode(), chance)
    files = {"config.json": data, "image.tif": sound_images()["tiff svs"]["image.tif"]}
    return files, (*SCAN, "--preprocessing", "config.json")


def _ome_zarr(chance: Random) -> Made:
    """Change only the attributes of an OME-Zarr image."""
    version = chance.choice((2, 3))
    files = dict(sound_images()[f"ome-zarr v{version}"])
    name = "image.zarr/.zattrs" if version == 2 else "image.zarr/zarr.json"
    if version == 2:
        files[name] = json_changed(files[name], chance)
    else:
        held = json.loads(files[name])
        changed = json.loads(json_changed(json.dumps(held["attributes"]).encode(), chance))
        held["attributes"] = changed if chance.random() < 0.9 else chance.choice(VALUES)
        files[name] = json.dumps(held).encode("utf-8", "surrogatepass")
    asked = ("--um-per-pixel", "1") if chance.random() < 0.3 else ()
    return files, ("scan", "model.onnx", "image.zarr", *SCAN[3:], *asked)


def _auxiliary(chance: Random) -> Made:
    """Put what GDAL looks for beside a raster."""
    kind = chance.choice(("raster HFA", "raster GTiff", "raster ENVI"))
    files = dict(sound_images()[kind])
    name = next(iter(files))
    text = (
        b"<PAMDataset><SRS>EPSG:32631</SRS><GeoTransform>1, 2, 0, 3, 0, -2</GeoTransform><Metadata "
        b'domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">x.ovr</MDI></Metadata></PAMDataset>'
    )
    ending = chance.choice((".aux.xml", ".ovr", ".msk", ".aux"))
    files[name + ending] = chance.choice((text_changed(text, chance), VRT.encode(), files[name]))
    return files, ("scan", "model.onnx", name, *SCAN[3:])


MAKERS: tuple[Callable[[Random], Made], ...] = (
    *(_tags, _descriptions, _entities, _wsinfer, _ome_zarr, _auxiliary),
)
