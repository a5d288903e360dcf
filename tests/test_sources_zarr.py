"""Zarr arrays and OME-Zarr images are read as they were written."""

import numpy as np
import pytest
import zarr

from fullconv.errors import ImageError, InputError
from fullconv.geometry.placement import Placement, Space
from fullconv.sources import contents, open_source, reopen
from test_sources import check_pixels, noise


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("shape", [(70, 101), (70, 101, 3)])
def test_arrays_are_read(tmp_path, version, dtype, shape):
    pixels = noise(*shape, dtype=dtype)
    chunks = (32, 48, 1)[: len(shape)]
    path = tmp_path / "image.zarr"
    zarr.create_array(path, data=pixels, chunks=chunks, zarr_format=version)
    with open_source(path) as source:
        check_pixels(source, pixels)
        check_pixels(reopen(source.describe()), pixels)


def test_arrays_of_many_blocks_and_of_shards_are_read(tmp_path):
    pixels = noise(700, 1101)
    for name, shards in (("plain", None), ("shards", (320, 480))):
        zarr.create_array(tmp_path / name, data=pixels, chunks=(32, 48), shards=shards)
        source = open_source(tmp_path / name)
        assert source.block == (512, 528)
        check_pixels(source, pixels)


def test_named_axes_are_found_in_any_order(tmp_path):
    pixels = noise(3, 70, 101)
    zarr.create_array(tmp_path / "a", data=pixels, chunks=pixels.shape, dimension_names="cyx")
    check_pixels(open_source(tmp_path / "a"), np.moveaxis(pixels, 0, -1))


def test_chunks_that_were_never_written_have_the_fill_value(tmp_path):
    array = zarr.create_array(
        tmp_path / "a", shape=(70, 101), chunks=(32, 48), dtype="int16", fill_value=-3
    )
    expected = np.full((70, 101), -3, np.int16)
    array[40:50, 40:50] = expected[40:50, 40:50] = 7
    check_pixels(open_source(tmp_path / "a"), expected)


def ome(path, levels, axes, version, unit="micrometer", scale=0.5):
    """Write an OME-Zarr image."""
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    kinds = {"t": "time", "c": "channel"}
    described = [
        {"name": a, "type": kinds.get(a, "space")} | ({} if a in kinds else {"unit": unit})
        for a in axes
    ]
    datasets = []
    for number, level in enumerate(levels):
        group.create_array(str(number), data=level, chunks=[min(n, 32) for n in level.shape])
        scales = [1.0 if a in kinds else scale * 2**number for a in axes]
        transforms = [{"type": "scale", "scale": scales}]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    image = {"axes": described, "datasets": datasets}
    if version == "0.4":
        group.attrs["multiscales"] = [image | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["yx", "cyx", "tczyx"])
def test_levels_bands_and_resolution_of_ome_zarr_are_read(tmp_path, version, axes):
    bands = 3 if "c" in axes else 1
    full = noise(bands, 80, 112)
    levels = [full[:, :: 2**n, :: 2**n] for n in range(3)]
    shapes = {"yx": (0,), "cyx": (slice(None),), "tczyx": (None, slice(None), None)}
    path = tmp_path / "image.ome.zarr"
    ome(path, [level[shapes[axes]] for level in levels], axes, version)
    for number, level in enumerate(levels):
        with open_source(path, level=number) as source:
            check_pixels(source, np.moveaxis(level, 0, -1))
            assert source.um_per_pixel == (0.5 * 2**number, 0.5 * 2**number)
            check_pixels(reopen(source.describe()), np.moveaxis(level, 0, -1))
    check_pixels(open_source(path, um_per_pixel=1.0), np.moveaxis(levels[1], 0, -1))


@pytest.mark.parametrize(
    ("unit", "expected"), [("nanometer", 0.0005), ("millimeter", 500.0), ("second", None)]
)
def test_units_of_length_become_micrometres(tmp_path, unit, expected):
    ome(tmp_path / "a", [noise(20, 30)], "yx", "0.5", unit)
    um = open_source(tmp_path / "a").um_per_pixel
    assert um == (None if expected is None else pytest.approx((expected, expected)))


