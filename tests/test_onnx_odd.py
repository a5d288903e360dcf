"""ONNX models that say in an odd way what a plain one says: they are read, and equal their crops.

Weights and pixels are small whole numbers, so that right means equal (see `oracle`). Models are
written in ONNX' own text form; the weights that a text uses are made for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import fullconv
from fullconv.errors import FullconvError, InputError, ModelError, UnsafeModelError
from fullconv.frameworks.onnx.light import LARGE
from fullconv.frameworks.onnx.session import session
from oracle import assert_same, onnx_classifier, scores_of_crops

WINDOW, SIZE = (6, 5), (11, 9)
WEIGHTS = {"w": (3, 2, 3, 3), "b": (3,), "wide": (1, 3, 1, 1), "fw": (36, 3), "short": (3, 3)}
"""Sizes of the weights that a text may use; a convolution by ``w`` leaves a map of (3, 4, 3)."""

CONV = "c = Conv (x, w)"
DENSE = "f = Flatten (m)  y = MatMul (f, fw)"


def whole(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(-2, 3, shape).astype(np.float32)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 4, shape).astype(np.float32)


def parsed(
    body: str, image: str = "float[N,2,6,5] x", version: int = 17, functions: str = "", **more: Any
) -> ModelProto:
    """Return the model of a graph's text, with the weights that it uses."""
    imports = f'["" : {version}, "own" : 1, "com.microsoft" : 1, "ai.onnx.ml" : 3]'
    model = onnx.parser.parse_model(
        f"<ir_version: 10, opset_import: {imports}> odd ({image}) => (float[N,K] y) {{{body}}}"
        f"{functions}"
    )
    weights = {name: whole(*shape) for name, shape in WEIGHTS.items()} | more
    known = {name for node in model.graph.node for name in _all_inputs(node)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name)
        for name, array in weights.items()
        if name in known
    )
    return model


def _all_inputs(node: Any) -> set[str]:
    inner = (n for a in node.attribute for n in a.g.node)
    return set(node.input).union(*(_all_inputs(n) for n in inner))


def compare(model: Any, ran: ModelProto | None = None, *, images: Any = None) -> Any:
    """Convert a model, and compare all windows with their crops; return the converted one."""
    images = pixels(2, 2, *SIZE) if images is None else images
    classify = onnx_classifier(ran or model)
    fcn = fullconv.convert(model, WINDOW)
    assert fcn.report.exact
    sizes = (ran or model).graph.input[-1].type.tensor_type.shape.dim
    batch = 1 if sizes and sizes[0].dim_value == 1 else 64
    assert_same(fcn(images), scores_of_crops(classify, images, WINDOW, fcn.grid.step, batch))
    return fcn


