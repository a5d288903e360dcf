"""Files, folders, patterns and lists name the images that are meant."""

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from fullconv.errors import InputError
from fullconv.sources import find_images, open_source, opening
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
    monkeypatch.setattr(opening, "_installed", {}.get)
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
