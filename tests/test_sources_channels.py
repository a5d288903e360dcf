"""Only what a file calls colour is taken for it; other bands are named, and asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import zarr
from PIL import Image

from fullconv.errors import InputError
from fullconv.scanning.picture import small_picture
from fullconv.sources import fit_channels, open_source, reopen
from fullconv.sources.channels import natural_channels
from fullconv.sources.colours import Channel, of_gdal, of_ome
from placed_files import raster
from test_cli_scan import call
from test_placed_files import mean_of
from test_sources import check_pixels, noise

PIXELS = noise(40, 50, 4)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def bands_of(names: Sequence[str]) -> np.ndarray:
    """Return as many bands of noise as names."""
    return np.dstack([noise(40, 50) for _ in names])


def ome_tiff(path: Path, pixels: np.ndarray, names: Sequence[str], numbers: Any = None) -> None:
    """Write every band as a channel of an OME-TIFF, perhaps with a colour."""
    channel: dict[str, Any] = {"Name": list(names)}
    if numbers is not None:
        channel["Color"] = [
            int.from_bytes(bytes((*one, 255)), "big", signed=True) for one in numbers
        ]
    tifffile.imwrite(
        path,
        np.moveaxis(pixels, -1, 0),
        photometric="minisblack",
        metadata={"axes": "CYX", "Channel": channel},
    )


def ome_zarr(path: Path, pixels: np.ndarray, names: Sequence[str], numbers: Any = None) -> None:
    """Write the same as OME-Zarr."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("0", data=np.moveaxis(pixels, -1, 0), chunks=(1, 32, 32))
    colours = numbers or [(128, 128, 128)] * len(names)
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": [{"name": n} for n in "cyx"], "datasets": [{"path": "0"}]}
    ]
    group.attrs["omero"] = {
        "channels": [
            {"label": name, "color": bytes(one).hex().upper()}
            for name, one in zip(names, colours, strict=True)
        ]
    }


WRITERS = {"a.ome.tif": ome_tiff, "a.zarr": ome_zarr}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_fluorescence_is_refused_by_its_names(tmp_path: Path, name: str, count: int) -> None:
    names = ["DAPI", "GFP", "RFP", "Cy5", "Cy7"][:count]
    pixels = bands_of(names)
    # In the colours in which it is shown everywhere, blue first.
    shown = [BLUE, GREEN, RED, (255, 255, 255), (0, 255, 255)][:count]
    WRITERS[name](tmp_path / name, pixels, names, shown)
    source = open_source(tmp_path / name)
    check_pixels(fit_channels(source, count), pixels)
    for channels in {1, 3} - {count}:
        wanted = "1 channel" if channels == 1 else "3 channels"
        todo = (
            "give an image of 3 bands, or name a band for every channel with --bands"
            if count < channels
            else f"choose {channels} of the bands in the model's order with --bands, as in --bands "
            f"{','.join(map(str, range(1, channels + 1)))}"
        )
        with pytest.raises(InputError) as caught:
            fit_channels(source, channels)
        assert str(caught.value) == (
            f"{tmp_path / name} has {count} bands "
            f"({', '.join(f'{n} {one}' for n, one in enumerate(names, 1))}) and the model takes "
            f"{wanted}; {todo}."
        )
    check_pixels(fit_channels(open_source(tmp_path / name, bands=[2]), 1), pixels[..., 1:2])


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["Blue", "green", "R"], [BLUE, GREEN, RED]),
        (["Channel 0", "Channel:0:1", ""], [RED, GREEN, BLUE]),
        (["blue ", "Green", "RED"], None),
    ],
)
def test_channels_that_ome_calls_colours_are_rgb(
    tmp_path: Path, name: str, names: list[str], numbers: Any
) -> None:
    pixels = bands_of(names)
    WRITERS[name](tmp_path / name, pixels, names, numbers)
    source = open_source(tmp_path / name)
    rgb = np.ascontiguousarray(pixels if "Channel 0" in names else pixels[..., ::-1])
    check_pixels(fit_channels(source, 3), rgb)
    check_pixels(fit_channels(source, 1), np.asarray(Image.fromarray(rgb).convert("L")))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["450", "550", "650"], [BLUE, GREEN, RED]),
        (["650", "550", "450"], [RED, GREEN, BLUE]),
        (["ch00", "ch01", "ch02"], [BLUE, GREEN, RED]),
        (["", "", ""], [BLUE, GREEN, RED]),
    ],
)
def test_fluorescence_without_names_is_no_picture(
    tmp_path: Path, name: str, names: list[str], numbers: Any
) -> None:
    """Blue comes first where light is filtered, and in no picture."""
    pixels = bands_of(names)
    WRITERS[name](tmp_path / name, pixels, names, numbers)
    source = open_source(tmp_path / name)
    assert [channel.colour for channel in source.channels] == [""] * 3
    check_pixels(fit_channels(source, 3), pixels)
    with pytest.raises(InputError, match=r"has 3 bands .* choose 1 of the bands"):
        fit_channels(source, 1)


