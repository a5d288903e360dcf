"""A raster is only a file: what it names outside of its folder is not followed, nor any address."""

from __future__ import annotations

import shutil

import pytest

from fullconv.errors import FullconvError
from fullconv.sources import open_source
from loopback import listening
from test_sources import check_pixels, noise

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

BESIDE = "{0}{1} lies beside {0}, where GDAL would open it, and {2}"
KINDS = "which is no TIFF, PNG, JPEG, JPEG 2000, Imagine file or virtual raster"

PIXELS = noise(1, 70, 101)
WHOLE = (0, 70), (0, 101)


def vrt(
    source: str,
    *,
    relative: int = 1,
    within: str = "",
    band: str = "1",
    kind: str = "Simple",
    attributes: str = "",
    before: str = "",
) -> str:
    """Return a virtual raster of one source."""
    return (
        f'<VRTDataset rasterXSize="101" rasterYSize="70">{before}<VRTRasterBand dataType="Byte" '
        f'band="1"{attributes}><{kind}Source><SourceFilename relativeToVRT="{relative}">{source}'
        f"</SourceFilename><SourceBand>{band}</SourceBand>{within}</{kind}Source></VRTRasterBand>"
        f"</VRTDataset>"
    )


def write(path, driver="GTiff", pixels=PIXELS):
    count, height, width = pixels.shape
    with rasterio.open(path, "w", driver, width, height, count, dtype="uint8") as file:
        file.write(pixels)


@pytest.fixture(scope="module")
def rasters(tmp_path_factory):
    """Make a folder with sound rasters of every kind, below it another, and one beside it."""
    root = tmp_path_factory.mktemp("rasters")
    (root / "in/below").mkdir(parents=True)
    write(root / "outside.tif")
    for name, driver in {
        **{"t.tif": "GTiff", "below/b.tif": "GTiff", "h.img": "HFA", "p.png": "PNG"},
        **{"j.jpg": "JPEG", "k.jp2": "JP2OpenJPEG", "e.bil": "ENVI"},
    }.items():
        write(root / "in" / name, driver)
    (root / "in/link.tif").symlink_to("../outside.tif")
    return root


@pytest.fixture
def folder(rasters, tmp_path, monkeypatch):
    shutil.copytree(rasters, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "in")
    return tmp_path / "in"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with listening(tmp_path_factory.mktemp("server") / "calls") as server:
        yield server


def read_all(name):
    for level in range(3):
        with open_source(name, level=level) as source:
            source.read(*((0, n) for n in source.size))


def refused(name, *expected):
    """Open an image, read all of it and of its levels, and return the line that refuses it."""
    with pytest.raises(FullconvError) as caught:
        read_all(name)
    line = str(caught.value)
    assert "\n" not in line
    for text in expected:
        assert text in line, line
    return line


def test_the_server_is_heard_where_a_raster_is_followed(server, tmp_path):
    """By GDAL without our settings; so a count of none means something."""
    before = server.calls
    with pytest.raises(rasterio.errors.RasterioError):
        rasterio.open(f"/vsicurl/{server.url}/heard.tif")
    assert server.calls > before


@pytest.mark.parametrize(
    "source", ["t.tif", "below/b.tif", "h.img", "p.png", "j.jpg", "k.jp2", "./below/../t.tif"]
)
def test_a_mosaic_of_its_own_folder_is_read_as_gdal_reads_it(folder, source):
    (folder / "m.vrt").write_text(vrt(source))
    with rasterio.open("m.vrt") as file:
        check_pixels(open_source("m.vrt"), file.read(1)[:, :, None])


def test_a_part_of_another_kind_is_refused_though_gdal_reads_it(folder):
    write("b.bmp", "BMP")
    assert b"\0" in (folder / "b.bmp").read_bytes()[:8]
    (folder / "m.vrt").write_text(vrt("b.bmp"))
    with rasterio.open("m.vrt") as file:
        assert file.read(1).shape == (70, 101)
    refused("m.vrt", f"made of b.bmp, {KINDS}")


