"""Units of length by their names and signs, and what is said of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tifffile

from fullconv.sources import open_source
from fullconv.sources.lengths import um_of, unknown
from placed_files import ome_zarr, spot

# OME-NGFF 0.5, "axes": the units of space that a file should use.
NGFF = {
    **{"angstrom": 1e-4, "attometer": 1e-12, "centimeter": 1e4, "decimeter": 1e5},
    **{"exameter": 1e24, "femtometer": 1e-9, "foot": 304800.0, "gigameter": 1e15},
    **{"hectometer": 1e8, "inch": 25400.0, "kilometer": 1e9, "megameter": 1e12},
    **{"meter": 1e6, "micrometer": 1.0, "mile": 1609344000.0, "millimeter": 1e3},
    **{"nanometer": 1e-3, "parsec": 3.0856775814913673e22, "petameter": 1e21},
    **{"picometer": 1e-6, "terameter": 1e18, "yard": 914400.0, "yoctometer": 1e-18},
    **{"yottameter": 1e30, "zeptometer": 1e-15, "zettameter": 1e27},
}

OME = {
    "\u00b5m": 1.0,
    "\u03bcm": 1.0,
    "Mm": 1e12,
    "mm": 1e3,
    "\u00c5": 1e-4,
    "pm": 1e-6,
    "Pm": 1e21,
}
WRITTEN = {"Microns": 1.0, "UM": 1.0, " um ": 1.0, "Inches": 25400.0, "metres": 1e6, "M": 1e6}


@pytest.mark.parametrize(("unit", "um"), (NGFF | OME | WRITTEN).items())
def test_units_are_known_by_name_and_sign(unit: str, um: float) -> None:
    assert um_of(unit) == pytest.approx(um, rel=1e-12)
    assert unknown("a.zarr", unit) == ()


@pytest.mark.parametrize("unit", ["", "pixel", "Pixels"])
def test_no_unit_is_nothing_to_be_said(unit: str) -> None:
    assert (um_of(unit), unknown("a.zarr", unit)) == (None, ())


def of_zarr(path: Path, unit: str) -> None:
    """Write an image whose axes have a unit."""
    ome_zarr([spot()], [[("scale", [5.0, 5.0])]], unit=unit)(path)


def of_ome(path: Path, unit: str) -> None:
    """Write the same as OME-TIFF."""
    size: dict[str, Any] = {f"PhysicalSize{axis}": 5.0 for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"}
    tifffile.imwrite(path, spot(), metadata=size | units)


def of_imagej(path: Path, unit: str) -> None:
    """Write the same as ImageJ does."""
    tifffile.imwrite(path, spot(), imagej=True, resolution=(0.2, 0.2), metadata={"unit": unit})


WRITERS = {"a.zarr": of_zarr, "a.ome.tif": of_ome, "a.tif": of_imagej}


@pytest.mark.parametrize("name", WRITERS)
def test_the_resolution_is_in_any_unit_of_length(tmp_path: Path, name: str) -> None:
    unit = "inch" if name != "a.ome.tif" else "in"
    WRITERS[name](tmp_path / name, unit)
    assert open_source(tmp_path / name).um_per_pixel == pytest.approx((127000.0, 127000.0))


def test_a_size_in_print_is_no_resolution_through_imagej_either(tmp_path: Path) -> None:
    options: dict[str, Any] = {"imagej": True, "metadata": {"unit": "inch"}}
    for dpi, um in ((72, None), (300, None), (25400, (1.0, 1.0))):
        tifffile.imwrite(tmp_path / "a.tif", spot(), resolution=(dpi, dpi), **options)
        assert open_source(tmp_path / "a.tif").um_per_pixel == um


@pytest.mark.parametrize("name", WRITERS)
def test_an_unknown_unit_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, "furlong")
    source = open_source(tmp_path / name)
    assert source.um_per_pixel is None
    assert source.facts.remarks == (
        f"{tmp_path / name} counts in 'furlong', which is no unit of length that fullconv knows, "
        f"so that the size of its pixels is not known.",
    )
