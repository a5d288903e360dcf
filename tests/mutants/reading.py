"""Planted defects: models, and what they may lead to."""

from __future__ import annotations

from mutants.defect import Defect

READING = (
    Defect(
        "padding counts for every average of ONNX",
        "frameworks/onnx/read_maps.py",
        'bool(node.attributes.get_int("count_include_pad", 0))',
        "True",
        (
            "test_padded_families.py",
            "test_families.py",
        ),
    ),
    Defect(
        "what a pool of ONNX reads beyond its map is forgotten",
        "frameworks/onnx/read_maps.py",
        "        overhang=overhang,\n",
        "        overhang=(0,) * len(overhang),\n",
        (
            "test_families.py",
            "test_padded_families.py",
            "test_tiles.py",
        ),
    ),
    Defect(
        "SAME padding of ONNX counts whole strides alone",
        "frameworks/onnx/moving.py",
        "max(0, (-(size // -stride) - 1) * stride",
        "max(0, (size // stride - 1) * stride",
        (
            "test_families.py",
            "test_padded_families.py",
        ),
    ),
    Defect(
        "a factor of Gemm is left out",
        "frameworks/onnx/read_numbers.py",
        'get.get_float("alpha", 1.0)',
        "1.0",
        (
            "test_families.py",
            "test_onnx_odd.py",
        ),
    ),
    Defect(
        "keepdims of ONNX is taken for false",
        "frameworks/onnx/read_numbers.py",
        'bool(node.attributes.get_int("keepdims", 1))',
        "False",
        ("test_families.py",),
    ),
    Defect(
        "weights come from outside the model's folder",
        "frameworks/onnx/external.py",
        'if not inside or Path(location).is_absolute() or ".." in Path(location).parts:',
        "if not location:",
        (
            "test_hostile_files.py",
            "test_bad_input.py",
            "test_model_folders.py",
        ),
    ),
    Defect(
        "weights come from a pipe",
        "frameworks/onnx/external.py",
        "if not stat.S_ISREG(status.st_mode):",
        "if False:",
        (
            "test_bad_input.py",
            "test_hostile_files.py",
            "test_onnx_odd.py",
        ),
    ),
    Defect(
        "the odd cell of PyTorch's same padding comes first",
        "frameworks/torch/read_maps.py",
        "pads = tuple((t // 2, t - t // 2) for t in total)",
        "pads = tuple((t - t // 2, t // 2) for t in total)",
        (
            "test_padded_families.py",
            "test_families.py",
        ),
    ),
    Defect(
        "checkpoints are unpickled",
        "frameworks/torch/inert.py",
        'map_location="cpu", weights_only=True',
        'map_location="cpu", weights_only=False',
        (
            "test_bad_input.py",
            "test_hostile_files.py",
        ),
    ),
    Defect(
        "sample inputs of an archive are unpickled",
        "frameworks/torch/archive.py",
        "torch.load(io.BytesIO(data), weights_only=True)",
        "torch.load(io.BytesIO(data), weights_only=False)",
        ("test_bad_input.py",),
    ),
    Defect(
        "the odd cell of Keras's same padding comes first",
        "frameworks/keras/read_maps.py",
        "pads.append((total // 2, total - total // 2))",
        "pads.append((total - total // 2, total // 2))",
        ("test_keras_families.py",),
    ),
    Defect(
        "depthwise filters of Keras stand in another order",
        "frameworks/keras/kernels.py",
        "kernel.permute(axes, axes + 1, *range(axes))",
        "kernel.permute(axes + 1, axes, *range(axes))",
        ("test_keras_families.py",),
    ),
)
