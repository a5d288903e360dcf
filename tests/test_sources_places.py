"""Where pictures and TIFFs lie on the ground: found, fitted, or said to be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
from PIL import Image

from fullconv.errors import ImageWarning, InputError
from fullconv.scanning.scanner import scan
from fullconv.sources import open_source, sidecars
from placed_files import UTM, after_thumbnail, beside, by_points, by_table, picture, raster, spot
from test_cli_scan import call
from test_placed_files import converted, mean_of

WITHOUT = (
    "needs the optional packages of the 'geo' extra, which are not installed. Install them with: "
    'pip install "fullconv[geo]"'
)


@pytest.fixture
def without_geo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make rasterio look as if it were not installed."""
    import sys

    monkeypatch.setitem(sys.modules, "rasterio", None)
    for module in ("gdal", "raster"):
        monkeypatch.delitem(sys.modules, f"fullconv.sources.{module}", raising=False)
    monkeypatch.setattr("fullconv.sources.formats._installed", lambda module: False)


@pytest.mark.parametrize("ending", [".pgw", ".PGW", ".pngw", ".wld"])
def test_a_world_file_without_gdal_is_found_and_said_to_be_lost(
    tmp_path: Path, without_geo: None, ending: str
) -> None:
    beside(picture(spot()), ending)(tmp_path / "a.png")
    source = open_source(tmp_path / "a.png")
    assert source.georeference is None
    assert source.facts.remarks == (
        f"{tmp_path / 'a.png'} lies on the ground by its a{ending} and a.png.aux.xml, not used "
        f"here: Reading georeferenced rasters {WITHOUT}",
    )


def test_tags_of_a_geotiff_without_gdal_are_said_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("rasterio")
    raster(spot())(tmp_path / "a.tif")
    request.getfixturevalue("without_geo")
    source = open_source(tmp_path / "a.tif")
    assert source.georeference is None
    assert source.facts.remarks == (
        f"{tmp_path / 'a.tif'} lies on the ground by its GeoTIFF tags, not used here: Reading "
        f"georeferenced rasters {WITHOUT}",
    )