@pytest.mark.parametrize("ending", ["tif", "vrt"])
def test_bands_that_are_described_as_colours_reach_an_rgb_model_as_rgb(
    tmp_path: Path, ending: str
) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    raster(PIXELS, photometric="minisblack")(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.descriptions = ("Blue", "Green", "Red", "NIR")
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    check_pixels(fit_channels(open_source(tmp_path / f"a.{ending}"), 3), PIXELS[..., 2::-1])


def test_colours_of_ome_are_those_of_the_pixels_only_where_names_do_not_differ() -> None:
    def found(names: Sequence[str], *numbers: Any, is_8_bit: bool = True) -> list[str]:
        held = of_ome(zip(names, numbers, strict=True), is_8_bit)
        return [channel.colour for channel in held]

    rgb = ["red", "green", "blue"]
    assert found(["0", "1", "2"], RED, GREEN, BLUE) == rgb
    assert found(["0", "1", "2"], RED, GREEN, BLUE, is_8_bit=False) == [""] * 3
    assert found(["Red", "Green", "Blue"], RED, GREEN, BLUE, is_8_bit=False) == rgb
    assert found(["R", "G", "B", "NIR"], RED, GREEN, BLUE, None) == [*rgb, ""]
    assert found(["0", "1", "2", "3"], RED, GREEN, BLUE, None) == [""] * 4
    assert found(["0", "1", "2"], RED, GREEN, GREEN) == [""] * 3
    assert found(["Red", "Green", "DAPI"], RED, GREEN, BLUE) == [""] * 3
    assert found(["Blue", "Green", "Red"], RED, GREEN, BLUE) == [""] * 3


ORDERS = [
    ["blue", "green", "red"],
    ["blue", "green", "red", "undefined"],
    ["undefined", "green", "blue", "red"],
    ["red", "green", "blue", "undefined"],
    ["red", "green", "blue", "alpha"],
]


@pytest.mark.parametrize("ending", ["tif", "vrt"])
@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_colours_of_a_raster_reach_an_rgb_model_as_rgb(
    tmp_path: Path, ending: str, order: list[str]
) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio.enums import ColorInterp
    from rasterio.shutil import copy

    pixels = PIXELS[..., : len(order)]
    path = tmp_path / "a.tif"
    photometric = "rgb" if order[:3] == ["red", "green", "blue"] else "minisblack"
    raster(pixels, photometric=photometric)(path)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp[word] for word in order]
    if ending != "tif":
        path = tmp_path / f"a.{ending}"
        copy(tmp_path / "a.tif", path, driver="VRT")
    source = open_source(path)
    expected = pixels[..., [order.index(colour) for colour in ("red", "green", "blue")]]
    fitted = fit_channels(source, 3)
    check_pixels(fitted, expected)
    check_pixels(reopen(fitted.describe()), expected)
    assert np.array_equal(small_picture(source, source.size), expected)
    if len(order) == 4:
        check_pixels(fit_channels(source, 4), pixels)
    # What the user has chosen stays in the chosen order.
    check_pixels(fit_channels(open_source(path, bands=[3, 1, 2]), 3), pixels[..., [2, 0, 1]])
    if "undefined" in order:
        with pytest.raises(InputError, match=r"unnamed.* and the model takes 1 channel; choose"):
            fit_channels(source, 1)
    else:
        grey = np.asarray(Image.fromarray(np.ascontiguousarray(expected)).convert("L"))
        check_pixels(fit_channels(source, 1), grey)


@pytest.mark.parametrize("ending", ["tif", "vrt"])
def test_spectral_bands_are_refused_by_their_descriptions(tmp_path: Path, ending: str) -> None:
    rasterio = pytest.importorskip("rasterio")
    from rasterio.shutil import copy

    raster(PIXELS.astype(np.uint16))(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.descriptions = ("B2", "B3", "B4", "B8")
    copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    with pytest.raises(InputError, match=r"has 4 bands \(1 B2, 2 B3, 3 B4, 4 B8\) and the model"):
        fit_channels(open_source(tmp_path / f"a.{ending}"), 3)


def test_colours_beside_a_tiff_are_found_without_gdal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, photometric="minisblack", planarconfig="contig")
    bands = "".join(
        f'<PAMRasterBand band="{n}"><Description>B{n}</Description><ColorInterp>{colour}'
        f"</ColorInterp></PAMRasterBand>"
        for n, colour in enumerate(("Blue", "Green", "Red", "Undefined"), 1)
    )
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    source = open_source(tmp_path / "a.tif")
    assert source.channels[0] == Channel("B1", "blue")
    check_pixels(fit_channels(source, 3), PIXELS[..., [2, 1, 0]])


