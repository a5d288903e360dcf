"""Training: the same seed gives the same, what stops goes on, and false alarms are unlearnt."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fullconv
from drawn_crops import write_crops, write_photos
from fullconv.errors import InputError, ModelError, OutputError
from fullconv.training.augment import Variation
from fullconv.training.checkpoint import checkpoint_of
from fullconv.training.curves import draw_curves
from fullconv.training.loop import class_weights
from fullconv.training.telling import Batch, Ended, Epoch, Note, Round, Started
from fullconv.training.trainer import train
from networks.checks import assert_shared

FOLDERS = {"background": 40, "disc ü": 24}
QUICK = {"epochs": 3, "device": "cpu", "seed": 7}
MINED = {**QUICK, "epochs": 12}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    return write_crops(tmp_path_factory.mktemp("crops"), FOLDERS)


@pytest.fixture(scope="module")
def whole(crops, tmp_path_factory):
    """One training, from beginning to end, and what it told."""
    torch.set_num_threads(1)
    told = []
    out = tmp_path_factory.mktemp("whole") / "disc.onnx"
    return train(crops, out, **QUICK, progress=told.append), told


def weights(trained):
    return trained.classifier.state_dict()


def assert_same_weights(first, second):
    assert list(first) == list(second)
    for name, held in first.items():
        assert torch.equal(held, second[name]), name


def course(trained):
    """Return the history without its times."""
    return [(e.number, e.phase, e.loss, e.held_out_loss, e.accuracy) for e in trained.history]


class Interrupt:
    """Is pressed when so many records of a kind were told."""

    def __init__(self, kind, count):
        self.kind, self.left = kind, count

    def __call__(self, told):
        if isinstance(told, self.kind):
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


def test_it_tells_what_it_does_in_order(whole):
    trained, told = whole
    assert isinstance(told[0], Started)
    assert (told[0].training, told[0].held_out) == ((32, 19), (8, 5))
    ended = [one for one in told if isinstance(one, Ended)]
    assert [one.epoch for one in ended] == list(trained.history)
    assert [one.epochs for one in ended] == [3, 3, 3]
    assert ended[-1].seconds_left == 0
    best = [one.epoch for one in ended if one.is_best][-1]
    assert trained.best == best
    assert best.held_out_loss == min(epoch.held_out_loss for epoch in trained.history)
    assert [one.done for one in told if isinstance(one, Batch)] == [1, 2, 3] * 3


def test_it_learns(whole):
    trained, _ = whole
    assert trained.confusion.accuracy >= 12 / 13
    assert trained.confusion.counts.sum() == 13


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_the_file_says_all_and_converts_exactly_without_a_flag(whole, crops, tmp_path, ending):
    trained, _ = whole
    path = trained.path
    if ending == ".pt2":
        path = tmp_path / "disc.pt2"
        train(crops, path, **QUICK)
    fcn = fullconv.convert(path)
    assert fcn.classes == trained.classes == ("background", "disc ü")
    assert fcn.background == "background"
    assert fcn.preprocessing == trained.preprocessing
    assert fcn.grid == fullconv.Grid((16, 16), (2, 2))
    assert fcn.report.exact
    assert fcn.report.one_pass
    assert_shared(fcn)


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_the_file_scores_any_number_of_crops_as_the_trained_network(whole, tmp_path, ending):
    trained, _ = whole
    path = trained.path
    if ending == ".pt2":
        from fullconv.training.saving import metadata_of, save_classifier

        path = tmp_path / "disc.pt2"
        metadata = metadata_of((16, 16), trained.classes, None, trained.preprocessing)
        save_classifier(trained.classifier, 3, metadata, path)
    framework = fullconv.frameworks.find(path)
    model, _ = framework.open(path)
    classify = framework.classifier(model)
    crops = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, double = trained.classifier(crops), trained.classifier.double()(crops.double())
    trained.classifier.float()
    rounding = (expected - double).abs().max().item()
    for count in (1, 3, 5):
        held = framework.images(model, crops[:count].numpy())
        scores = framework.to_numpy(classify(held)) if ending == ".pt2" else classify(held)
        scores = np.asarray(scores[0] if isinstance(scores, list) else scores)
        assert scores.shape == (count, 2)
        np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=0, atol=1e-6)
        np.testing.assert_allclose(scores, double[:count], rtol=0, atol=16 * rounding + 1e-7)


def test_pictures_and_a_report_lie_beside_the_model(whole):
    trained, _ = whole
    folder = trained.path.parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "disc-confusion.png",
        "disc-curves.png",
        "disc-report.json",
        "disc.onnx",
    ]
    for name in ("confusion", "curves"):
        with Image.open(folder / f"disc-{name}.png") as picture:
            assert min(picture.size) > 200
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 3
    report = json.loads((folder / "disc-report.json").read_text(encoding="utf-8"))
    assert report["classes"] == ["background", "disc ü"]
    assert report["stride"] == [2, 2]
    assert report["crops"] == {"training": [32, 19], "held_out": [8, 5], "left_out": 0}
    assert report["held_out"]["counts"] == trained.confusion.counts.tolist()
    assert report["conversion"]["exact"] is True
    assert len(report["epochs"]) == 3
    assert report["settings"]["seed"] == 7


def test_the_same_seed_trains_the_same_network_and_another_seed_another(whole, crops, tmp_path):
    trained, _ = whole
    torch.manual_seed(99)
    again = train(crops, tmp_path / "again.onnx", **QUICK)
    assert_same_weights(weights(again), weights(trained))
    assert course(again) == course(trained)
    other = train(crops, tmp_path / "other.onnx", **{**QUICK, "seed": 8})
    name = "network.classifier.4.weight"
    assert not torch.equal(weights(other)[name], weights(trained)[name])


def test_the_callers_random_numbers_are_left_alone(crops, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(crops, tmp_path / "x.onnx", **{**QUICK, "epochs": 1})
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("kind", "count"), [(Ended, 1), (Batch, 8)])
def test_interrupted_it_keeps_the_best_and_goes_on_to_the_same_end(
    whole, crops, tmp_path, kind, count
):
    """After an epoch, and in the middle of one."""
    out = tmp_path / "disc.onnx"
    stopped = train(crops, out, **QUICK, progress=Interrupt(kind, count))
    done = 1 if kind is Ended else 2
    assert stopped.is_interrupted
    assert len(stopped.history) == done
    assert fullconv.convert(out).report.exact
    assert checkpoint_of(out).exists()
    told = []
    trained = train(crops, out, **QUICK, resume=True, progress=told.append)
    assert f"going on after epoch {done}" in [t.line for t in told if isinstance(t, Note)]
    assert [one.epoch.number for one in told if isinstance(one, Ended)] == [*range(done + 1, 4)]
    assert_same_weights(weights(trained), weights(whole[0]))
    assert course(trained) == course(whole[0])
    assert not trained.is_interrupted
    assert not checkpoint_of(out).exists()


def test_interrupted_before_the_first_epoch_ends_it_leaves_nothing(crops, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(crops, tmp_path / "disc.onnx", **QUICK, progress=Interrupt(Batch, 1))
    assert list(tmp_path.iterdir()) == []


def refusal(*arguments, **options):
    with pytest.raises((InputError, ModelError, OutputError)) as caught:
        train(*arguments, **{**QUICK, **options})
    return str(caught.value)


def test_an_unfinished_training_is_neither_lost_nor_mixed_with_another(crops, tmp_path):
    out = tmp_path / "disc.onnx"
    train(crops, out, **QUICK, progress=Interrupt(Ended, 1))
    assert refusal(crops, out) == (
        f"train -o {out}: disc.onnx.training holds an unfinished training; go on with it by "
        f"--resume, or start again with --overwrite."
    )
    assert refusal(crops, out, resume=True, seed=8) == (
        f"train --resume: {checkpoint_of(out)} is of another training (seed was 7 and is 8); ask "
        f"for the same, or start again with --overwrite."
    )
    checkpoint_of(out).write_bytes(checkpoint_of(out).read_bytes()[:5000])
    assert "is damaged (" in refusal(crops, out, resume=True)
    assert train(crops, out, **QUICK, overwrite=True).history[0].number == 1


def test_a_finished_model_is_not_overwritten(whole, crops):
    path = whole[0].path
    assert refusal(crops, path) == (
        f"train -o {path}: {path} is there already; choose another name, or replace it with "
        f"--overwrite."
    )
    assert "is there already" in refusal(crops, path, resume=True)


def test_a_place_that_cannot_be_written_is_refused_before_the_work(crops, tmp_path):
    told = []
    out = tmp_path / "no" / "disc.onnx"
    assert refusal(crops, out, progress=told.append) == (
        f"train -o {out}: cannot write there: No such file or directory; choose a folder that "
        f"exists and that you may write to."
    )
    assert refusal(crops, tmp_path / "disc.pt") == (
        f"train -o {tmp_path / 'disc.pt'}: the kind of model is told by its ending; use .onnx, or "
        f".pt2 for PyTorch."
    )
    assert told == []


def test_a_model_that_cannot_be_written_is_kept_and_written_by_resume(whole, crops, tmp_path):
    out = tmp_path / "disc.onnx"

    def take_the_place(told):
        if isinstance(told, Ended) and told.epoch.number == 3:
            out.mkdir()

    line = refusal(crops, out, progress=take_the_place)
    assert line == (
        f"cannot write {out}: it is a folder; name a file in it. What was trained is kept in "
        f"{checkpoint_of(out)}; --resume writes the model."
    )
    out.rmdir()
    told = []
    trained = train(crops, out, **QUICK, resume=True, progress=told.append)
    assert not any(isinstance(one, Ended) for one in told)
    assert_same_weights(weights(trained), weights(whole[0]))


def test_a_convolutional_head_learns_what_the_dense_head_learns(whole, crops, tmp_path):
    """Within a small multiple of what another order of summing does to the dense head's scores."""
    dense = whole[0]
    convolutional = train(crops, tmp_path / "fcn.onnx", **QUICK, from_scratch_fcn=True)
    assert weights(convolutional)["network.classifier.1.weight"].shape == (64, 96, 5, 5)
    assert convolutional.confusion.counts.tolist() == dense.confusion.counts.tolist()
    image = torch.randn(1, 3, 40, 44, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        alone = convolutional.classifier.network.maps(image).softmax(1)
        converted = dense.convert()(image)
    assert alone.shape == converted.shape == (1, 2, 13, 15)
    torch.set_num_threads(2)
    threads = train(crops, tmp_path / "threads.onnx", **QUICK)
    with torch.no_grad():
        unit = (threads.convert()(image) - converted).abs().max().item()
    assert (alone - converted).abs().max().item() <= max(16 * unit, 1e-5)
    saved = fullconv.convert(convolutional.path)
    assert saved.report.exact
    assert_shared(saved)


@pytest.fixture(scope="module")
def with_negatives(crops, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("negatives")
    photos = write_photos(folder / "photos", 4, seed=1)
    told = []
    plain = train(crops, folder / "plain.onnx", **MINED)
    trained = train(*(crops, folder / "hard.onnx"), **MINED, negatives=photos, progress=told.append)
    return plain, trained, told, photos


def alarms(trained, folder):
    photos = sorted(Path(folder).glob("*.png"))
    return len(fullconv.detect(trained.convert(), photos, windows_to_check=0))


def test_hard_negatives_lower_the_false_alarms_in_photos_that_were_not_seen(
    with_negatives, tmp_path
):
    plain, trained, _, _ = with_negatives
    unseen = write_photos(tmp_path / "unseen", 2, seed=2)
    before, after = alarms(plain, unseen), alarms(trained, unseen)
    assert before >= 40
    assert after <= before / 3
    assert trained.confusion.accuracy >= 12 / 13


def test_every_round_says_what_it_scored_and_added(with_negatives):
    _, trained, told, _ = with_negatives
    assert [one for one in told if isinstance(one, Round)] == list(trained.rounds)
    assert [one.number for one in trained.rounds] == [1, 2, 3]
    rows, columns = fullconv.Grid((16, 16), (2, 2)).shape((96, 128))
    assert {(one.photos, one.windows) for one in trained.rounds} == {(4, 4 * rows * columns)}
    assert trained.rounds[0].added > 0
    assert trained.rounds[-1].added == 0
    assert trained.rounds[-1].alarms <= trained.rounds[0].alarms / 4
    assert [epoch.phase for epoch in trained.history] == [0] * 12 + [1] * 6 + [2] * 6
    assert trained.best.phase == 2


@pytest.mark.parametrize(("kind", "count"), [(Ended, 14), (Round, 2)])
def test_interrupted_among_hard_negatives_it_goes_on_to_the_same_end(
    with_negatives, crops, tmp_path, kind, count
):
    _, expected, _, photos = with_negatives
    options = {**MINED, "negatives": photos}
    out = tmp_path / "disc.onnx"
    assert train(crops, out, **options, progress=Interrupt(kind, count)).is_interrupted
    trained = train(crops, out, **options, resume=True)
    assert_same_weights(weights(trained), weights(expected))
    assert course(trained) == course(expected)
    assert [one.alarms for one in trained.rounds] == [one.alarms for one in expected.rounds]


def test_photos_that_cannot_be_scanned_are_passed_over_in_a_line(crops, tmp_path):
    photos = write_photos(tmp_path / "photos", 1, seed=1)
    (photos / "bad.png").write_bytes((photos / "0.png").read_bytes()[:300])
    Image.new("RGB", (9, 40)).save(photos / "small.png")
    told = []
    options = {**QUICK, "epochs": 1, "rounds": 0}
    out = tmp_path / "disc.onnx"
    trained = train(crops, out, **options, negatives=photos, progress=told.append)
    lines = [one.line for one in told if isinstance(one, Note)]
    assert len(lines) == 2
    assert lines[0].startswith(f"negatives: passed over: {photos / 'bad.png'} cannot be read")
    small = f"negatives: passed over: {photos / 'small.png'}: the image is 9x40 pixels"
    assert lines[1].startswith(small)
    assert (trained.rounds[0].photos, trained.rounds[0].added) == (1, 0)


class Own(torch.nn.Module):
    """A padded network of somebody's own."""

    def __init__(self, classes, window):
        super().__init__()
        self.trunk = torch.nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.head = torch.nn.Linear(4 * (window[0] // 4) * (window[1] // 4), classes)

    def forward(self, crops):
        return self.head(torch.relu(self.trunk(crops)).flatten(1))


def test_an_own_network_is_explained_first_and_trained(crops, tmp_path):
    told = []
    options = {**QUICK, "epochs": 1}
    trained = train(crops, tmp_path / "own.onnx", **options, arch=Own, progress=told.append)
    assert told[0].report.stride == (4, 4)
    assert told[0].report.exact
    assert not told[0].report.one_pass
    fcn = fullconv.convert(trained.path)
    assert fcn.report.exact
    assert fcn.classes == ("background", "disc ü")


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (lambda: 3, "expected a callable that returns a torch.nn.Module; it returned builtins.int"),
        (lambda classes: Own(classes + 1, (16, 16)), "for 4 crops came (4, 3)"),
        (lambda: 1 / 0, "calling it failed with ZeroDivisionError: division by zero"),
        (lambda: Own(2, (8, 8)), "it does not take crops of 3 channels and 16x16 pixels"),
        (torch.nn.Flatten, "the network has no weights that could be learnt"),
        (
            lambda classes, window: torch.nn.Sequential(Own(classes, window), torch.nn.Softmax(1)),
            "it ends in a softmax, and training needs the scores before it",
        ),
    ],
)
def test_an_own_network_that_cannot_be_trained_is_refused(crops, tmp_path, own, expected):
    line = refusal(crops, tmp_path / "own.onnx", arch=own)
    assert line.startswith("train --arch ")
    assert expected in line
    assert "\n" not in line


def test_a_loss_that_is_no_number_ends_it_with_advice(crops, tmp_path):
    line = refusal(crops, tmp_path / "x.onnx", arch=Own, learning_rate=1e30)
    assert line == (
        "train: the loss is not a finite number in epoch 1; lower the learning rate, as in "
        "--learning-rate 1e+29."
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"epochs": 0}, "train(epochs=0): expected a whole number from 1."),
        ({"seed": -1}, "train(seed=-1): expected a whole number from 0."),
        ({"seed": 2**31}, "train(seed=2147483648): expected a number below 2**31."),
        ({"flips": "v"}, "train(flips='v'): expected one of none, h, hv."),
        ({"patience": 0}, "train(patience=0): expected at least 1 epoch."),
        (
            {"holdout": 1.0},
            "train(holdout=1.0): expected the share of crops to judge by, between 0 and 1, as in "
            "0.2.",
        ),
        (
            {"learning_rate": 0.0},
            "train(learning_rate=0.0): expected a number above 0, as in 0.002.",
        ),
        (
            {"window": (16, 0)},
            "train(window=(16, 0)): expected two whole numbers of at least 1 pixel, (height, "
            "width).",
        ),
        ({"device": "tpu"}, "train(device='tpu'): expected 'cpu' or 'cuda'."),
        (
            {"from_scratch_fcn": True, "arch": Own},
            "train(from_scratch_fcn=True): that is for the network that fullconv makes; a network "
            "of your own (arch) has the head that you gave it. Leave one out.",
        ),
    ],
)
def test_options_that_cannot_be_are_refused(crops, tmp_path, options, expected):
    assert refusal(crops, tmp_path / "x.onnx", **options) == expected


