"""Results of many images have places of their own, with the dots of their names, on any disk."""

import os
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fullconv.cli.naming import places_below, result_paths

PLACES = [
    (["a.b.png"], ["a.b.zarr"]),
    (["TCGA-A.1.svs", "TCGA-A.2.svs"], ["TCGA-A.1.zarr", "TCGA-A.2.zarr"]),
    (["TCGA-A.1", "TCGA-A.2"], ["TCGA-A.1.zarr", "TCGA-A.2.zarr"]),
    (["x.ome.tif", "y.ome.zarr"], ["x.ome.zarr", "y.ome.zarr"]),
    (["p/1.png", "q/1.png"], ["p/1.zarr", "q/1.zarr"]),
    (["p/1.png", "p/../1.png", "p/../../x/q/1.png"], ["x/p/1.zarr", "x/1.zarr", "x/q/1.zarr"]),
    (["a.png", "a.jpg"], ["a.png.zarr", "a.jpg.zarr"]),
    (["a.png", "a.png.tif"], ["a.zarr", "a.png.tif.zarr"]),
    (["a", "a.png"], ["a.zarr", "a.png.zarr"]),
    (["A.png", "a.png"], ["A.png.zarr", "a.png~2.zarr"]),
    (["D/a.png", "d/a.png", "d/b.png"], ["D/a.png.zarr", "d/a.png~2.zarr", "d/b.zarr"]),
    (["\u00e9.png", "e\u0301.png"], ["\u00e9.png.zarr", "e\u0301.png~2.zarr"]),
    (["con.png", "nul/aux.1.png"], ["%63on.zarr", "%6Eul/%61ux.1.zarr"]),
    (["a:b?.png", "caf\udce9\n.png"], ["a%3Ab%3F.zarr", "caf%E9%0A.zarr"]),
    (["d. /a.png", "b.png"], ["d.%20/a.zarr", "b.zarr"]),
]


@pytest.mark.parametrize(("images", "expected"), PLACES)
def test_results_keep_the_names_of_their_images(images, expected, tmp_path, monkeypatch):
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    found = result_paths([Path(image) for image in images], Path("out"), ".zarr")
    if "p/../../x/q/1.png" in images:
        expected = [place.removeprefix("x/") for place in expected]
    assert [path.relative_to("out").as_posix() for path in found] == expected


names = st.lists(
    st.text(st.sampled_from("aA\u00e9e\u0301.~2%:x\n\udce9 "), min_size=1, max_size=5)
    .map(lambda name: name + ".png")
    .filter(lambda name: name.strip(".") != ""),
    min_size=1,
    unique=True,
)


@given(names)
@example(["a.png", "A.png", "a~2.png", "a.png~2.png"])
@example(["x" * 250 + ".png", "x" * 251 + ".png", "y" * 251])
def test_no_two_results_are_one_file_on_a_disk_that_folds_names(names):
    found = result_paths([Path("in", name) for name in names], Path("out"), ".geojson")
    folded = {unicodedata.normalize("NFD", str(path)).lower() for path in found}
    assert len(folded) == len(names)
    for path in found:
        assert path.parent == Path("out")
        assert len(os.fsencode(path.name + ".part")) <= 255


@pytest.mark.parametrize(
    ("kind", "images", "expected"),
    [
        (PureWindowsPath, [r"C:\a\b\x.tif", r"D:\y.png"], [r"C\a\b\x", r"D\y"]),
        (PureWindowsPath, [r"\\host\share\a\x.tif", r"D:\y.png"], [r"hostshare\a\x", r"D\y"]),
        (PureWindowsPath, [r"c:\A\b\x.tif", r"C:\a\y.png"], [r"b\x", "y"]),
        (PurePosixPath, ["/a/b/x.1.tif", "/a/bc/x.1.tif"], ["b/x.1", "bc/x.1"]),
    ],
)
def test_images_of_several_drives_have_places_of_their_own(kind, images, expected):
    assert places_below([kind(image) for image in images]) == [kind(place) for place in expected]