CHOICES = {
    "if_of_a_size": """
        s = Shape <start = 1, end = 2> (c)  three = Constant <value_ints = [3]> ()
        is = Equal (s, three)
        m = If (is) <
            then_branch = t () => (float[A,B,C,D] t) { u = Relu (c)  t = Add (u, wide) },
            else_branch = e () => (float[A,B,C,D] e) { u = Neg (c)  e = Mul (u, wide) }>""",
    "if_in_an_if": """
        yes = Constant <value = bool {1}> ()  no = Constant <value = bool {0}> ()
        m = If (yes) <
            then_branch = t () => (float[A,B,C,D] t) {
                u = Relu (c)
                t = If (no) <
                    then_branch = a () => (float[A,B,C,D] a) { a = Neg (u) },
                    else_branch = b () => (float[A,B,C,D] b) { u2 = Abs (u)  b = Add (u2, c) }> },
            else_branch = e () => (float[A,B,C,D] e) { e = Neg (c) }>""",
    "if_gives_what_is_outside": """
        yes = Constant <value = bool {1}> ()
        m, n = If (yes) <
            then_branch = t () => (float[A,B,C,D] a, float[A,B,C,D] d) {
                a = Identity (c)  d = Relu (c) },
            else_branch = e () => (float[A,B,C,D] e, float[A,B,C,D] d) {
                e = Neg (c)  d = Identity (c) }>""",
    "if_of_the_pixels_with_equal_branches": """
        top = ReduceMax <keepdims = 0> (x)  two = Constant <value_float = 2.0> ()
        is = Greater (top, two)
        m = If (is) <
            then_branch = t () => (float[A,B,C,D] t) { u = Relu (c)  t = Add (u, wide) },
            else_branch = e () => (float[A,B,C,D] e) { v = Relu (c)  e = Add (v, wide) }>""",
    "loop": """
        trips = Constant <value_int = 3> ()  yes = Constant <value = bool {1}> ()
        m = Loop (trips, yes, c) <
            body = turn (int64 i, bool on, float[A,B,C,D] s) => (bool off, float[A,B,C,D] t) {
                off = Identity (on)  k = Cast <to = 1> (i)  u = Mul (s, k)  t = Add (u, wide) }>""",
    "loop_that_ends_itself": """
        two = Constant <value_int = 2> ()  yes = Constant <value = bool {1}> ()
        m = Loop (, yes, c) <
            body = turn (int64 i, bool on, float[A,B,C,D] s) => (bool off, float[A,B,C,D] t) {
                off = Less (i, two)  t = Add (s, wide) }>""",
    "loop_that_stacks": """
        trips = Constant <value_int = 2> ()
        last, all = Loop (trips, , c) <
            body = turn (int64 i, bool on, float[A,B,C,D] s)
                => (bool off, float[A,B,C,D] t, float[A,B,C,D] u) {
                off = Identity (on)  t = Neg (s)  u = Add (s, wide) }>
        m = ReduceSum <keepdims = 0> (all, first)""",
    "loop_of_no_turn": """
        none = Constant <value_int = 0> ()
        m = Loop (none, , c) <
            body = turn (int64 i, bool on, float[A,B,C,D] s) => (bool off, float[A,B,C,D] t) {
                off = Identity (on)  t = Add (s, wide) }>""",
    "loop_in_a_loop": """
        two = Constant <value_int = 2> ()  yes = Constant <value = bool {1}> ()
        m = Loop (two, yes, c) <
            body = turn (int64 i, bool on, float[A,B,C,D] s) => (bool off, float[A,B,C,D] t) {
                off = Identity (on)
                t = Loop (two, yes, s) <
                    body = inner (int64 j, bool more, float[A,B,C,D] p)
                        => (bool less, float[A,B,C,D] q) {
                        less = Identity (more)  k = Add (i, j)  l = Cast <to = 1> (k)
                        r = Mul (p, l)  q = Add (r, wide) }> }>""",
    "scan": """
        zero = Constant <value_int = 0> ()
        begun = Gather <axis = 2> (c, zero)
        last, m = Scan <num_scan_inputs = 1, scan_input_axes = [2], scan_output_axes = [2],
            scan_input_directions = [1],
            body = turn (float[A,B,D] s, float[A,B,D] r) => (float[A,B,D] t, float[A,B,D] u) {
                t = Add (s, r)  u = Max (t, r) }> (begun, c)""",
    "list_of_pieces": """
        list = SplitToSequence <axis = 1, keepdims = 1> (c, one)
        at = Constant <value_int = -1> ()  zero = Constant <value_int = 0> ()
        last = SequenceAt (list, at)  less = SequenceErase (list, zero)
        more = SequenceInsert (less, last)  m = ConcatFromSequence <axis = 1> (more)""",
    "list_made_by_hand": """
        none = SequenceEmpty <dtype = 1> ()  r = Relu (c)  zero = Constant <value_int = 0> ()
        some = SequenceInsert (none, c)  two = SequenceInsert (some, r, zero)
        same = Identity (two)  n = SequenceLength (same)  k = Cast <to = 1> (n)
        both = ConcatFromSequence <axis = 0, new_axis = 1> (same)
        sum = ReduceSum <keepdims = 0> (both, first)  m = Mul (sum, k)""",
    "list_without_axis": """
        list = SplitToSequence <axis = 1, keepdims = 0> (c)
        pair = SequenceConstruct (c, c)
        m = ConcatFromSequence <axis = 1, new_axis = 1> (list)""",
    "optional": """
        maybe = Optional (c)  is = OptionalHasElement (maybe)
        m = If (is) <
            then_branch = t () => (float[A,B,C,D] t) { t = OptionalGetElement (maybe) },
            else_branch = e () => (float[A,B,C,D] e) { e = Neg (c) }>""",
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_decided_at_the_native_size_is_written_out(name: str) -> None:
    given = {"first": np.array([0]), "one": np.array(1)}
    compare(parsed(f"{CONV} {CHOICES[name]} {DENSE}", **given))


IMPORT = '["" : 17, "own" : 1]'
FUNCTIONS = {
    "one": (
        f"{CONV} y = own.Head (c, fw)",
        f"<domain: 'own', opset_import: {IMPORT}>"
        "Head (a, w) => (b) { f = Flatten (a)  b = MatMul (f, w) }",
    ),
    "called_twice_with_names_of_the_model": (
        f"{CONV} d = own.Act (c)  m = own.Act (d) {DENSE}",
        f"<domain: 'own', opset_import: {IMPORT}> Act (a) => (b) {{ c = Neg (a)  b = Relu (c) }}",
    ),
    "nested_with_attributes": (
        f"{CONV} m = own.Outer <times = 3.0> (c) {DENSE}",
        f"<domain: 'own', opset_import: {IMPORT}> Outer <times, shift: float = 2.0> (a) => (b) {{"
        "  t = own.Times <k: float = @times> (a)  s = Constant <value_float: float = @shift> ()"
        "  b = Add (t, s) }"
        f"<domain: 'own', opset_import: {IMPORT}> Times <k> (a) => (b) {{"
        "  v = Constant <value_float: float = @k> ()  b = Mul (a, v) }",
    ),
    "with_a_branch_inside": (
        f"{CONV} s = Size (c)  no = Constant <value_int = 7> ()  is = Equal (s, no)"
        f" m = own.Choose (is, c) {DENSE}",
        f"<domain: 'own', opset_import: {IMPORT}> Choose (k, a) => (b) {{"
        "  b = If (k) <then_branch = t () => (t) { t = Neg (a) },"
        "              else_branch = e () => (e) { n = Abs (a)  e = Neg (n) }> }",
    ),
    "with_an_input_left_out": (
        f"{CONV} m = own.Limit (c) {DENSE}",
        f"<domain: 'own', opset_import: {IMPORT}> Limit (a, low) => (b) {{ b = Clip (a, low) }}",
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_the_model_are_written_out(name: str) -> None:
    body, functions = FUNCTIONS[name]
    compare(parsed(body, functions=functions.replace("'", '"')))


def plain(**more: Any) -> ModelProto:
    return parsed(f"{CONV} m = Relu (c) {DENSE}", **more)


def unsorted(model: ModelProto) -> None:
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def image_after_weights(model: ModelProto) -> None:
    model.ir_version = 3
    for tensor in model.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.insert(0, info)
    model.graph.input[-1].type.tensor_type.shape.dim[0].dim_value = 1


def weights_with_defaults(model: ModelProto) -> None:
    info = helper.make_tensor_value_info("w", TensorProto.FLOAT, WEIGHTS["w"])
    model.graph.input.append(info)


def sparse_weight(model: ModelProto) -> None:
    (tensor,) = (t for t in model.graph.initializer if t.name == "fw")
    array = numpy_helper.to_array(tensor)
    model.graph.initializer.remove(tensor)
    places = np.flatnonzero(array)
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            numpy_helper.from_array(array.reshape(-1)[places], "fw"),
            numpy_helper.from_array(places, "fw_places"),
            array.shape,
        )
    )


def sparse_constant(model: ModelProto) -> None:
    sparse_weight(model)
    held = model.graph.sparse_initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["fw"], sparse_value=held))


