"""The story that ``fullconv demo`` tells, paragraph by paragraph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fullconv.demo.result import Result


def story(result: Result, is_fresh: bool) -> list[tuple[str, list[str]]]:
    """Return titles with their lines; ``is_fresh`` if the classifier has just been trained."""
    return [
        ("1. What we start with", _start(result, is_fresh)),
        ("2. What conversion changes", _conversion(result)),
        ("3. How long both ways take", _times(result)),
        ("4. Are the answers the same?", _proof(result)),
        ("5. Where are the dresses?", _finds(result)),
        (f"6. What is now in the folder {result.folder}", _files(result, is_fresh)),
        ("What to do next", _next(result.folder)),
    ]


def _start(result: Result, is_fresh: bool) -> list[str]:
    height, width = result.size
    rows, columns = result.heatmap.shape
    (h, w), (_, sx) = result.grid.window, result.grid.step
    times_over = rows * columns * h * w / (height * width)
    origin = "has just been trained" if is_fresh else "comes with this package"
    return [
        f"A small classifier {origin}. It looks at one crop, {w} pixels wide and",
        f"{h} high, and says how likely it is that the crop shows a dress. It can do nothing",
        "else: its last layers are made for crops of exactly that size.",
        "",
        f"And a street, {width} pixels wide and {height} high, just drawn at random (seed "
        f"{result.seed}), with",
        f"{len(result.dresses)} dresses in it. To find them, a {w}x{h} window moves over the "
        f"street in steps of {sx} pixels:",
        f"{columns} places across times {rows} down makes {rows * columns} windows, and each is a "
        f"question to the classifier.",
        "",
        f"The usual way is to cut out {rows * columns} crops and to run the classifier on each. It "
        f"wastes time:",
        f"the crops overlap, so the same pixels are worked on {times_over:.1f} times on average.",
    ]


def _conversion(result: Result) -> list[str]:
    changes = result.report.changes
    width = max(len(change.layer) for change in changes)
    filters = changes[0].after.removeprefix("Conv2d, ")
    count, _, shape = filters.split(maxsplit=2)
    rows, columns, channels = shape.removeprefix("of ").split("x")
    return [
        "Most layers of the classifier (convolution, pooling) never cared how large their input",
        "is: they slide small filters over whatever they get. Only the fully connected layers",
        "care: each of their outputs is one weighted sum over everything that is left of a crop.",
        "But a filter as large as all that computes the same sum with the same weights, and it",
        "can slide on and compute it for the next window. So those layers become convolutions:",
        "",
        *(f"  {c.layer:<{width}}  {c.before} -> {c.after}" for c in changes),
        "",
        f"Gemm is what the ONNX file calls a fully connected layer. '{filters}' are {count}",
        f"filters, each {rows} cells high, {columns} wide and {channels} channels deep: that is "
        f"what the layers before",
        "leave of a crop. Nothing was trained again, and no weight was changed: the weights are",
        f"arranged in another shape. The other {result.operations - len(changes)} of "
        f"{result.operations} operations stay as they were.",
        "",
        "The converted network takes the whole street at once and gives one score per window.",
    ]


def _times(result: Result) -> list[str]:
    from fullconv.demo.run import BATCH, REPEATS

    windows = result.verification.windows
    return [
        f"{'the whole street in one pass':<34}{1000 * result.one_pass_s:7.1f} ms",
        f"{f'{windows} crops, {BATCH} at a time':<34}{1000 * result.crops_s:7.1f} ms",
        "",
        f"One pass is {result.crops_s / result.one_pass_s:.1f} times as fast. (Medians of "
        f"{REPEATS} runs each on this machine, both in ONNX",
        "Runtime; the time to cut the crops out is not even counted.)",
    ]


def _proof(result: Result) -> list[str]:
    proof = result.verification
    lines = [
        f"All {proof.windows} windows were compared: the score from the one pass against the "
        f"score of the crop.",
        "",
        f"largest difference between the two ways        {_decimal(proof.max_error)}",
        f"the classifier's own difference from itself    {_decimal(proof.self_error)}",
        f"same answer, dress or not                      {100 * proof.agreement:.0f} % of the "
        f"windows",
        f"for scale: neighbouring windows differ by up to {result.contrast:.2f}",
        "",
    ]
    if not proof.passed:
        return [*lines, f"This is NOT as it should be: {proof.verdict}"]
    return [
        *lines,
        "Scores lie between 0 and 1, in numbers that hold about 7 digits. A difference in the",
        "last of them is rounding: both ways add up the same products, in another order. Even the",
        "classifier alone may differ from itself a little when it takes crops singly or 16 at a",
        "time. A real mistake would be of the size of the scores: whoever reads the wrong window",
        "is off by as much as the last line says.",
        "",
        "So every score of the one pass is the crop's own: the same answers for less work.",
    ]


def _decimal(number: float) -> str:
    """Return a small number without an exponent, for readers who do not know that notation."""
    return f"{number:.8f}" if number else "0"


def _finds(result: Result) -> list[str]:
    lines = [
        "The scores as a map, one sign per window: # over 0.5 (a dress), + over 0.1, . below.",
        "",
        *("  " + "".join(_sign(float(score)) for score in row) for row in result.heatmap),
        "",
        "Several windows may see the same dress; of those that overlap, the surest is kept.",
        "",
        *(
            f"dress at {_place(find.box)}   score {find.score:.2f}   "
            + (f"right: drawn at {_place(find.dress)}" if find.dress else "wrong: no dress there")
            for find in sorted(result.found, key=lambda find: find.box)
        ),
        *(f"missed: the dress drawn at {_place(box)}" for box in result.missed),
        "",
        f"Found {len(result.dresses) - len(result.missed)} of {len(result.dresses)} dresses, with "
        f"{result.false_alarms} false alarms. Average precision "
        f"{result.average_precision:.2f} (1 is best).",
    ]
    if result.missed or result.false_alarms:
        lines.append("(The mistakes are the classifier's own: its crops get the same scores.)")
    return lines


def _sign(score: float) -> str:
    return "#" if score > 0.5 else "+" if score > 0.1 else "."


def _place(box: tuple[int, int, int, int]) -> str:
    return f"x {box[0]:>3}..{box[2]:<4} y {box[1]:>3}..{box[3]:<3}"


def _files(result: Result, is_fresh: bool) -> list[str]:
    (h, w) = result.grid.window
    made = [
        "crops/, photos/  what was learnt from: crops, and streets without a dress",
        "dress.onnx       the classifier of crops; dress-*: curves, mistakes, and a report",
    ]
    return [
        *(made if is_fresh else []),
        "scene.png        the street as it was drawn",
        "overlay.png      the street with the scores over it as heat, and the finds outlined",
        "boxes.png        the street with the finds, and the drawn dresses as thin white outlines",
        f"dress-fcn.onnx   the converted classifier: pictures of any size from {w}x{h} up",
    ]


def _next(folder: Path) -> list[str]:
    return [
        "With the files that are there now, part 4 and part 5 again, on pictures of any size:",
        f"  fullconv verify {folder / 'dress-fcn.onnx'} {folder / 'scene.png'}",
        f"  fullconv detect {folder / 'dress-fcn.onnx'} {folder / 'scene.png'} -o dresses.csv",
        f"  fullconv scan   {folder / 'dress-fcn.onnx'} {folder / 'scene.png'} -o heat.zarr",
        "",
        "With a classifier of your own (say model.onnx) and a picture (photo.jpg):",
        "  fullconv explain model.onnx                     what would change, and is it exact?",
        "  fullconv convert model.onnx -o model-fcn.onnx   convert and save it",
        "  fullconv verify model.onnx photo.jpg            part 4, on your own picture",
        "",
        "If the model does not fix its crops' size, add --window 64x128 (width x height).",
        'For PyTorch models: pip install "fullconv[torch]", then give a .pt2 file, or your code:',
        "  fullconv convert package.module:callable --weights w.safetensors --window 64x128 \\",
        "    -o model-fcn.onnx",
    ]