def test_a_place_that_comes_later_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The names in a folder are kept, but only while it does not change."""
    pytest.importorskip("rasterio")
    picture(spot())(tmp_path / "a.png")
    for still in (sidecars.STILL_NS, 0):
        monkeypatch.setattr(sidecars, "STILL_NS", still)
        assert open_source(tmp_path / "a.png").georeference is None
        beside(picture(spot()), ".pgw")(tmp_path / "a.png")
        assert open_source(tmp_path / "a.png").georeference is not None
        for ending in (".pgw", ".png.aux.xml"):
            (tmp_path / f"a{ending}").unlink()


def test_statistics_beside_a_picture_are_no_place(tmp_path: Path) -> None:
    picture(spot())(tmp_path / "a.png")
    (tmp_path / "a.png.aux.xml").write_text("<PAMDataset><Metadata/></PAMDataset>")
    source = open_source(tmp_path / "a.png")
    assert (source.georeference, source.facts.remarks) == (None, ())


def test_a_place_of_a_format_that_gdal_does_not_read_is_said_to_be_lost(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    Image.fromarray(np.dstack([spot()] * 3)).save(tmp_path / "a.qoi")
    (tmp_path / "a.wld").write_text("1\n0\n0\n-1\n5\n5\n")
    assert open_source(tmp_path / "a.qoi").facts.remarks == (
        f"{tmp_path / 'a.qoi'} lies on the ground by its a.wld, not used here: GDAL finds no place "
        f"there, or does not read such files.",
    )


def test_the_place_of_another_page_is_said_to_be_lost(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    after_thumbnail(40, None)(tmp_path / "a.tif")
    source = open_source(tmp_path / "a.tif")
    assert source.georeference is None
    assert source.facts.remarks == (
        f"{tmp_path / 'a.tif'} lies on the ground by GeoTIFF tags of its first page alone, not "
        f"used here: page 2 is read.",
    )


@pytest.mark.parametrize(
    ("plane", "line"),
    [
        ({}, "lies at x 2000, y 1000 by its OME metadata, not used here: 'reference frame' is no"),
        (
            {"PositionXUnit": ["mm"], "PositionYUnit": ["pixel"]},
            "lies at x 2000, y 1000 by its OME",
        ),
    ],
)
def test_a_position_of_no_known_unit_is_said_to_be_lost(
    tmp_path: Path, plane: dict[str, list[str]], line: str
) -> None:
    known = {"PositionX": [2000.0], "PositionY": [1000.0]}
    sizes = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    for size in (sizes, {}):
        metadata = {"axes": "YX", **size, "Plane": known | plane}
        tifffile.imwrite(tmp_path / "a.ome.tif", spot(), metadata=metadata)
        source = open_source(tmp_path / "a.ome.tif")
        assert source.georeference is None
        (said,) = source.facts.remarks
        assert line in said if size else said.endswith("not used here: its pixels have no size.")


def test_a_position_by_the_tags_of_a_tiff_is_said_to_be_lost(tmp_path: Path) -> None:
    tags = [(286, 5, 1, (3, 2), True), (287, 5, 1, (1, 4), True)]
    options: dict[str, Any] = {"resolution": (150, 150), "resolutionunit": 2, "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", spot(), extratags=tags, **options)
    assert open_source(tmp_path / "a.tif").facts.remarks == (
        f"{tmp_path / 'a.tif'} lies 1.5 and 0.25 inches from a corner by its tags XPosition and "
        f"YPosition, which fullconv does not use.",
    )


def test_a_table_that_places_no_image_is_no_place(tmp_path: Path) -> None:
    picture(spot())(tmp_path / "a.png")
    (tmp_path / "a.tab").write_text("!table\n!version 300\nDefinition Table\n  Type NATIVE\n")
    assert open_source(tmp_path / "a.png").facts.remarks == ()
    by_table(tmp_path / "a.png")
    (line,) = open_source(tmp_path / "a.png").facts.remarks
    assert "lies on the ground by its a.tab, not used here: " in line


def test_control_points_that_do_not_fit_say_by_how_much(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    places = [(0, 0), (0, 100), (100, 0), (100, 100)]
    # Of four corners of a square no affine transform meets one that is moved by 4: each by 1.
    by_points(places, [(0, 0), (100, 0), (0, 100), (104, 100)])(tmp_path / "a.tif")
    (line,) = open_source(tmp_path / "a.tif").facts.remarks
    assert line == (
        f"{tmp_path / 'a.tif'} lies on the ground by 4 control points; the transform that fits "
        f"them best misses them by 0.98 pixels (RMS), 0.98 at most."
    )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_control_points_on_a_line_are_said_to_be_lost(tmp_path: Path, count: int) -> None:
    pytest.importorskip("rasterio")
    places = [(n, n) for n in range(count)]
    by_points(places, [(5.0 * y, -5.0 * x) for y, x in places])(tmp_path / "a.tif")
    source = open_source(tmp_path / "a.tif")
    assert source.georeference is None
    assert source.facts.remarks == (
        f"{tmp_path / 'a.tif'} lies on the ground by {count} control points, to which no transform "
        f"can be fitted; warp it first.",
    )


@pytest.mark.parametrize("ending", ["tif", "vrt"])
def test_rational_polynomials_are_named_as_not_supported(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("rasterio")
    from rasterio.rpc import RPC
    from rasterio.shutil import copy

    sides = [f"{axis}_{part}_coeff" for axis in ("line", "samp") for part in ("num", "den")]
    names = ("height", "lat", "line", "long", "samp")
    singles = {f"{name}_{kind}": 1.0 for name in names for kind in ("off", "scale")}
    polynomials = RPC(**dict.fromkeys(sides, [1.0] * 20), **singles, err_bias=None, err_rand=None)
    raster(spot(), transform=None, crs=None, rpcs=polynomials)(tmp_path / "a.tif")
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    source = open_source(tmp_path / f"a.{ending}")
    assert source.georeference is None
    assert source.facts.remarks == (
        f"{tmp_path / f'a.{ending}'} lies on the ground by rational polynomials (RPC), which "
        f"fullconv does not use; warp it first (gdalwarp).",
    )


def test_an_image_that_was_moved_on_the_ground_is_another_run(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    beside(picture(spot()), ".pgw")(tmp_path / "a.png")
    scan(converted(1), tmp_path / "a.png", tmp_path / "heat.tif")
    (tmp_path / "a.pgw").write_text("1\n0\n0\n-1\n5\n5\n")
    with pytest.raises(InputError, match="another run: the image where it lay before;"):
        scan(converted(1), tmp_path / "a.png", tmp_path / "heat.tif")


@pytest.mark.parametrize("out", ["heat.tif", "heat.zarr"])
def test_verify_says_that_an_image_was_moved_on_the_ground(tmp_path: Path, out: str) -> None:
    pytest.importorskip("rasterio")
    beside(picture(spot()), ".pgw")(tmp_path / "a.png")
    onnx.save(mean_of(1), tmp_path / "model.onnx")
    named = str(tmp_path / "model.onnx"), str(tmp_path / "a.png"), "-o", str(tmp_path / out)
    assert call("scan", *named).exit_code == 0
    line = f"note     {tmp_path / 'a.png'} does not lie where it lay when it was scanned"
    assert line not in call("verify", str(tmp_path / out)).stdout
    (tmp_path / "a.pgw").write_text("1\n0\n0\n-1\n5\n5\n")
    result = call("verify", str(tmp_path / out))
    assert result.exit_code == 0
    assert result.stdout.count(line) == 1


def test_what_is_lost_is_said_once_by_every_verb(tmp_path: Path, without_geo: None) -> None:
    path = tmp_path / "a.png"
    beside(picture(spot()), ".pgw")(path)
    onnx.save(mean_of(1), tmp_path / "model.onnx")
    with pytest.warns(ImageWarning, match=r"a\.pgw and a\.png\.aux\.xml, not used here"):
        scan(converted(1), path)
    for verb, out, more in (
        ("scan", "heat.zarr", ()),
        ("detect", "b.csv", ("--scales", "1,0.5")),
        ("detect", "b.geojson", ()),
    ):
        result = call(
            verb, str(tmp_path / "model.onnx"), str(path), "-o", str(tmp_path / out), *more
        )
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.count("not used here") == 1


def test_a_place_is_named_beside_boxes_that_do_not_hold_it(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    raster(spot(), transform=UTM)(tmp_path / "a.tif")
    onnx.save(mean_of(1), tmp_path / "model.onnx")
    told = {"b.csv": "; {} is in pixels, and .geojson would be in these", "b.geojson": ""}
    for name, more in told.items():
        out = str(tmp_path / name)
        result = call("detect", str(tmp_path / "model.onnx"), str(tmp_path / "a.tif"), "-o", out)
        assert f"\nplace    EPSG:32632{more.format(out)}\n" in result.stdout
