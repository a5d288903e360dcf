"""Train the dress classifier that the package carries, and write it as ONNX.

The classifier is the kind that people have: trained on fixed crops, 128 rows by 64 columns, with
fully connected layers at its end. Its crops are cut from the scenes of `fullconv.demo.scene`.

A window counts as a dress as far as their centres are near. A grid of step 32 has a window within
16 pixels of any dress in each direction, that is within 22.6 pixels; beyond that the answer must
fall quickly, or two diagonal neighbours would both claim the dress.

Seeds below 10 000 are for demonstrations, from 10 000 for evaluation, from 100 000 for training.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from fullconv.demo.pen import Box
from fullconv.demo.scene import Scene, draw_scene

WINDOW = (128, 64)
STEP = 32
CLASSES = ("background", "dress")
PREPROCESSING = {"scale": 1 / 255, "mean": [0, 0, 0], "std": [1, 1, 1]}
HELD_OUT_SEEDS = range(10_000, 10_060)
FIRST_TRAINING_SEED = 100_000
OUTPUT = Path(__file__).parents[1] / "src/fullconv/demo/dress.onnx"

REACH, SOFTNESS = 23.0, 1.2
"""Centre distance in pixels at which the label is 0.5, and how gradually it falls there."""


class DressClassifier(nn.Module):
    """Map crops (N, 3, 128, 64) with values in 0..1 to probabilities (N, 2).

    No operation is padded, the strides multiply to 32, and each of the 4 by 2 cells of the last
    map sees exactly its own 32 by 32 pixels:

    ====================  ===========  ===============
    after                 map          receptive field
    ====================  ===========  ===============
    conv 8x8, stride 4    32, 31x15    8
    conv 3x3              48, 29x13    16
    pool 3x3, stride 2    48, 14x6     24
    conv 2x2, stride 4    64, 4x2      32
    ====================  ===========  ===============
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 32, 8, stride=4, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 48, 3, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(48, 64, 2, stride=4, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * 4 * 2, 64), nn.ReLU(), nn.Linear(64, len(CLASSES))
        )

    def logits(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, 2) before the softmax."""
        return self.classifier(self.features(crops))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return the probabilities (N, 2)."""
        return self.logits(crops).softmax(dim=1)


def label(position: tuple[int, int], dresses: Sequence[Box]) -> float:
    """Return how much the window at `position` (row, column) is a dress, from 0 to 1."""
    row, column = position[0] + WINDOW[0] / 2, position[1] + WINDOW[1] / 2
    distances = [
        np.hypot((y0 + y1) / 2 - row, (x0 + x1) / 2 - column) for x0, y0, x1, y1 in dresses
    ]
    return float(1 / (1 + np.exp((min(distances) - REACH) / SOFTNESS)))


def cut(scene: Scene, position: tuple[int, int]) -> np.ndarray:
    """Return the crop (128, 64, 3) whose top left pixel is at `position` (row, column)."""
    row, column = position
    return scene.image[row : row + WINDOW[0], column : column + WINDOW[1]]