def test_transparency_is_what_the_file_calls_so(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for extra, is_alpha in (("unassalpha", True), ("assocalpha", True), ("unspecified", False)):
        tifffile.imwrite(
            path,
            PIXELS[..., :2],
            photometric="minisblack",
            planarconfig="contig",
            extrasamples=[extra],
        )
        source = open_source(path)
        assert natural_channels(source) == (1 if is_alpha else 2)
        if is_alpha:
            check_pixels(fit_channels(source, 1), PIXELS[..., :1])
        else:
            with pytest.raises(InputError, match="has 2 bands"):
                fit_channels(source, 1)


def test_bands_of_plain_arrays_on_disk_are_no_colours(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a", data=PIXELS, chunks=(32, 32, 4))
    check_pixels(fit_channels(open_source(tmp_path / "a"), 4), PIXELS)
    with pytest.raises(InputError, match="has 4 bands and the model takes 3 channels; choose 3"):
        fit_channels(open_source(tmp_path / "a"), 3)


@pytest.mark.parametrize(
    ("size", "line"),
    [
        ((50,), "channels come last, (L, C), and the first axis of (6, 50) has 6; if these are the "
         "channels, give it transposed, array.T."),
        ((40, 50), "channels come last, (H, W, C), and the first axis of (6, 40, 50) has 6; if "
         "these are the channels, give it transposed, numpy.moveaxis(array, 0, -1)."),
        ((30, 40, 50), "channels come last, (D, H, W, C), and the first axis of (6, 30, 40, 50) "
         "has 6; if these are the channels, give it transposed, numpy.moveaxis(array, 0, -1)."),
    ],
)  # fmt: skip
def test_channels_that_come_first_are_recognized(
    tmp_path: Path, size: tuple[int, ...], line: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 9, (6, *size)).astype(np.float32)
    np.save(tmp_path / "a.npy", pixels)
    zarr.create_array(tmp_path / "a.zarr", data=pixels)
    axes = len(size)
    for given, name in (
        (pixels, "array"),
        (tmp_path / "a.npy", tmp_path / "a.npy"),
        (tmp_path / "a.zarr", tmp_path / "a.zarr"),
    ):
        with open_source(given, dimensions=axes) as source, pytest.raises(InputError) as refused:
            fit_channels(source, 6)
        assert str(refused.value) == f"{name} has 50 bands and the model takes 6 channels; {line}"
    turned = pixels.T if axes == 1 else np.moveaxis(pixels, 0, -1)
    with open_source(turned, dimensions=axes) as source:
        whole = fit_channels(source, 6).read(*((0, length) for length in size))
    assert np.array_equal(whole, turned)
    with open_source(pixels, dimensions=axes) as source, pytest.raises(InputError, match="choose"):
        fit_channels(source, 5)


def test_labels_of_imagej_are_names(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.moveaxis(PIXELS, -1, 0),
        imagej=True,
        metadata={"axes": "CYX", "Labels": ["one", "two", "three", "four"]},
    )
    assert [channel.name for channel in open_source(tmp_path / "a.tif").channels] == [
        *("one", "two", "three", "four")
    ]


def test_what_gdal_calls_otherwise_is_no_colour() -> None:
    assert of_gdal(["gray", "Alpha", "cyan", "Y"], ["", None, "c", ""]) == (
        Channel(colour="grey"),
        Channel(colour="alpha"),
        Channel("c"),
        Channel(),
    )


def test_bands_are_chosen_by_every_verb_that_asks_for_them(tmp_path: Path) -> None:
    path, model = tmp_path / "a.ome.tif", str(tmp_path / "model.onnx")
    onnx.save(mean_of(1), model)
    ome_tiff(path, bands_of(["DAPI", "GFP"]), ["DAPI", "GFP"])
    for verb, *more in (
        ("scan", "-o", str(tmp_path / "heat.zarr")),
        ("detect", "-o", str(tmp_path / "b.csv")),
        ("verify",),
        ("bench", "--rounds", "1"),
    ):
        refused = call(verb, model, str(path), *more)
        assert refused.exit_code == 2
        assert "(1 DAPI, 2 GFP)" in refused.stderr
        assert call(verb, model, str(path), *more, "--bands", "2").exit_code == 0
