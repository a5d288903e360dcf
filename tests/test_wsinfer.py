"""WSInfer's config.json: what it says, and one line for everything that it should not say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fullconv.errors import InputError
from fullconv.frameworks.wsinfer import WsinferConfig, read_wsinfer
from fullconv.preprocessing import Preprocessing

RESIZE = {"name": "Resize", "arguments": {"size": 224}}
TENSOR = {"name": "ToTensor"}
NORMALIZE = {
    "name": "Normalize",
    "arguments": {"mean": [0.7, 0.6, 0.5], "std": [0.1, 0.2, 0.3]},
}
PLAIN = {
    "spec_version": "1.0",
    "architecture": "resnet34",
    "num_classes": 2,
    "class_names": ["Other", "Tumor"],
    "patch_size_pixels": 350,
    "spacing_um_px": 0.25,
    "transform": [RESIZE, TENSOR, NORMALIZE],
}


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Return what reads a configuration, given as an object or as text."""
    monkeypatch.chdir(tmp_path)

    def reading(held: Any) -> WsinferConfig:
        (tmp_path / "config.json").write_text(held if isinstance(held, str) else json.dumps(held))
        return read_wsinfer("config.json")

    return reading


def test_the_window_is_the_resized_patch_at_its_resolution(read) -> None:
    expected = Preprocessing(
        1 / 255, (0.7, 0.6, 0.5), (0.1, 0.2, 0.3), um_per_pixel=0.25 * 350 / 224
    )
    assert read(PLAIN) == WsinferConfig("resnet34", ("Other", "Tumor"), (224, 224), expected)


def test_a_configuration_may_begin_with_a_byte_order_mark(read) -> None:
    assert read("\ufeff" + json.dumps(PLAIN)) == read(PLAIN)


def test_without_resize_and_normalize_the_window_is_the_patch(read) -> None:
    expected = Preprocessing(1 / 255, um_per_pixel=0.25)
    assert read({**PLAIN, "transform": [TENSOR]}) == WsinferConfig(
        "resnet34", ("Other", "Tumor"), (350, 350), expected
    )


@pytest.mark.parametrize("size", [299, [299], [299, 299]])
def test_the_size_may_be_a_number_or_a_pair_of_equals(read, size) -> None:
    resize = {"name": "Resize", "arguments": {"size": size}}
    assert read({**PLAIN, "transform": [resize, TENSOR]}).window == (299, 299)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in PLAIN.items() if name != key}


def transforms(*steps: Any) -> dict[str, Any]:
    return {**PLAIN, "transform": list(steps)}


ORDER = (
    "expected the transforms Resize, ToTensor, Normalize in this order, with ToTensor among them"
)
REFUSED = [
    ([], "expected an object, got []"),
    *(
        (without(key), f"{key!r} is missing")
        for key in PLAIN
        if key != "spec_version"  # the first files had none
    ),
    ({**PLAIN, "spec_version": "2.0"}, "expected 'spec_version' 1.0, got \"2.0\""),
    ({**PLAIN, "architecture": 34}, "expected text in 'architecture', got 34"),
    ({**PLAIN, "num_classes": "2"}, "expected a number above 0 in 'num_classes', got \"2\""),
    ({**PLAIN, "class_names": "ab"}, "expected a list of names in 'class_names', got \"ab\""),
    (
        {**PLAIN, "num_classes": 3},
        'expected 3 different names in \'class_names\', got ["Other", "Tumor"]',
    ),
    (
        {**PLAIN, "class_names": ["a", "a"]},
        'expected 2 different names in \'class_names\', got ["a", "a"]',
    ),
    (
        {**PLAIN, "patch_size_pixels": 3.5},
        "expected a whole number in 'patch_size_pixels', got 3.5",
    ),
    ({**PLAIN, "spacing_um_px": 0}, "expected a number above 0 in 'spacing_um_px', got 0"),
    (
        {**PLAIN, "spacing_um_px": 10**400},
        f"expected a number above 0 in 'spacing_um_px', got 1{'0' * 56}...",
    ),
    ({**PLAIN, "spacing_um_px": True}, "expected a number above 0 in 'spacing_um_px', got true"),
    (
        {**PLAIN, "transform": {"resize_size": 224}},
        "expected a list in 'transform', got {\"resize_size\": 224}",
    ),
    (transforms("ToTensor"), "expected an object in 'transform', got \"ToTensor\""),
    (transforms({}), "'name' is missing in 'transform'"),
    (
        transforms({"name": "CenterCrop", "arguments": {"size": 224}}, TENSOR),
        "the transform 'CenterCrop' is not known here",
    ),
    (
        transforms({"name": "Resize", "arguments": {"size": 9, "max_size": 12}}, TENSOR),
        "the argument 'max_size' of 'Resize' is not known here",
    ),
    (transforms({"name": "Resize", "arguments": {}}, TENSOR), "'size' is missing in 'Resize'"),
    (
        transforms({"name": "Resize", "arguments": {"size": [200, 100]}}, TENSOR),
        "expected a number above 0 in 'size', got [200, 100]",
    ),
    (transforms(TENSOR, TENSOR), "the transform 'ToTensor' comes twice"),
    (transforms(TENSOR, RESIZE), f"{ORDER}; got ToTensor, Resize"),
    (transforms(RESIZE), f"{ORDER}; got Resize"),
    (transforms(), f"{ORDER}; got none"),
    (
        transforms(TENSOR, {"name": "Normalize", "arguments": {"mean": 0.5, "std": [1]}}),
        "expected a list of numbers in 'mean', got 0.5",
    ),
    (
        transforms(TENSOR, {"name": "Normalize", "arguments": [0.5]}),
        "expected an object in 'Normalize', got [0.5]",
    ),
]


@pytest.mark.parametrize(("held", "why"), REFUSED)
def test_what_is_not_understood_is_refused_by_name(read, held, why: str) -> None:
    message = (
        f"config.json: {why}; give the config.json of a WSInfer model, or --scale, --mean, --std "
        f"and --um-per-pixel."
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read(held)


def test_text_that_is_not_json_is_refused(read) -> None:
    message = (
        "config.json is not JSON (Expecting property name enclosed in double quotes: line 1 column "
        "2 (char 1)); give the config.json of a WSInfer model."
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read("{")


def test_bytes_that_are_no_text_are_refused(tmp_path) -> None:
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not JSON"):
        read_wsinfer(tmp_path / "config.json")


def test_a_missing_file_is_refused(tmp_path) -> None:
    path = tmp_path / "none.json"
    message = f"{path}: No such file or directory; check the path."
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        read_wsinfer(path)