def transformed(path, sizes, levels, whole=(), units=("micrometer", "micrometer"), version="0.4"):
    """Write an OME-Zarr image of black levels with these transformations (kind, numbers)."""
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    for number, size in enumerate(sizes):
        group.create_array(str(number), shape=size, chunks=(32, 32), dtype="uint8")
    told = [[{"type": kind, kind: numbers} for kind, numbers in one] for one in (*levels, whole)]
    image = {
        "axes": [
            {"name": name, "type": "space"} | ({"unit": unit} if unit else {})
            for name, unit in zip("yx", units, strict=True)
        ],
        "datasets": [
            {"path": str(n), "coordinateTransformations": one} for n, one in enumerate(told[:-1])
        ],
    } | ({"coordinateTransformations": told[-1]} if whole else {})
    if version == "0.4":
        group.attrs["multiscales"] = [image | {"version": "0.4"}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_transformations_of_a_level_come_before_those_of_the_whole(tmp_path, version):
    level = [("scale", [0.5, 0.25]), ("translation", [10.0, 20.0])]
    whole = [("scale", [2.0, 4.0]), ("translation", [100.0, 200.0])]
    source = open_source(transformed(tmp_path / "a", [(64, 64)], [level], whole, version=version))
    space = source.facts.space
    assert space == Space((1.0, 1.0), (120.0, 280.0), "micrometer", 1.0)
    assert source.um_per_pixel == (1.0, 1.0)
    # The centre of pixel 0 lies at the translation, so its edge half a pixel before.
    assert source.georeference.transform == (1.0, 0.0, 279.5, 0.0, 1.0, 119.5)


@pytest.mark.parametrize(
    ("sizes", "scales", "begins", "expected"),
    [
        # Rounded down, padded to chunks, and no whole factor: the scale is what the file declares.
        ([(101, 97), (50, 48)], [1, 2], [0, 0], (2.0, 0.0)),
        ([(100, 100), (64, 64)], [1, 2], [0, 0], (2.0, 0.0)),
        ([(100, 100), (66, 66)], [1, 1.5], [7, 7], (1.5, 0.0)),
        # Means of blocks whose writer counts from centre to centre, and single pixels of them.
        ([(100, 100), (25, 25)], [1, 4], [7, 8.5], (4.0, 0.0)),
        ([(100, 100), (50, 50)], [1, 2], [7, 7.25], (2.0, -0.25)),
    ],
)
def test_levels_lie_where_the_file_declares(tmp_path, sizes, scales, begins, expected):
    levels = [
        [("scale", [0.5 * n] * 2), ("translation", [0.5 * m] * 2)]
        for n, m in zip(scales, begins, strict=True)
    ]
    source = open_source(transformed(tmp_path / "a", sizes, levels), level=1)
    scale, offset = expected
    assert source.placement == Placement((scale,) * 2, (offset,) * 2)
    assert source.um_per_pixel == (0.5 * scale,) * 2


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        (("nanometer", "nanometer"), Space((5.0, 5.0), (1.0, 1.0), "nanometer", 1e-3)),
        (("millimeter", "micrometer"), Space((5000.0, 5.0), (1000.0, 1.0), "micrometer", 1.0)),
        ((None, None), Space((5.0, 5.0), (1.0, 1.0), "", None)),
        (("micrometer", None), Space((5.0, 5.0), (1.0, 1.0), "", None)),
    ],
)
def test_coordinates_keep_the_unit_that_the_file_names(tmp_path, units, expected):
    level = [("scale", [5.0, 5.0]), ("translation", [1.0, 1.0])]
    source = open_source(transformed(tmp_path / "a", [(64, 64)], [level], units=units))
    assert source.facts.space == expected


