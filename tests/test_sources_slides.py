"""Whole slides whose makers leave tiles out: alike through TIFF and OpenSlide, and in place."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from fullconv.errors import MissingExtraError
from fullconv.geometry.placement import Placement
from fullconv.scanning.scanner import scan
from fullconv.sources import open_source, resized
from fullconv.sources.slide import open_slide
from test_cli_scan import call
from test_placed_files import converted, mean_of
from test_sources import check_pixels, noise

Places = Collection[tuple[int, int]]

TILES: dict[str, Any] = {
    "dtype": "u1",
    "tile": (64, 64),
    "photometric": "rgb",
    "compression": "jpeg",
    "metadata": None,
}


def glass(height: int, width: int) -> NDArray[np.uint8]:
    """Return squares of 8 pixels in light colours, which JPEG keeps well."""
    colours = np.random.default_rng(0).integers(100, 200, (height // 8 + 1, width // 8 + 1, 3))
    return np.kron(colours, np.ones((8, 8, 1), int))[:height, :width].astype(np.uint8)


def tiles_of(pixels: NDArray[np.uint8], missing: Places) -> Iterator[NDArray[np.uint8] | None]:
    """Yield tiles of 64x64, but for those at some places (y, x)."""
    for y in range(0, pixels.shape[0], 64):
        for x in range(0, pixels.shape[1], 64):
            part = pixels[y : y + 64, x : x + 64]
            rest = (0, 64 - part.shape[0]), (0, 64 - part.shape[1]), (0, 0)
            yield None if (y, x) in missing else np.pad(part, rest)


def philips(path: Path, levels: int, missing: Places, below: Places = ()) -> NDArray[np.uint8]:
    """Write a slide as Philips does, its levels filled up to whole tiles; return the first."""

    def spacing(level: int) -> str:
        told = " ".join(f"&quot;{mm * 2**level}&quot;" for mm in (0.00025, 0.0005))
        return f'<Attribute Name="DICOM_PIXEL_SPACING" PMSVR="IDoubleArray">{told}</Attribute>'

    each = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">{spacing(level)}'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_NUMBER" PMSVR="IUInt16">{level}'
        f"</Attribute></DataObject>"
        for level in range(levels)
    )
    xml = (
        f'<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        f'<Attribute Name="PIM_DP_SCANNED_IMAGES" PMSVR="IDataObjectArray"><Array>'
        f'<DataObject ObjectType="DPScannedImage">'
        f'<Attribute Name="PIM_DP_IMAGE_TYPE" PMSVR="IString">WSI</Attribute>{spacing(0)}'
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE" PMSVR="IDataObjectArray">'
        f"<Array>{each}</Array></Attribute></DataObject></Array></Attribute></DataObject>"
    )
    first = glass(192, 256)
    with tifffile.TiffWriter(path) as file:
        told = {"software": "Philips DP v1.0", "description": xml}
        file.write(tiles_of(first, missing), shape=first.shape, **told, **TILES)
        for level in range(1, levels):
            held = np.ascontiguousarray(first[:: 2**level, :: 2**level])
            size = [-(-n // 64) * 64 for n in held.shape[:2]]
            full = np.pad(
                held, ((0, size[0] - held.shape[0]), (0, size[1] - held.shape[1]), (0, 0))
            )
            lost = below if level == 1 else ()
            shown = {"shape": full.shape, "subfiletype": 1, "description": f"level={level}"}
            file.write(tiles_of(full, lost), **shown, **TILES)
    return first


def aperio(path: Path, missing: Places, below: Places = ()) -> NDArray[np.uint8]:
    """Write a slide as Aperio does, with a thumbnail between its levels; return the first."""
    first = glass(192, 258)
    half = np.ascontiguousarray(first[:192:2, :258:2])
    name = "Aperio Image Library v11.2.1\r\n258x192 [0,0 258x192] (64x64)"
    with tifffile.TiffWriter(path) as file:
        told = f"{name} JPEG/RGB Q=30|AppMag = 20|MPP = 0.4990"
        file.write(tiles_of(first, missing), shape=first.shape, description=told, **TILES)
        told = "Aperio Image Library v11.2.1\r\n258x192 -> 65x48 - |AppMag = 20|MPP = 0.4990"
        plain = {"photometric": "rgb", "metadata": None, "rowsperstrip": 16}
        file.write(np.ascontiguousarray(first[::4, ::4]), description=told, **plain)
        told = f"{name} -> 129x96 JPEG/RGB Q=30"
        file.write(tiles_of(half, below), shape=half.shape, description=told, **TILES)
    return first


def whole(source: Any) -> NDArray[Any]:
    """Return all pixels of a source."""
    pixels: NDArray[Any] = source.read((0, source.size[0]), (0, source.size[1]))
    return pixels


def test_missing_tiles_of_philips_are_white_through_both(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    path = tmp_path / "slide.tiff"
    first = philips(path, 3, {(64, 64), (128, 0)}, {(64, 64)})
    for level in range(3):
        source = open_source(path, level=level)
        through = open_slide(path).at(level)
        assert source.size == through.size
        assert np.array_equal(whole(source), whole(through))
        assert source.um_per_pixel == through.um_per_pixel == (0.25 * 2**level, 0.5 * 2**level)
        assert source.placement == Placement((2.0**level,) * 2, (0.0, 0.0))
        assert not source.lacks_pixels
    pixels = whole(open_source(path))
    assert (pixels[64:128, 64:128] == 255).all()
    assert np.abs(pixels[:64].astype(int) - first[:64]).mean() < 5
    assert (whole(open_source(path, level=1))[64:, 64:] == 255).all()


@pytest.mark.parametrize(
    ("missing", "below"),
    [((), ()), ({(64, 64)}, ()), ((), {(0, 64)}), ({(0, 128), (0, 192), (64, 64)}, {(64, 64)})],
)
def test_missing_tiles_of_aperio_are_alike_through_both(
    tmp_path: Path, missing: Places, below: Places
) -> None:
    pytest.importorskip("openslide")
    path = tmp_path / "slide.svs"
    aperio(path, missing, below)
    for level in range(2):
        source, through = open_source(path, level=level), open_slide(path).at(level)
        assert np.array_equal(whole(source), whole(through))
        assert source.placement == through.placement == Placement((2.0**level,) * 2, (0.0, 0.0))
        assert source.um_per_pixel == (0.499 * 2**level,) * 2
    for y, x in missing:
        assert (whole(open_source(path))[y : y + 64, x : x + 64] == 255).all()


def test_a_level_of_aperio_that_lacks_tiles_needs_openslide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    aperio(tmp_path / "whole.svs", ())
    assert open_source(tmp_path / "whole.svs", level=1).size == (96, 129)
    aperio(tmp_path / "slide.svs", {(64, 64)})
    assert (whole(open_source(tmp_path / "slide.svs"))[64:128, 64:128] == 255).all()
    with pytest.raises(MissingExtraError, match=r"Reading level 1 of .*slide\.svs, which lacks"):
        open_source(tmp_path / "slide.svs", level=1)


def sparse(path: Path, missing: Places, size: tuple[int, int] = (192, 256)) -> NDArray[np.uint8]:
    """Write a TIFF of no slide that lacks tiles, and return its pixels."""
    pixels = noise(*size, 3)
    options = {**TILES, "compression": "zlib"}
    tifffile.imwrite(path, tiles_of(pixels, missing), shape=pixels.shape, **options)
    for y, x in missing:
        pixels[y : y + 64, x : x + 64] = 0
    return pixels


@pytest.mark.parametrize("step", [4, 8])
def test_elsewhere_what_is_missing_is_not_scanned(tmp_path: Path, step: int) -> None:
    import fullconv

    path = tmp_path / "a.tif"
    pixels = sparse(path, {(64, 128), (128, 0)})
    lacking = np.zeros(pixels.shape[:2], bool)
    lacking[64:128, 128:192] = lacking[128:192, :64] = True
    source = open_source(path)
    check_pixels(source, pixels)
    assert source.lacks_pixels
    missing = source.missing((50, 150), (40, 200))
    assert missing is not None
    assert np.array_equal(missing, lacking[50:150, 40:200])
    assert source.missing((0, 64), (0, 256)) is None
    fcn = fullconv.convert(mean_of(3), step=(step, step))
    for tile in (None, (3, 5)):
        heatmap = scan(fcn, path, tile=tile)
        scored = np.isfinite(heatmap[0])
        for (row, column), is_scored in np.ndenumerate(scored):
            x0, y0, x1, y1 = heatmap.grid.box(row, column)
            assert is_scored == (not lacking[y0:y1, x0:x1].any())
    assert heatmap.metadata["odd_windows"] == int((~scored).sum())


def test_pixels_made_of_missing_ones_are_missing(tmp_path: Path) -> None:
    sparse(tmp_path / "a.tif", {(64, 128)})
    of = open_source(tmp_path / "a.tif")
    for size in ((96, 128), (77, 101), (300, 500)):
        source = resized(of, size)
        missing = source.missing((0, size[0]), (0, size[1]))
        assert missing is not None
        y0, x0 = (64 * size[0] / 192, 128 * size[1] / 256)
        y1, x1 = (128 * size[0] / 192, 192 * size[1] / 256)
        # All of the hole, and what the filter mixes with it: about two pixels of the coarser image.
        assert missing[int(np.ceil(y0)) : int(y1), int(np.ceil(x0)) : int(x1)].all()
        most = 3 * max(1, size[0] / 192) + 2
        rows, columns = np.nonzero(missing)
        assert (rows.min() >= y0 - most) & (rows.max() <= y1 + most)
        assert (columns.min() >= x0 - most) & (columns.max() <= x1 + most)
        part = source.missing((10, 60), (20, 90))
        assert np.array_equal(
            part if part is not None else np.zeros((50, 70)), missing[10:60, 20:90]
        )


def test_windows_on_missing_tiles_are_counted_in_the_summary(tmp_path: Path) -> None:
    import onnx

    sparse(tmp_path / "a.tif", {(64, 128)})
    onnx.save(mean_of(3), tmp_path / "model.onnx")
    named = str(tmp_path / "model.onnx"), str(tmp_path / "a.tif")
    result = call("scan", *named, "-o", str(tmp_path / "h.zarr"), "--step", "32")
    # Windows at rows 64 and 96 and columns 128 and 160 lie on the tile.
    assert (
        "note     4 windows lie on tiles that the file does not hold, and are left as not scanned"
        in result.stdout
    )


def test_a_slide_is_scanned_where_its_tiles_are_missing(tmp_path: Path) -> None:
    philips(tmp_path / "slide.tiff", 1, {(64, 64)})
    heatmap = scan(converted(3), tmp_path / "slide.tiff")
    assert np.isfinite(heatmap[0]).all()
    assert heatmap[0, 16, 16] == 1.0
