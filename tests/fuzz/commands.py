"""Command lines of which some values, or the order, make no sense."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from fuzz.case import Case
from fuzz.images import seeds
from fuzz.models import model

CALLS = (
    "explain model.onnx --window 16x16 --step 8",
    "convert model.onnx -o out.onnx --scale 0.5 --mean 1,2,3 --std 1,1,1 --channel-order BGR "
    "--um-per-pixel 0.5 --classes a,b --background a --step 4x4",
    "verify model.onnx image.png --windows 8 --seed 3",
    "scan model.onnx image.png -o heat.zarr --resize 0.9 --tile 8x8 --memory 100MB --roi 0,0,60,60 "
    "--bands 1,2,3 --image-um-per-pixel 0.5 --um-per-pixel 0.5 --mask image.png --dtype "
    "float32 --precision f32 --runtime onnxruntime --device cpu --check 2 --step 8 --scores 0",
    "detect model.onnx image.png -o boxes.json --threshold 0.5 --iou 0.3 --scales 1,0.9 --check 2 "
    "--activation softmax --overlay marked.png --classes 0 --step 8",
    "bench model.onnx image.png --size 40 --rounds 1",
    "train crops -o out.onnx --window 16x16 --epochs 1 --rounds 0 --holdout 0.5 --batch 4 "
    "--flips h --patience 1",
)

VALUES = (
    *("", " ", "-", "--", "0", "-1", "1", "2", "0.5", "nan", "inf", "-inf", "1e400", "1e-400", "x"),
    *("0x0", "1x1", "16x16x16", "x16", "16x", "99999999999999999999x1", "4096x4097", "1,2", "1,,2"),
    *("9" * 5000, "9" * 400 + "GB", "1e9GB", "0MB", "1KB", "100TB", "nan,nan,nan", "0,0,nan,1"),
    *("1,2,3,4,5", "1" + ",1" * 5000, ".", "/dev/null", "/dev/full", "/dev/stdin"),
    *("/proc/self/mem", "s3://a/b", "file:///etc/passwd", "a\nb", "é\u2028", "\udce9", "a" * 300),
    *("image.png", "model.onnx", "crops", "*", "[", "[!", "**", "none.png", "%s", "$(ls)", "~"),
)


def cases(seed: int) -> Iterator[Case]:
    """Yield calls, of one command after the other."""
    chance, number = Random(seed), 0
    files = {"model.onnx": model(), "image.png": seeds()["png"]["image.png"]}
    files |= {f"crops/{name}/{n}.png": files["image.png"] for name in "ab" for n in range(4)}
    while True:
        for call in CALLS:
            words = call.split(" ")
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                at = chance.randrange(1, len(words))
                draw = chance.random()
                if draw < 0.75:
                    words[at] = chance.choice(VALUES)
                elif draw < 0.85:
                    del words[at]
                elif draw < 0.95:
                    words.insert(at, chance.choice(VALUES))
                else:
                    chance.shuffle(words)
            yield Case(call.split(" ")[0], f"{call.split(' ')[0]}-{number}", files, tuple(words))
        number += 1