def positions_to_learn(scene: Scene, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Return window positions (row, column): on dresses, around them, and anywhere."""
    last = np.subtract(scene.image.shape[:2], WINDOW)
    found = []
    for x0, y0, x1, y1 in scene.dresses:
        centred = np.array([(y0 + y1 - WINDOW[0]) // 2, (x0 + x1 - WINDOW[1]) // 2])
        offsets = [rng.integers(-17, 18, 2) for _ in range(5)]
        offsets += [rng.integers(-48, 49, 2) for _ in range(6)]
        # The ring where the answer changes is thin, and decides whether neighbours agree.
        for angle in rng.uniform(0, 2 * np.pi, 5):
            radius = REACH + rng.uniform(-5, 10)
            offsets.append(np.round(radius * np.array([np.sin(angle), np.cos(angle)])).astype(int))
        found += [centred + offset for offset in offsets]
    found += [rng.integers(0, last + 1) for _ in range(30)]
    return [tuple(np.clip(position, 0, last).tolist()) for position in found]


def mistaken_positions(
    model: DressClassifier, scene: Scene, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Return the positions of a randomly shifted grid that the model judges most wrongly."""
    first = rng.integers(0, STEP, 2)
    shifted = torch.from_numpy(scene.image[first[0] :, first[1] :].copy())
    pixels = shifted.permute(2, 0, 1).float().div(255)[None]
    with torch.no_grad():
        # Unfolding the map into 4 by 2 blocks gives each window's flattened features.
        maps = model.features(pixels)
        blocks = F.unfold(maps, (4, 2))[0].T.reshape(-1, maps.shape[1], 4, 2)
        scores = model.classifier(blocks).softmax(1)[:, 1].numpy()
    columns = maps.shape[3] - 1
    positions = [
        (int(first[0]) + index // columns * STEP, int(first[1]) + index % columns * STEP)
        for index in range(len(scores))
    ]
    errors = np.abs(scores - [label(position, scene.dresses) for position in positions])
    worst = np.argsort(-errors)[:12]
    return [positions[index] for index in worst if errors[index] > 0.15]


def vary(crops: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Return crops (N, 128, 64, 3) as pixels (N, 3, 128, 64) in 0..1, light and colours varied."""
    count = len(crops)
    mirrored = rng.random(count) < 0.5
    crops[mirrored] = crops[mirrored, :, ::-1]
    gain = torch.from_numpy(rng.uniform(0.86, 1.14, (count, 3, 1, 1)).astype(np.float32))
    light = torch.from_numpy(rng.uniform(-0.08, 0.08, (count, 1, 1, 1)).astype(np.float32))
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    return pixels.mul_(gain / 255).add_(light).clamp_(0, 1)


def train(seed: int, scenes: int, epochs: int) -> DressClassifier:
    """Train on crops of `scenes` scenes, with the model's own mistakes added after each epoch."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    first = FIRST_TRAINING_SEED + seed * scenes
    drawn = [draw_scene(number) for number in range(first, first + scenes)]
    # Channels last halves the time of small convolutions on a CPU, and changes nothing else.
    model = DressClassifier().to(memory_format=torch.channels_last)
    batch = 128
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    mistaken: list[list[tuple[int, int]]] = [[] for _ in drawn]
    for epoch in range(epochs):
        model.train()
        rate = 3e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs)) + 2e-5
        for group in optimiser.param_groups:
            group["lr"] = rate
        windows = [
            (number, position)
            for number, scene in enumerate(drawn)
            for position in positions_to_learn(scene, rng) + mistaken[number]
        ]
        order = rng.permutation(len(windows))
        total = 0.0
        for begin in range(0, len(order) - batch + 1, batch):
            chosen = [windows[index] for index in order[begin : begin + batch]]
            crops = np.stack([cut(drawn[number], position) for number, position in chosen])
            wanted = torch.tensor([label(at, drawn[number].dresses) for number, at in chosen])
            logits = model.logits(vary(crops, rng))
            loss = F.cross_entropy(logits, torch.stack([1 - wanted, wanted], dim=1))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach()) * batch
        model.eval()
        fresh = [mistaken_positions(model, scene, rng) for scene in drawn]
        # Older mistakes are kept for a while, so that what has been unlearnt does not return.
        mistaken = [(new + old)[:24] for new, old in zip(fresh, mistaken, strict=True)]
        print(
            f"epoch {epoch + 1:2d}/{epochs}  {len(windows)} crops  loss {total / len(order):.4f}  "
            f"mistakes {sum(map(len, fresh)) / scenes:.2f} per scene",
            flush=True,
        )
    return model.eval()