def test_transformations_that_are_not_followed_are_named(tmp_path):
    level = [("scale", [5.0, 5.0]), ("rotation", [1.0])]
    source = open_source(transformed(tmp_path / "a", [(64, 64)], [level]))
    assert source.facts.remarks == (
        f"{tmp_path / 'a'} is placed by rotation, which fullconv does not follow; it follows "
        f"scales and translations.",
    )


def test_a_resolution_that_is_told_keeps_the_place(tmp_path):
    level = [("scale", [5.0, 5.0]), ("translation", [1000.0, 2000.0])]
    path = transformed(tmp_path / "a", [(64, 64)], [level], units=("nanometer", "nanometer"))
    source = open_source(path, own_um_per_pixel=0.5)
    assert source.facts.space == Space((0.5, 0.5), (1.0, 2.0), "micrometer", 1.0)


def test_a_level_that_is_not_there_is_refused(tmp_path):
    ome(tmp_path / "a", [noise(20, 30), noise(10, 15)], "yx", "0.5")
    with pytest.raises(InputError) as caught:
        open_source(tmp_path / "a", level=2)
    assert str(caught.value) == (
        f"{tmp_path / 'a'} has 2 levels, 0 to 1; got level 2. Choose one of these."
    )


def test_a_stack_is_refused(tmp_path):
    ome(tmp_path / "a", [noise(5, 20, 30)], "zyx", "0.5")
    with pytest.raises(ImageError) as caught:
        open_source(tmp_path / "a")
    assert str(caught.value) == (
        f"{tmp_path / 'a'} holds a stack of pictures (shape (5, 20, 30)), and one image is read "
        f"at a time; save the one that you want to scan."
    )


def test_the_fingerprint_changes_with_the_metadata_of_a_folder(tmp_path):
    zarr.create_array(tmp_path / "a", data=noise(20, 30), chunks=(20, 30))
    before = open_source(tmp_path / "a").fingerprint()
    assert open_source(tmp_path / "a").fingerprint() == before
    (tmp_path / "a/zarr.json").write_text((tmp_path / "a/zarr.json").read_text() + " ")
    assert open_source(tmp_path / "a").fingerprint() != before


@pytest.mark.parametrize("most", [contents.MOST_FILES, 3])
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("within", ["", "0"])
def test_the_fingerprint_changes_with_the_chunks(tmp_path, monkeypatch, most, version, within):
    monkeypatch.setattr(contents, "MOST_FILES", most)
    if within:
        ome(tmp_path / "a", [noise(20, 30)], "yx", "0.4" if version == 2 else "0.5")
    array = zarr.create_array(
        tmp_path / "a" / within,
        shape=(20, 30),
        chunks=(5, 10),
        dtype="uint8",
        zarr_format=version,
        overwrite=True,
    )
    array[:15] = 1
    found = [open_source(tmp_path / "a").fingerprint()]
    assert open_source(tmp_path / "a").fingerprint() == found[0]
    array[5:10] = 2
    found.append(open_source(tmp_path / "a").fingerprint())
    array[15:] = 3
    found.append(open_source(tmp_path / "a").fingerprint())
    assert len(set(found)) == 3


def test_the_fingerprint_of_an_image_that_was_moved_stays(tmp_path):
    zarr.create_array(tmp_path / "a", data=noise(20, 30), chunks=(5, 10))
    before = open_source(tmp_path / "a").fingerprint()
    (tmp_path / "a").rename(tmp_path / "b")
    assert open_source(tmp_path / "b").fingerprint() == before


def test_an_array_without_named_axes_is_one_image(tmp_path):
    zarr.create_array(tmp_path / "a", data=noise(2, 2, 20, 30), chunks=(2, 2, 20, 30))
    with pytest.raises(ImageError) as caught:
        open_source(tmp_path / "a")
    assert str(caught.value) == (
        f"{tmp_path / 'a'}: expected an array (H, W) or (H, W, C); got shape (2, 2, 20, 30). Name "
        f"its axes (dimension_names), or save it as OME-Zarr."
    )