def same_node_names(model: ModelProto) -> None:
    for node in model.graph.node:
        node.name = "node"


def other_names_of_the_domain(model: ModelProto) -> None:
    model.graph.node[1].domain = "ai.onnx"


def without_a_name(model: ModelProto) -> None:
    model.graph.name = ""


def untyped_output(model: ModelProto) -> None:
    model.graph.output[0].ClearField("type")


def wrong_value_info(model: ModelProto) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 9]))


def no_shape(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


def unused(model: ModelProto) -> None:
    """Give names to results that nobody reads, and leave weights that nobody reads."""
    made = helper.make_node("Split", ["c"], ["s0", "s1", "s2"], axis=1, num_outputs=3)
    model.opset_import[0].version = 18
    model.graph.node.append(made)
    model.graph.node.append(helper.make_node("Constant", [], ["text"], value_string="text"))
    model.graph.node.append(helper.make_node("Constant", [], ["texts"], value_strings=["a", "b"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(["a"], object), "words"))


def twice_the_output(model: ModelProto) -> None:
    model.graph.output.append(model.graph.output[0])


WAYS: tuple[Callable[[ModelProto], None], ...] = (
    *(unsorted, image_after_weights, weights_with_defaults, sparse_weight, sparse_constant),
    *(other_names_of_the_domain, without_a_name, untyped_output, wrong_value_info, no_shape),
    *(unused, twice_the_output),
)


@pytest.mark.parametrize("change", WAYS, ids=lambda change: change.__name__)
def test_models_that_onnx_runtime_takes_are_read(change: Callable[[ModelProto], None]) -> None:
    model = plain()
    change(model)
    fcn = compare(model)
    images = pixels(1, 2, *SIZE)
    assert fullconv.verify(fcn, model, images).passed


def no_ir_version(model: ModelProto) -> None:
    model.ClearField("ir_version")


def no_batch(size: int) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size

    return change


@pytest.mark.parametrize(
    "change",
    [no_ir_version, same_node_names, no_batch(-1), no_batch(0)],
    ids=["no_ir_version", "same_node_names", "batch_-1", "batch_0"],
)
def test_models_that_onnx_runtime_refuses_for_a_trifle_are_read(
    change: Callable[[ModelProto], None],
) -> None:
    model = plain()
    change(model)
    before = model.SerializeToString()
    fcn = compare(model, plain())
    assert fullconv.verify(fcn, model, pixels(1, 2, *SIZE)).passed
    assert model.SerializeToString() == before


@pytest.mark.parametrize("version", [7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 21, 22, 23])
def test_all_versions_of_the_operators_are_read(version: int) -> None:
    """Of those that ONNX Runtime promises to keep, from 7 on."""
    body = """
        n = BatchNormalization (c, b, b, b, one)
        r = PRelu (n, wide)  p = MaxPool <kernel_shape = [2, 2]> (r)
        to = Constant <value = int64[2] {0, -1}> ()  f = Reshape (p, to)
        y = Gemm <transB = 1> (f, head, b)"""
    weights = {"one": np.ones(3, np.float32), "head": whole(3, 18)}
    model = parsed(f"{CONV} {body}", version=version, **weights)
    model.ir_version = 4 if version < 10 else 8 if version < 21 else 10
    images = pixels(2, 2, *SIZE)
    classify = onnx_classifier(model)
    fcn = fullconv.convert(model)
    wanted = scores_of_crops(classify, images, WINDOW, fcn.grid.step)
    np.testing.assert_allclose(fcn(images), wanted, rtol=1e-5, atol=1e-4)
    assert not fcn.report.reasons


KINDS = {
    "float16": (np.float16, f"{CONV} m = Relu (c) {DENSE}"),
    "double": (np.float64, "m = Relu (x)  f = Flatten (m)  y = MatMul (f, all)"),
    "uint8": (np.uint8, f"a = Cast <to = 1> (x)  c = Conv (a, w)  m = Relu (c) {DENSE}"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_other_numbers_are_read(kind: str) -> None:
    dtype, body = KINDS[kind]
    weights = {name: whole(*WEIGHTS[name]) for name in ("w", "fw")} | {"all": whole(60, 3)}
    if kind != "uint8":
        weights = {name: array.astype(dtype) for name, array in weights.items()}
    model = parsed(body, f"{kind}[N,2,6,5] x", **weights)
    if kind != "uint8":
        model.graph.output[0].type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(
            np.dtype(dtype)
        )
    compare(model, images=pixels(2, 2, *SIZE).astype(dtype))


@pytest.mark.parametrize("kind", ["bfloat16", "string", "bool"])
def test_images_that_nobody_can_give_are_refused(kind: str) -> None:
    model = parsed(
        f"a = Cast <to = 1> (x)  c = Conv (a, w)  m = Relu (c) {DENSE}", f"{kind}[N,2,6,5] x"
    )
    with pytest.raises(ModelError, match=f"takes an image of {kind.upper()}"):
        fullconv.convert(model)


OF_OTHERS = {
    "fused_conv": 'm = com.microsoft.FusedConv <activation = "Relu"> (x, w, b)',
    "quick_gelu": "s = Sign (c)  q = com.microsoft.QuickGelu <alpha = 1.0> (s)  m = Round (q)",
    "gelu": "s = Sign (c)  q = com.microsoft.Gelu (s)  m = Round (q)",
    "of_constants": "k = com.microsoft.Gelu (wide)  l = Round (k)  m = Mul (c, l)",
}


@pytest.mark.parametrize("name", OF_OTHERS)
def test_operators_of_onnx_runtime_run_as_they_are(name: str) -> None:
    compare(parsed(f"{CONV} {OF_OTHERS[name]} {DENSE}"))


def test_operators_for_tables_run_as_they_are() -> None:
    """On vectors, whose sizes ONNX does not infer: they are measured."""
    scale = "<offset = [1.0, 2.0, 0.0], scale = [2.0, 1.0, 4.0]>"
    compare(
        parsed(
            f"{CONV} m = Relu (c) f = Flatten (m) z = MatMul (f, fw)"
            f" y = ai.onnx.ml.Scaler {scale} (z)"
        )
    )


SIZES = {
    "no_channel_at_all": """
        e = Slice (c, zero, zero, one)  d = Concat <axis = 1> (e, c, e)  m = Relu (d)""",
    "one_hot_table": """
        n = Constant <value_ints = [0, 2, 1]> ()  deep = Constant <value_int = 3> ()
        v = Constant <value_floats = [0.0, 1.0]> ()  h = OneHot (n, deep, v)
        t = Transpose <perm = [0, 2, 3, 1]> (c)  u = MatMul (t, h)
        m = Transpose <perm = [0, 3, 1, 2]> (u)""",
    "table_of_floats": """
        s = Shape (c)  hw = Slice (s, two, four)  z = ConstantOfShape <value = float[1] {2.0}> (hw)
        k = NonZero (z)  r = ReduceMax <keepdims = 0> (k)  g = Cast <to = 1> (r)  m = Mul (c, g)""",
    "backwards": """
        start = Constant <value_ints = [-1]> ()
        stop = Constant <value_ints = [-9223372036854775808]> ()
        axis = Constant <value_ints = [1]> ()  m = Slice (c, start, stop, axis, start)""",
}


@pytest.mark.parametrize("name", SIZES)
def test_odd_sizes_and_tables_are_computed(name: str) -> None:
    numbers = {"zero": [0], "one": [1], "two": [2], "four": [4]}
    given = {key: np.array(value) for key, value in numbers.items()}
    compare(parsed(f"{CONV} {SIZES[name]} {DENSE}", **given))


def test_quantized_bias_is_left_to_onnx_runtime() -> None:
    """ONNX Runtime computes in whole numbers where it finds them beside their scale."""
    body = f"{CONV} m = Relu (c)  f = Flatten (m)  q = DequantizeLinear (bq, bs)"
    bias = {"bq": np.array([3, -2, 1], np.int32), "bs": np.array(2, np.float32)}
    fcn = compare(parsed(f"{body} y = Gemm (f, fw, q)", **bias))
    assert "DequantizeLinear" in [node.op_type for node in fcn.model.graph.node]


REFUSED = {
    "if_of_the_pixels": (
        """top = ReduceMax <keepdims = 0> (x)  two = Constant <value_float = 2.0> ()
        is = Greater (top, two)
        m = If (is) <then_branch = t () => (float[A,B,C,D] t) { t = Relu (c) },
                     else_branch = e () => (float[A,B,C,D] e) { e = Neg (c) }>""",
        "If 'm' chooses between two branches by what the pixels are",
    ),
    "loop_of_the_pixels": (
        """top = ReduceMax <keepdims = 0> (x)  n = Cast <to = 7> (top)
        m = Loop (n, , c) <
            body = turn (int64 i, bool on, float[A,B,C,D] s) => (bool off, float[A,B,C,D] t) {
                off = Identity (on)  t = Add (s, wide) }>""",
        "Loop 'm' goes on as often as the pixels say",
    ),
    "as_many_as_are_not_zero": (
        "n = NonZero (c)  g = Cast <to = 1> (n)  s = ReduceSum <keepdims = 0> (g)  m = Mul (c, s)",
        "the size of 'n', computed by NonZero '', depends on the pixels",
    ),
    "sizes_of_the_pixels": (
        "n = Cast <to = 7> (top)  m = Expand (c, n)",
        "which ",
    ),
    "in_a_circle": ("m = Add (c, d)  d = Neg (m)", "reads what is made from its own result"),
    "of_nobody": ("m = own.Thing (c)", "the operator 'Thing' of domain 'own'"),
    "missing": ("m = Add (c, nothing)", "is not valid ONNX"),
    "list_as_result": ("m = Relu (c)  y2 = SequenceConstruct (c)", "gives a list of tensors"),
}


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "sizes_of_the_pixels"])
def test_what_has_no_meaning_is_one_line(name: str) -> None:
    body, said = REFUSED[name]
    model = parsed(f"{CONV} {body} {DENSE}")
    if name == "list_as_result":
        model.graph.output.append(onnx.ValueInfoProto(name="y2"))
        model.graph.output[-1].type.sequence_type.elem_type.tensor_type.elem_type = 1
    with pytest.raises(FullconvError) as raised:
        fullconv.convert(model)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def with_data(path: Path, model: ModelProto) -> None:
    """Write a model whose weights all lie in another file, also constants and sparse ones."""
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=True,
    )


def test_external_data_of_every_tensor_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"""{CONV} k = Constant <value = float[1,3,1,1] {{1, 2, 3}}> ()
        yes = Constant <value = bool {{1}}> ()
        m = If (yes) <
            then_branch = t () => (float[A,B,C,D] t) {{
                l = Constant <value = float[1,3,1,1] {{-1, 1, 2}}> ()
                u = Mul (c, l)  t = Add (u, k) }},
            else_branch = e () => (float[A,B,C,D] e) {{ e = Neg (c) }}> {DENSE}"""
    model = parsed(text)
    inside = onnx.ModelProto()
    inside.CopyFrom(model)
    with_data(tmp_path / "model.onnx", inside)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights.bin").write_bytes(b"wrong" * 100)
    monkeypatch.chdir(tmp_path / "elsewhere")
    images = pixels(1, 2, *SIZE)
    wanted = scores_of_crops(onnx_classifier(model), images, WINDOW, (1, 1))
    assert_same(fullconv.convert(tmp_path / "model.onnx")(images), wanted)
    monkeypatch.chdir(tmp_path)
    assert_same(fullconv.convert("model.onnx")(images), wanted)
    assert_same(fullconv.convert(onnx_ir.load(tmp_path / "model.onnx"))(images), wanted)
    unread = onnx.load(tmp_path / "model.onnx", load_external_data=False)
    with pytest.raises(
        ModelError, match="lies in another file, and a model in memory does not say"
    ):
        fullconv.convert(unread)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among its files")
def test_weights_in_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    with_data(tmp_path / "model.onnx", parsed(f"{CONV} m = Relu (c) {DENSE}"))
    (tmp_path / "weights.bin").unlink()
    os.mkfifo(tmp_path / "weights.bin")
    with pytest.raises(UnsafeModelError, match=r"'weights\.bin', which is no ordinary file; put"):
        fullconv.convert(tmp_path / "model.onnx")


def test_a_linked_model_finds_its_data_where_both_really_lie(tmp_path: Path) -> None:
    """Caches of hubs keep files under other names, and link to them from a folder per version."""
    model = plain()
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    with_data(
        tmp_path / "blobs" / "model.onnx", onnx.ModelProto.FromString(model.SerializeToString())
    )
    (tmp_path / "blobs" / "weights.bin").rename(tmp_path / "blobs" / "1234")
    (tmp_path / "snapshot" / "model.onnx").symlink_to("../blobs/model.onnx")
    (tmp_path / "snapshot" / "weights.bin").symlink_to("../blobs/1234")
    images = pixels(1, 2, *SIZE)
    wanted = scores_of_crops(onnx_classifier(model), images, WINDOW, (1, 1))
    assert_same(fullconv.convert(tmp_path / "snapshot" / "model.onnx")(images), wanted)


def test_a_model_without_an_output_is_one_line() -> None:
    model = parsed(f"{CONV} m = Relu (c) {DENSE}")
    del model.graph.output[:]
    with pytest.raises(ModelError, match=r"^convert: the model has no output; let it return scor"):
        fullconv.convert(model)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c", "d"]])
def test_names_of_classes_are_as_many_as_the_scores(names: list[str]) -> None:
    message = rf"{len(names)} names, and the model gives 3 scores for a window; name each of them"
    with pytest.raises(InputError, match=message):
        fullconv.convert(parsed(f"{CONV} m = Relu (c) {DENSE}"), classes=names)


@pytest.mark.parametrize("kind", ["FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8"])
@pytest.mark.parametrize("listed", [False, True], ids=["initializer", "listed among inputs"])
def test_large_weights_that_are_handed_over_apart_score_the_same(kind: str, listed: bool) -> None:
    rng, code = np.random.default_rng(0), TensorProto.DataType.Value(kind)
    held = rng.integers(-3, 4, (LARGE // 4, 4)).astype(helper.tensor_dtype_to_np_dtype(code))
    weight = numpy_helper.from_array(held, "weight")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", held.shape[0]])
    inputs = [image, helper.make_tensor_value_info("weight", code, held.shape)][: 1 + listed]
    nodes = [
        helper.make_node("Cast", ["weight"], ["plain"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["image", "plain"], ["scores"]),
    ]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "head", inputs, [scores], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    images = rng.integers(0, 2, (2, held.shape[0])).astype(np.float32)
    expected = images @ held.astype(np.float32)
    np.testing.assert_array_equal(session(model)(images), expected)