def to_onnx(model: DressClassifier) -> onnx.ModelProto:
    """Return the classifier as an ONNX graph whose nodes and weights carry the modules' names.

    Built node by node, because exporters fold BatchNormalization away and rename what is left,
    and a reader should find in the file what the class above says.
    """
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    value = "crop"

    def add(kind: str, name: str, parameters: Sequence[str], **attributes: object) -> None:
        nonlocal value
        inputs = [value, *(f"{name}.{parameter}" for parameter in parameters)]
        for parameter in parameters:
            array = model.state_dict()[f"{name}.{parameter}"].numpy()
            weights.append(numpy_helper.from_array(array, f"{name}.{parameter}"))
        value = name if name == "scores" else f"{name}.output"
        nodes.append(helper.make_node(kind, inputs, [value], name=name, **attributes))

    for part, layers in (("features", model.features), ("classifier", model.classifier)):
        for index, layer in enumerate(layers):
            name = f"{part}.{index}"
            match layer:
                case nn.Conv2d():
                    attributes = {"kernel_shape": layer.kernel_size, "strides": layer.stride}
                    add("Conv", name, ["weight"], **attributes)
                case nn.BatchNorm2d():
                    parameters = ["weight", "bias", "running_mean", "running_var"]
                    add("BatchNormalization", name, parameters, epsilon=layer.eps)
                case nn.ReLU():
                    add("Relu", name, [])
                case nn.MaxPool2d():
                    kernel, stride = [layer.kernel_size] * 2, [layer.stride] * 2
                    add("MaxPool", name, [], kernel_shape=kernel, strides=stride)
                case nn.Flatten():
                    add("Flatten", name, [], axis=1)
                case nn.Linear():
                    add("Gemm", name, ["weight", "bias"], transB=1)
                case _:
                    raise TypeError(f"to_onnx has no node for {name}, a {type(layer).__name__}")
    add("Softmax", "scores", [], axis=1)

    crop = helper.make_tensor_value_info("crop", TensorProto.FLOAT, ["N", 3, *WINDOW])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", len(CLASSES)])
    about = (
        "Window classifier: is there a dress in this crop of 128 rows by 64 columns? "
        "Trained on drawn street scenes by training/train_dress_classifier.py of fullconv."
    )
    graph = helper.make_graph(
        nodes, "dress_classifier", [crop], [scores], weights, doc_string=about
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="fullconv",
        doc_string=about,
    )
    helper.set_model_props(
        proto,
        {
            "fullconv.classes": json.dumps(CLASSES),
            "fullconv.preprocessing": json.dumps(PREPROCESSING),
            "fullconv.window": json.dumps(WINDOW),
        },
    )
    proto = onnx.shape_inference.infer_shapes(proto, strict_mode=True)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def difference(model: DressClassifier, proto: onnx.ModelProto) -> float:
    """Return the largest difference between the scores of torch and of onnxruntime."""
    crops = torch.rand(64, 3, *WINDOW, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (scores,) = session.run(None, {"crop": crops.numpy()})
    with torch.no_grad():
        return float(np.abs(model(crops).numpy() - scores).max())


def score_windows(session: onnxruntime.InferenceSession, image: np.ndarray) -> np.ndarray:
    """Return the dress probabilities (rows, columns) of all windows, forwarded crop by crop."""
    rows, columns = ((n - w) // STEP + 1 for n, w in zip(image.shape, WINDOW, strict=False))
    crops = [
        image[y * STEP : y * STEP + WINDOW[0], x * STEP : x * STEP + WINDOW[1]]
        for y in range(rows)
        for x in range(columns)
    ]
    pixels = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) * np.float32(1 / 255)
    (scores,) = session.run(None, {"crop": pixels})
    return scores[:, 1].reshape(rows, columns)


def overlap(first: Box, second: Box) -> float:
    """Return the intersection of two boxes over their union."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def find(heatmap: np.ndarray, threshold: float = 0.5, iou: float = 0.3) -> list[Box]:
    """Return the best-scored windows of a heatmap, none overlapping a better one by over `iou`."""
    found: list[Box] = []
    for index in np.argsort(-heatmap, axis=None, kind="stable"):
        row, column = np.unravel_index(index, heatmap.shape)
        if heatmap[row, column] < threshold:
            break
        y, x = int(row) * STEP, int(column) * STEP
        box = (x, y, x + WINDOW[1], y + WINDOW[0])
        if all(overlap(box, other) <= iou for other in found):
            found.append(box)
    return found


def judge(found: Sequence[Box], dresses: Sequence[Box]) -> tuple[int, int]:
    """Return how many dresses were found, and how many boxes are false alarms.

    A box takes one dress, within 24 pixels of its centre or with an overlap of at least 0.4; a
    second box on the same dress is a false alarm.
    """
    open_dresses = list(dresses)
    false_alarms = 0
    for box in found:
        for dress in open_dresses:
            apart = np.hypot(
                (box[0] + box[2] - dress[0] - dress[2]) / 2,
                (box[1] + box[3] - dress[1] - dress[3]) / 2,
            )
            if apart <= 24 or overlap(box, dress) >= 0.4:
                open_dresses.remove(dress)
                break
        else:
            false_alarms += 1
    return len(dresses) - len(open_dresses), false_alarms


def evaluate(proto: onnx.ModelProto, seeds: Sequence[int]) -> None:
    """Print recall and false alarms over the scenes of `seeds`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    dresses = hits = alarms = clean = 0
    for seed in seeds:
        scene = draw_scene(seed)
        found, false_alarms = judge(find(score_windows(session, scene.image)), scene.dresses)
        dresses, hits, alarms = dresses + len(scene.dresses), hits + found, alarms + false_alarms
        clean += found == len(scene.dresses) and false_alarms == 0
    print(
        f"held out: {len(seeds)} scenes, {dresses} dresses, recall {hits / dresses:.4f}, "
        f"false alarms {alarms / len(seeds):.3f} per scene, {clean} scenes without any fault"
    )


def write(proto: onnx.ModelProto, path: Path) -> None:
    """Write the model in one step, so that no reader ever finds half a file."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
        part.write(proto.SerializeToString())
    os.chmod(part.name, 0o644)  # temporary files are readable by their owner alone
    os.replace(part.name, path)


def main() -> None:
    """Train, check, write, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    model = train(options.seed, options.scenes, options.epochs)
    proto = to_onnx(model)
    print(f"largest difference between torch and onnxruntime: {difference(model, proto):.2e}")
    evaluate(proto, HELD_OUT_SEEDS)
    write(proto, options.output)
    print(f"wrote {options.output.name}: {options.output.stat().st_size / 1000:.0f} kB")
    print(f"run again: python training/{Path(__file__).name} --seed {options.seed}")


if __name__ == "__main__":
    main()
