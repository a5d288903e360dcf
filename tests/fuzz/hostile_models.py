"""Files of a kilobyte that ask for terabytes, for days, or for somebody else's files.

Not mutations: each is made by hand, and the seed changes nothing. Every one must be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from fuzz.case import Case, Cases
from fuzz.sound_models import FLOAT, WINDOW, model_of, node, numbers, plain

HUGE = 1 << 40
BITS64 = TensorProto.INT64

Weights = dict[str, Any]


def whole(*numbers_: int) -> np.ndarray:
    return np.array(numbers_, np.int64)


def behind(nodes: list[NodeProto], weights: Weights, version: int = 17) -> ModelProto:
    """Return a classifier that adds the mean of ``big`` to its scores."""
    dense = [
        node("Flatten", ["x"], ["flat"]),
        node("MatMul", ["flat", "fw"], ["scores"]),
        node("ReduceMean", ["big"], ["mean"], keepdims=0),
        node("Add", ["scores", "mean"], ["y"]),
    ]
    return model_of([*nodes, *dense], {"fw": numbers(240, 3), **weights}, version=version)


def doubling(first: str, times: int = 40) -> list[NodeProto]:
    """Return operators that each put a tensor behind itself."""
    names = [first, *(f"d{n}" for n in range(times - 1)), "big"]
    ends = pairwise(names)
    return [node("Concat", [before, before], [after], axis=0) for before, after in ends]


def of_constants() -> dict[str, tuple[list[NodeProto], Weights]]:
    """Return what makes terabytes from nothing."""
    size, one, image = whole(HUGE), np.ones(1, np.float32), np.ones((1, 1, 4, 4), np.float32)
    cast = [node("Cast", ["whole"], ["big"], to=FLOAT)]
    return {
        "constant_of_shape": ([node("ConstantOfShape", ["s"], ["big"])], {"s": size}),
        "range": (
            [node("Range", ["a", "b", "c"], ["whole"]), *cast],
            {"a": np.array(0), "b": np.array(HUGE), "c": np.array(1)},
        ),
        "tile": ([node("Tile", ["one", "s"], ["big"])], {"one": one, "s": size}),
        "expand": ([node("Expand", ["one", "s"], ["big"])], {"one": one, "s": size}),
        "pad": ([node("Pad", ["one", "p"], ["big"])], {"one": one, "p": whole(0, HUGE)}),
        "resize": (
            [node("Resize", ["image", "", "", "s"], ["big"], mode="nearest")],
            {"image": image, "s": whole(1, 1, 1 << 20, 1 << 20)},
        ),
        "one_hot": (
            [node("OneHot", ["i", "depth", "values"], ["big"])],
            {"i": whole(1, 2), "depth": np.array(HUGE), "values": np.array([0, 1], np.float32)},
        ),
        "eye_like": (
            [node("ConstantOfShape", ["s"], ["z"]), node("EyeLike", ["z"], ["big"])],
            {"s": whole(1 << 20, 1 << 20)},
        ),
        "random": ([node("RandomNormal", [], ["big"], shape=[1 << 20, 1 << 20])], {}),
        "window": ([node("HannWindow", ["n"], ["big"])], {"n": np.array(HUGE)}),
        "doubling": (doubling("one"), {"one": one}),
        "doubling_whole": (doubling("i"), {"i": whole(1)}),
        "outer": (
            [
                node("Reshape", ["v", "to"], ["c"]),
                node("Mul", ["c", "v"], ["o"]),
                node("Reshape", ["o", "line"], ["f"]),
                node("Reshape", ["f", "to"], ["g"]),
                node("Mul", ["g", "f"], ["big"]),
            ],
            {"v": numbers(4096), "to": whole(-1, 1), "line": whole(-1)},
        ),
        "gather": (
            [
                node("ConstantOfShape", ["s"], ["z"], value=numpy_helper.from_array(whole(0))),
                node("Gather", ["v", "z"], ["big"]),
            ],
            {"s": whole(1 << 21), "v": numbers(1, 4096)},
        ),
    }


def of_images() -> dict[str, tuple[list[NodeProto], Weights]]:
    """Return what makes terabytes from an image of a kilobyte."""
    return {
        "tile": ([node("Tile", ["x", "t"], ["big"])], {"t": whole(1, 1, 1 << 20, 1 << 20)}),
        "expand": (
            [node("Unsqueeze", ["x", "a"], ["u"]), node("Expand", ["u", "t"], ["big"])],
            {"a": whole(4), "t": whole(1, 1, 1, 1, HUGE)},
        ),
        "pad": (
            [node("Pad", ["x", "p"], ["big"])],
            {"p": whole(0, 0, 0, 0, 0, 0, 1 << 20, 1 << 20)},
        ),
        "resize": (
            [node("Resize", ["x", "", "k"], ["big"], mode="linear")],
            {"k": np.array([1, 1, 1e5, 1e5], np.float32)},
        ),
        "conv_pads": (
            [node("Conv", ["x", "w"], ["big"], pads=[1 << 30] * 4)],
            {"w": numbers(1, 2, 3, 3)},
        ),
        "conv_transpose": (
            [node("ConvTranspose", ["x", "w"], ["big"], strides=[1 << 18, 1 << 18])],
            {"w": numbers(2, 1, 3, 3)},
        ),
        "doubling": (doubling("x"), {}),
        "outer": (
            [
                node("Reshape", ["x", "c"], ["a"]),
                node("Reshape", ["x", "r"], ["b"]),
                node("Mul", ["a", "b"], ["o"]),
                node("Reshape", ["o", "c"], ["p"]),
                node("Mul", ["p", "b"], ["q"]),
                node("Reshape", ["q", "c"], ["s"]),
                node("Mul", ["s", "b"], ["big"]),
            ],
            {"c": whole(1, -1, 1), "r": whole(1, 1, 240)},
        ),
        "like": (
            [node("Tile", ["x", "t"], ["z"]), node("RandomUniformLike", ["z"], ["big"])],
            {"t": whole(1, 1, 1 << 20, 1 << 20)},
        ),
    }


def many_nodes() -> ModelProto:
    names = ["x", *(f"n{number}" for number in range(60_000)), "big"]
    return behind([node("Relu", [a], [b]) for a, b in pairwise(names)], {})


def laughs() -> ModelProto:
    """Return functions of which each calls the one before it ten times, fifty deep."""
    functions = []
    for level in range(40):
        called = ["Relu", ""] if not level else [f"F{level - 1}", "own"]
        nodes = [node(called[0], [f"a{n}"], [f"a{n + 1}"], domain=called[1]) for n in range(10)]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        functions.append(helper.make_function("own", f"F{level}", ["a0"], ["a10"], nodes, imports))
    model = behind([node("F39", ["x"], ["big"], domain="own")], {})
    model.functions.extend(functions)
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def calls_itself() -> ModelProto:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    inner = [node("F", ["a"], ["b"], domain="own")]
    model = behind([node("F", ["x"], ["big"], domain="own")], {})
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], inner, imports))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def looped(trips: int, doubled: bool) -> ModelProto:
    value = helper.make_tensor_value_info
    work = node("Concat", ["v", "v"], ["w"], axis=0) if doubled else node("Relu", ["v"], ["w"])
    body = helper.make_graph(
        [work, node("Identity", ["on"], ["off"])],
        "body",
        [value("i", BITS64, []), value("on", TensorProto.BOOL, []), value("v", FLOAT, None)],
        [value("off", TensorProto.BOOL, []), value("w", FLOAT, None)],
    )
    loop = node("Loop", ["trips", "", "x"], ["big"], body=body)
    return behind([loop], {"trips": np.array(trips)})


def image_of(*sizes: Any) -> ModelProto:
    model = plain()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", FLOAT, sizes))
    return model


def claiming(**change: Any) -> ModelProto:
    """Return a model whose first weight claims something else than it holds."""
    model = plain()
    tensor = model.graph.initializer[0]
    for name, value in change.items():
        if name == "dims":
            del tensor.dims[:]
            tensor.dims.extend(value)
        else:
            setattr(tensor, name, value)
    return model


def sparse_claim() -> ModelProto:
    model = plain()
    weight = model.graph.initializer[0]
    name = weight.name
    model.graph.initializer.remove(weight)
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(np.ones(1, np.float32), name),
            numpy_helper.from_array(whole(5)),
            [1 << 20, 1 << 20],
        )
    )
    return model


def makers() -> Iterator[tuple[str, Callable[[], ModelProto]]]:
    """Yield the name and maker of every single file."""
    for name, (nodes, weights) in of_constants().items():
        yield f"constant_{name}", lambda n=nodes, w=weights: behind(n, w)
    for name, (nodes, weights) in of_images().items():
        yield f"image_{name}", lambda n=nodes, w=weights: behind(n, w)
    yield "many_nodes", many_nodes
    yield "laughs", laughs
    yield "calls_itself", calls_itself
    yield "loop_for_ever", lambda: looped(1 << 60, False)
    yield "loop_doubling", lambda: looped(50, True)
    yield "image_height", lambda: image_of("N", 2, 1 << 31, 10)
    yield "image_channels", lambda: image_of("N", 1 << 31, *WINDOW)
    yield "image_batch", lambda: image_of(1 << 31, 2, *WINDOW)
    yield "image_overflow", lambda: image_of("N", 1 << 32, 1 << 32, 1 << 32)
    yield "weight_dims", lambda: claiming(dims=[1 << 20, 2, 3, 3])
    yield "weight_overflow", lambda: claiming(dims=[1 << 32, 1 << 32])
    yield "weight_negative", lambda: claiming(dims=[-4, 2, 3, 3])
    yield "weight_short", lambda: claiming(raw_data=b"\0" * 8)
    yield "weight_type", lambda: claiming(data_type=TensorProto.STRING)
    yield "weight_sparse", sparse_claim


def cases(seed: int, count: int) -> Cases:
    """Yield every one of these files, whatever the seed."""
    for name, make in islice(makers(), count):
        files = {"model.onnx": make().SerializeToString()}
        call = ("convert", "model.onnx", "-o", "out.onnx")
        yield Case(name, call, files, judge="fuzz.exactness")