def test_mosaics_of_mosaics_are_read_and_their_parts_known(folder):
    (folder / "below/a.vrt").write_text(vrt("b.tif", kind="Complex", within="<NODATA>3</NODATA>"))
    (folder / "b.vrt").write_text(vrt("below/a.vrt"))
    (folder / "c.vrt").write_text(vrt(str(folder / "b.vrt"), relative=0))
    with open_source("c.vrt") as source, rasterio.open("c.vrt") as file:
        check_pixels(source, file.read(1)[:, :, None])
        before = source.fingerprint()
    write("below/b.tif", pixels=255 - PIXELS)
    with open_source("c.vrt") as source:
        assert source.fingerprint() != before
    (folder / "d.vrt").write_text(vrt("c.vrt"))
    (folder / "e.vrt").write_text(vrt("d.vrt"))
    refused("e.vrt", "with more than 4 virtual rasters in one another")
    (folder / "self.vrt").write_text(vrt("self.vrt"))
    refused("self.vrt", "with more than 4 virtual rasters in one another")


def test_overviews_inside_and_beside_a_raster_are_levels(folder):
    for name in ("h.img", "e.bil", "t.tif"):
        with rasterio.open(name, "r+") as file:
            file.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    (folder / "m.vrt").write_text(vrt("t.tif"))
    write("m.vrt.ovr", pixels=PIXELS[:, ::2, ::2])
    assert (folder / "e.bil.ovr").exists()
    for name in ("h.img", "e.bil", "m.vrt"):
        with open_source(name, level=1) as source, rasterio.open(name, overview_level=0) as file:
            check_pixels(source, file.read(1)[:, :, None])


NAMES = [
    "../outside.tif",
    "link.tif",
    "/etc/passwd",
    "/vsicurl/{url}/x.tif",
    "/vsizip/vsicurl/{url}/x.zip/x.tif",
    "/vsistdin/",
    "{url}/x.tif",
    "HDF5:{url}://z",
    "NETCDF:x.nc:z",
    "WMS:{url}",
    "vrt://t.tif",
    "DERIVED_SUBDATASET:AMPLITUDE:t.tif",
    "GTIFF_DIR:1:t.tif",
    "&lt;GDAL_WMS>&lt;Service name='TMS'>&lt;ServerUrl>{url}&lt;/ServerUrl>&lt;/Service>"
    "&lt;/GDAL_WMS>",
    "below",
    "none.tif",
]


