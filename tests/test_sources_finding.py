"""Files, folders, patterns and lists name the images that are meant."""

import os

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from fullconv.errors import InputError
from fullconv.sources import find_images, open_source
from fullconv.sources.finding import without_ending
from fullconv.sources.picture import picture_format
from test_sources import check_pixels, noise


@pytest.fixture
def folder(tmp_path):
    """Make a folder of images, by their names alone, and of other things."""
    for name in ("b.PNG", "a.jpg", "deep/er/c.tif", "deep/notes.md", ".hidden.png", ".git/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    zarr.create_array(tmp_path / "deep/z.zarr", data=np.zeros((4, 4)), chunks=(2, 2))
    (tmp_path / "deep/z.zarr/stray.png").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_a_folder_stands_for_the_images_in_it_and_below(folder):
    names = ["a.jpg", "b.PNG", "deep/er/c.tif", "deep/z.zarr"]
    assert find_images([folder]) == [folder / name for name in names]


@pytest.mark.parametrize("bigtiff", [False, True])
def test_heatmaps_in_a_folder_are_no_images(folder, bigtiff):
    """By the tag in which GDAL keeps fullconv's record: other programs' tags are images'."""
    for name, record in (("heat.tif", "FULLCONV"), ("scene.TIFF", "AREA_OR_POINT")):
        tag = f'<GDALMetadata>\n  <Item name="{record}">{{}}</Item>\n</GDALMetadata>\n'
        pixels = np.zeros((4, 4), np.float32)
        tifffile.imwrite(
            folder / "deep" / name, pixels, bigtiff=bigtiff, extratags=[(42112, "s", 0, tag, True)]
        )
    names = ["a.jpg", "b.PNG", "deep/er/c.tif", "deep/scene.TIFF", "deep/z.zarr"]
    assert find_images([folder]) == [folder / name for name in names]
    assert find_images([folder / "deep/heat.tif"]) == [folder / "deep/heat.tif"]


@pytest.mark.parametrize("compression", [None, "tga_rle"])
@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
def test_a_tga_that_is_found_is_read_without_gdal(tmp_path, monkeypatch, mode, compression):
    monkeypatch.setattr("fullconv.sources.formats._installed", {}.get)
    image = Image.fromarray(noise(37, 53, 3)).convert(mode)
    image.save(tmp_path / "image.tga", compression=compression)
    (path,) = find_images([tmp_path])
    check_pixels(open_source(path), np.asarray(image.convert("RGB") if mode == "P" else image))


def test_noise_is_no_tga():
    chance = np.random.default_rng(0)
    assert not any(picture_format(chance.bytes(64)) == "TGA" for _ in range(10_000))


def test_a_pattern_stands_for_what_it_matches(folder):
    assert find_images([f"{folder}/**/*.tif"]) == [folder / "deep/er/c.tif"]
    assert find_images([f"{folder}/[ab].*"]) == [folder / "a.jpg", folder / "b.PNG"]


def test_a_name_with_signs_of_a_pattern_is_a_file_where_there_is_one(folder):
    (folder / "a[1].jpg").write_bytes(b"")
    assert find_images([folder / "a[1].jpg"]) == [folder / "a[1].jpg"]


def test_a_list_names_images_relative_to_itself(folder):
    (folder / "list.txt").write_text("a.jpg\n\n  deep/er/c.tif  \n/nowhere/x.png\nmissing.png\n")
    assert [str(path.relative_to("/")) for path in find_images([folder / "list.txt"])] == [
        *(str(path.relative_to("/")) for path in (folder / "a.jpg", folder / "deep/er/c.tif")),
        "nowhere/x.png",
        str((folder / "missing.png").relative_to("/")),
    ]


def test_every_image_comes_once_in_the_order_of_the_names(folder):
    named = [folder / "b.PNG", folder / "deep/z.zarr", folder, folder / "a.jpg"]
    names = ["b.PNG", "deep/z.zarr", "a.jpg", "deep/er/c.tif"]
    assert find_images(named) == [folder / name for name in names]


def test_a_file_that_is_not_there_is_left_to_be_missed_when_it_is_opened(folder):
    assert find_images(["no.png", folder / "a.jpg"])[0].name == "no.png"


@pytest.fixture
def linked(folder):
    """Make links: to a folder outside, twice; up, in circles; to a folder; to nothing."""
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    (folder / "in/deep").mkdir()
    (folder / "in/deep/x.png").write_bytes(b"")
    (folder / "out/y.png").write_bytes(b"")
    for name, place in (
        ("in/alink", "../out"),
        ("in/deep/again", "../../out"),
        ("in/deep/up", ".."),
        ("in/deep/here", "."),
        ("in/adeep", "deep"),
        ("in/broken", "../no"),
    ):
        (folder / name).symlink_to(place, target_is_directory=True)
    (folder / "in/z.png").symlink_to("deep/x.png")
    return folder / "in"


@pytest.mark.parametrize("named", ["", "/**/*.png", "/../i?/**/[x-z].*"])
def test_linked_folders_are_followed_once_and_a_real_path_comes_first(linked, named):
    """A link to a file is a name of its own; a folder has one, however often it is linked to."""
    found = {os.path.normpath(path) for path in find_images([f"{linked}{named}"])}
    assert found == {f"{linked}/{name}" for name in ("alink/y.png", "deep/x.png", "z.png")}


def test_an_image_that_is_named_by_several_folders_comes_once(linked, monkeypatch):
    monkeypatch.chdir(linked)
    named = ["deep/../deep/x.png", "deep/x.png", "adeep/x.png", linked, "alink", "../out/y.png"]
    assert [str(path) for path in find_images(named)] == [
        "deep/../deep/x.png",
        f"{linked}/alink/y.png",
        f"{linked}/z.png",
    ]


def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError) as caught:
        find_images([folder])
    assert str(caught.value) == (
        f"{folder}/deep: this folder cannot be listed: Permission denied; make it readable, or "
        f"name the other folders and files."
    )


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("a/TCGA-A.1.png", "a/TCGA-A.1"),
        ("TCGA-A.1", "TCGA-A.1"),
        ("a.b/c", "a.b/c"),
        ("x.ome.zarr", "x.ome"),
        ("X.TIF", "X"),
        (".png", ".png"),
        ("a/.png", "a/.png"),
        ("a\\...png", "a\\...png"),
        ("a.png/0", "a.png/0"),
    ],
)
def test_only_the_ending_of_a_kind_of_image_is_no_part_of_its_name(name, without):
    assert without_ending(name) == without


def test_a_list_names_files_whose_names_are_no_utf_8(folder):
    (folder / "list.txt").write_bytes(b"\xef\xbb\xbfcaf\xe9.png\r\n\xc3\xa9.png")
    assert [os.fsencode(path.name) for path in find_images([folder / "list.txt"])] == [
        b"caf\xe9.png",
        b"\xc3\xa9.png",
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "empty",
            None,
            "no images in this folder, by their endings; name the files, or another folder.",
        ),
        ("*.bmp", None, "no file matches; check the pattern."),
        ("list.txt", b" \n\n", "the list names no image; give one path a line."),
    ],
)
def test_names_without_images_are_refused(folder, name, content, expected):
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        find_images([f"{folder}/{name}"])
    assert str(caught.value) == f"{folder}/{name}: {expected}"


def test_a_list_that_is_no_text_is_refused(folder):
    (folder / "list.txt").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(InputError) as caught:
        find_images([folder / "list.txt"])
    assert str(caught.value) == (
        f"{folder / 'list.txt'} is not a list of images: it is not text (UTF-8); give one path a "
        f"line."
    )