def test_classes_weigh_alike_however_many_crops_they_have():
    labels = np.array([0] * 30 + [1] * 10)
    weight = class_weights(labels, 2)
    assert (weight * torch.tensor([30.0, 10.0])).tolist() == pytest.approx([20.0, 20.0])
    assert class_weights(np.array([0, 1, 2]), 3).tolist() == [1, 1, 1]


def test_early_stopping_ends_a_phase_that_gets_no_better(crops, tmp_path):
    trained = train(
        crops, tmp_path / "x.onnx", **{**QUICK, "epochs": 40}, patience=1, learning_rate=0.5
    )
    numbers = [epoch.number for epoch in trained.history]
    assert numbers[-1] == trained.best.number + 1 < 40


def varied(crops, seed=0, **differs):
    still = {"shift": (0.0, 0.0), "scale": 0.0, "gain": 0.0, "offset": 0.0}
    generator = torch.Generator().manual_seed(seed)
    return Variation(**{**still, **differs}).apply(crops, (0.0, 255.0), generator)


def test_no_variation_changes_nothing_and_each_does_what_it_says():
    crops = torch.randint(0, 200, (32, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    torch.testing.assert_close(varied(crops), crops, rtol=0, atol=1e-3)
    mirrored = varied(crops, flips="h")
    is_mirrored = [
        torch.allclose(new, old.flip(-1), atol=1e-3)
        for new, old in zip(mirrored, crops, strict=True)
    ]
    is_same = [
        torch.allclose(new, old, atol=1e-3) for new, old in zip(mirrored, crops, strict=True)
    ]
    assert [a != b for a, b in zip(is_mirrored, is_same, strict=True)] == [True] * 32
    assert 8 <= sum(is_mirrored) <= 24
    upright = varied(crops, flips="hv")
    assert any(
        torch.allclose(new, old.flip(-2), atol=1e-3)
        for new, old in zip(upright, crops, strict=True)
    )
    brighter = varied(crops, gain=0.2) / crops.clamp(min=1)
    assert 0.79 <= brighter[crops > 0].min() < 0.9
    assert 1.1 < brighter[crops > 0].max() <= 1.21
    assert varied(crops, gain=1.0, offset=1.0).min() >= 0
    assert varied(crops, gain=1.0, offset=1.0).max() <= 255


def test_shifts_are_up_to_half_the_stride_and_the_seed_decides_them():
    spot = torch.zeros(64, 1, 17, 17)
    spot[:, :, 8, 8] = 255
    found = varied(spot, shift=(0.0, 3.0))
    columns = (found.sum(2)[:, 0] * torch.arange(17)).sum(1) / found.sum((1, 2, 3)) - 8
    assert 2 < columns.abs().max() <= 3.01
    assert found[:, 0, :7].abs().max() < 1e-3
    found_down = varied(spot, shift=(3.0, 0.0))
    rows = (found_down.sum(3)[:, 0] * torch.arange(17)).sum(1) / found_down.sum((1, 2, 3)) - 8
    assert 2 < rows.abs().max() <= 3.01
    assert torch.equal(found, varied(spot, shift=(0.0, 3.0)))
    assert not torch.equal(found, varied(spot, seed=1, shift=(0.0, 3.0)))
    assert Variation.for_stride((8, 2), (64, 16), "none").shift == (4, 1)
    assert Variation.for_stride((64, 64), (64, 16), "none").shift == (8, 2)


def drawn_epochs() -> list[Epoch]:
    """Return six epochs in two phases, of which the fourth was best."""
    return [
        Epoch(
            phase=number // 4,
            number=number,
            loss=1 / number,
            held_out_loss=1.5 / number,
            accuracy=0.5 + 0.05 * number - 0.1 * (number > 4),
            seconds=1.0,
        )
        for number in range(1, 7)
    ]


@pytest.mark.parametrize("by", ["matplotlib", "Pillow"])
def test_curves_are_drawn_with_matplotlib_and_without(by, monkeypatch):
    if by == "Pillow":
        monkeypatch.setitem(sys.modules, "matplotlib", None)
    else:
        pytest.importorskip("matplotlib")
    picture = draw_curves(drawn_epochs(), best=4)
    assert (picture.size, picture.mode) == ((760, 480), "RGB")
    assert len(picture.getcolors(1 << 20)) > 20
    assert picture.tobytes() != draw_curves(drawn_epochs(), best=3).tobytes()
    assert picture.tobytes() != draw_curves(drawn_epochs()[:5], best=4).tobytes()
    one = draw_curves(drawn_epochs()[:1], best=1)
    assert one.size == picture.size