@pytest.mark.parametrize("relative", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_outside_is_followed(folder, server, name, relative):
    before = server.calls
    (folder / "m.vrt").write_text(vrt(name.format(url=server.url), relative=relative))
    refused("m.vrt", "m.vrt is a virtual raster that names")
    assert server.calls == before


REFUSED = {
    "raw": (
        '<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand dataType="Byte" band="1" '
        'subClass="VRTRawRasterBand"><SourceFilename relativeToVRT="0">/etc/passwd</SourceFilename>'
        "</VRTRasterBand></VRTDataset>",
        "of the kind VRTRawRasterBand",
    ),
    "derived": (
        vrt(
            "t.tif",
            attributes=' subClass="VRTDerivedRasterBand"',
            within="<PixelFunctionLanguage>Python</PixelFunctionLanguage>",
        ),
        "of the kind VRTDerivedRasterBand",
    ),
    "warped": (
        '<VRTDataset rasterXSize="9" rasterYSize="9" subClass="VRTWarpedDataset"><GDALWarpOptions>'
        "<SourceDataset>/etc/passwd</SourceDataset></GDALWarpOptions></VRTDataset>",
        "of the kind VRTWarpedDataset",
    ),
    "options": (
        vrt("k.jp2", within="<OpenOptions><OOI key='OPEN_REMOTE_GML'>YES</OOI></OpenOptions>"),
        "with the element OpenOptions",
    ),
    "averaged": (vrt("t.tif", kind="Averaged"), "with the element AveragedSource"),
    "arrays": (vrt("t.tif", before="<Group name='/'/>"), "with the element Group"),
    "overview": (
        vrt("t.tif").replace(
            "<SimpleSource>",
            "<Overview><SourceFilename>/vsicurl/{url}/o.tif</SourceFilename></Overview>"
            "<SimpleSource>",
        ),
        "that names '/vsicurl/{url}/o.tif', outside its own folder",
    ),
    "mask": (
        vrt(
            "t.tif",
            before="<MaskBand><VRTRasterBand dataType='Byte'><SimpleSource><SourceFilename>"
            "/vsicurl/{url}/m.tif</SourceFilename></SimpleSource></VRTRasterBand></MaskBand>",
        ),
        "that names '/vsicurl/{url}/m.tif', outside its own folder",
    ),
    "metadata": (
        vrt(
            "t.tif",
            before="<Metadata domain='Overviews'><MDI key='OVERVIEW_FILE'>/vsicurl/{url}/x.tif"
            "</MDI></Metadata>",
        ),
        "whose overviews lie in a file of another name",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mosaic_that_does_more_than_put_pictures_together_is_refused(folder, server, case):
    text, expected = REFUSED[case]
    before = server.calls
    (folder / "m.vrt").write_text(text.replace("{url}", server.url))
    refused("m.vrt", expected.replace("{url}", server.url))
    assert server.calls == before


INDIRECT = {
    "vrt": vrt("/vsicurl/{url}/x.tif", relative=0),
    "wms": "<GDAL_WMS><Service name='TMS'><ServerUrl>{url}/$z</ServerUrl></Service></GDAL_WMS>",
    "wmts": "<GDAL_WMTS><GetCapabilitiesUrl>{url}/wmts</GetCapabilitiesUrl></GDAL_WMTS>",
    "wcs": "<WCS_GDAL><ServiceURL>{url}/</ServiceURL><CoverageName>x</CoverageName></WCS_GDAL>",
    "mrf": "<MRF_META><CachedSource><Source>/vsicurl/{url}/x.tif</Source></CachedSource>"
    "<Raster><Size x='101' y='70' c='1'/></Raster></MRF_META>",
    "gti": "<GDALTileIndexDataset><IndexDataset>/vsicurl/{url}/x.gpkg</IndexDataset>"
    "</GDALTileIndexDataset>",
    "stac": '{"type": "Feature", "stac_version": "1.0.0", "assets": {"a": {"href": '
    '"{url}/a.tif"}}}',
    "ers": 'DatasetHeader Begin\n\tDataSetType = Translated\n\tDataFile = "/vsicurl/{url}/x"\n'
    "DatasetHeader End\n",
    "pds": 'PDS_VERSION_ID = PDS3\n^IMAGE = "/etc/passwd"\nOBJECT = IMAGE\nLINES = 9\n'
    "LINE_SAMPLES = 9\nSAMPLE_BITS = 8\nEND_OBJECT\nEND\n",
}


@pytest.mark.parametrize("ending", ["png", "tif", "jp2", "img", "bil", "nc", "ntf", "xyz", ""])
@pytest.mark.parametrize("kind", INDIRECT)
def test_text_that_gdal_would_follow_is_no_picture_whatever_its_name(folder, server, kind, ending):
    before = server.calls
    name = f"photo.{ending}" if ending else "photo"
    (folder / name).write_text(INDIRECT[kind].replace("{url}", server.url))
    refused(name, name)
    # As a part of a mosaic it is refused as well.
    (folder / "m.vrt").write_text(vrt(name))
    refused("m.vrt", KINDS)
    assert server.calls == before


def test_a_picture_that_is_also_a_virtual_raster_is_no_part_of_a_mosaic(folder, server):
    """A JPEG may begin with a comment of any length, in which GDAL looks for its own text."""
    text = vrt(f"/vsicurl/{server.url}/x.tif", relative=0).encode()
    (folder / "poly.jpg").write_bytes(b"\xff\xd8\xff\xfe\x7f\x7f" + text + b" " * 40_000)
    (folder / "m.vrt").write_text(vrt("poly.jpg"))
    before = server.calls
    refused("m.vrt", KINDS)
    refused("poly.jpg")
    assert server.calls == before


def names_overviews(path, url):
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{url}/x.tif")


def test_metadata_that_name_overviews_are_not_followed(folder, server):
    before = server.calls
    for name in ("t.tif", "h.img"):
        names_overviews(name, server.url)
    assert (folder / "h.img.aux.xml").exists()
    check_pixels(open_source("h.img"), PIXELS[0])
    refused("h.img", "h.img has one level, 0; got level 1")
    for part in ("t.tif", "h.img"):
        (folder / "m.vrt").write_text(vrt(part))
        refused("m.vrt", f"made of {part}, whose overviews lie in another file")
    assert server.calls == before
    with rasterio.open("t.tif") as file:  # so GDAL would have gone there
        file.overviews(1)
    assert server.calls > before


@pytest.mark.parametrize("name", ["h.img", "e.bil"])
@pytest.mark.parametrize("ending", [".ovr", ".msk", ".OVR", ".aux"])
def test_what_lies_beside_a_raster_must_be_what_it_should_be(folder, server, name, ending):
    text = vrt(f"/vsicurl/{server.url}/x.tif", relative=0)
    held = ("EHFA_HEADER_TAG" if ending == ".aux" else "") + text
    (folder / (name + ending)).write_text(held)
    before = server.calls
    is_no = "is no Imagine file" if ending == ".aux" else "is no TIFF"
    refused(name, BESIDE.format(name, ending, is_no))
    (folder / "m.vrt").write_text(vrt("h.img"))
    shutil.move(name + ending, f"h.img{ending}")
    refused("m.vrt", is_no)
    assert server.calls == before


@pytest.mark.parametrize("name", ["m.vrt", "h.img", "e.bil"])
def test_overviews_beside_a_raster_do_not_lead_on(folder, server, name):
    (folder / "m.vrt").write_text(vrt("k.jp2"))
    write(f"{name}.ovr")
    names_overviews(f"{name}.ovr", server.url)
    before = server.calls
    refused(name, "names another file in its metadata")
    assert server.calls == before


def test_hdf5_which_may_name_any_file_is_not_opened(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File("secret.nc", "w") as file:
        file.create_dataset("z", shape=(9, 9), dtype="u1", external=[("/etc/passwd", 0, 81)])
    refused("secret.nc", "secret.nc is HDF5 (netCDF-4), which may name other files")
    shutil.copy("secret.nc", "secret.tif")
    refused("secret.tif", "secret.tif is HDF5 (netCDF-4), which may name other files")


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE VRTDataset [<!ENTITY a "t.tif">]>' + vrt("&a;"),
        '<?xml version="1.0"?><!DOCTYPE VRTDataset SYSTEM "/etc/passwd">' + vrt("t.tif"),
        '<?xml version="1.0" encoding="cp037"?>' + vrt("t.tif"),
        vrt("t.tif")[:-9],
        "<VRTDataset>" * 100_000,
        vrt("t.tif").replace('"101"', '"99999999999"'),
        vrt("t.tif").replace('"101"', '"-1"'),
        vrt("t.tif").replace("Byte", "CFloat64"),
        vrt("t.tif", band="7"),
        vrt("t.tif", attributes=' blockXSize="2000000000" blockYSize="2000000000"'),
        vrt(""),
        "<VRTDataset/>",
        "",
        "II*\0",
    ],
)
def test_damaged_virtual_rasters_are_one_line(folder, text):
    (folder / "m.vrt").write_text(text)
    refused("m.vrt", "m.vrt")


def test_the_settings_of_gdal_do_not_outlive_a_read(folder):
    get = rasterio.env.get_gdal_config
    before = {name: get(name) for name in ("GDAL_CACHEMAX", "GDAL_DISABLE_READDIR_ON_OPEN")}
    with open_source("h.img") as source:
        source.read(*WHOLE)
    assert {name: get(name) for name in before} == before


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_raster_that_lies_nowhere_is_damaged(tmp_path, number):
    path = tmp_path / "nowhere.tif"
    place = rasterio.Affine(0.5, 0, number, 0, -0.5, 10)
    kind = {"width": 101, "height": 70, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", "GTiff", crs="EPSG:32631", transform=place, **kind) as file:
        file.write(PIXELS)
    with pytest.raises(FullconvError, match=r"damaged.+lies at coordinates that are not finite"):
        open_source(path)
