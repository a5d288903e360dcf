"""Tables of the readers that turn each layer and operation of Keras into records.

Dispatch is by exact class: a subclass may do anything in its ``call``. ``x + y`` and
``keras.ops.relu(x)`` in a functional model are calls of operations, which are found by the names of
their classes. A call without a handler, or that its handler declines, becomes `Opaque`, and runs
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from fullconv.frameworks.keras import read_stored
from fullconv.frameworks.keras.calls import Call, Tensor, slots
from fullconv.frameworks.keras.private import OPERATIONS
from fullconv.frameworks.keras.tracing import draws
from fullconv.graph.table import Table
from fullconv.operations import Pointwise

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader

POINTWISE = frozenset(
    """
    Abs Absolute Add Arccos Arcsin Arctan Cast Ceil Celu Clip Copy Cos Cosh Divide Elu Equal Exp
    Expm1 Floor Gelu Greater GreaterEqual HardShrink HardSigmoid HardSilu HardTanh LeakyRelu Less
    LessEqual Log Log1p LogSigmoid Maximum Minimum Multiply Negative NotEqual Power Reciprocal Relu
    Relu6 Round Rsqrt Selu Sigmoid Sign Silu Sin Sinh SoftShrink Softplus Softsign SparsePlus
    SparseSigmoid Sqrt Square Squareplus Subtract Tan Tanh TanhShrink Threshold TrueDivide Where
    """.split()
)

Handler = Callable[["Reader", keras.Layer, str, Tensor, Tensor], bool]
"""Reads a call of a layer on a tensor, or several; returns whether it could."""
Arguments = tuple[Any, ...]
OperationHandler = Callable[["Reader", keras.Operation, str, Arguments, Tensor], bool]
"""Reads a call of an operation with some arguments; returns whether it could."""

handles = Table[type, Handler]("a reader")
"""Filled by `read_maps`, `read_numbers` and `read_shapes`."""
handles_operation = Table[str, OperationHandler]("a reader", POINTWISE)
"""Filled by `read_operations`."""


def of_axes(*names: str) -> list[type]:
    """Return the layers of these names for one, two and three axes, as far as Keras has them."""
    kinds = [getattr(keras.layers, name.format(n), None) for name in names for n in (1, 2, 3)]
    return [kind for kind in kinds if kind is not None]


def read(
    reader: Reader, target: keras.Operation, path: str, args: Any, kwargs: Any, result: Any
) -> None:
    """Read one call; one that cannot be read becomes `Opaque`."""
    read_it = _layer if isinstance(target, keras.Layer) else _operation
    if not read_it(reader, target, path, args, kwargs, result):
        reader.add_opaque(target, path, args, kwargs, result)


def _layer(
    reader: Reader, layer: keras.Layer, path: str, args: Any, kwargs: Any, result: Any
) -> bool:
    if read_stored.read(reader, layer, path, args, kwargs, result):
        return True
    handler = handles.find(type(layer))
    tensors = keras.tree.flatten(args)
    known = all(map(keras.utils.is_keras_tensor, tensors))
    plain = (
        known
        and not has_settings(kwargs)
        and len(args) == 1
        and keras.utils.is_keras_tensor(result)
    )
    if handler is None or not plain or _quantized(layer) or _noisy(layer, args, kwargs):
        return False
    given = args[0] if isinstance(args[0], (list, tuple)) else tensors[0]
    return handler(reader, layer, path, given, result)


def has_settings(kwargs: Mapping[str, Any]) -> bool:
    """Whether a call passes settings, or a mask, that change what the layer computes.

    ``training`` is not counted: at inference, a model passes ``training=False`` to every layer,
    whatever the call said.
    """
    return any(value is not None for name, value in kwargs.items() if name != "training")


def _noisy(layer: keras.Layer, args: Any, kwargs: Any) -> bool:
    """Whether a call sets ``training``, and the layer then draws random numbers."""
    return bool(kwargs.get("training")) and draws(layer, args, kwargs)


def _quantized(layer: keras.Layer) -> bool:
    """Whether a layer computes with other weights than its variables."""
    return bool(getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False))


def _operation(
    reader: Reader, operation: keras.Operation, path: str, args: Any, kwargs: Any, result: Any
) -> bool:
    kind = type(operation)
    if not kind.__module__.startswith(OPERATIONS):
        return False
    if kind.__name__ in POINTWISE and keras.utils.is_keras_tensor(result):
        _pointwise(reader, operation, path, args, kwargs, result)
        return True
    given = {name: value for name, value in kwargs.items() if value is not None}
    if set(given) == {"constant_values"}:
        args, given = (*args, given["constant_values"]), {}
    handler = handles_operation.find(kind.__name__)
    return handler is not None and not given and handler(reader, operation, path, args, result)


def _pointwise(
    reader: Reader, operation: keras.Operation, path: str, args: Any, kwargs: Any, result: Tensor
) -> None:
    """Read a function of corresponding numbers; arrays among its operands are parameters."""
    flat = keras.tree.flatten((args, kwargs))
    arrays = [x for x in flat if _varies(x)]
    if not arrays:
        tensors, args, kwargs = slots(args, kwargs)
        inputs, output = reader.alike(tensors, result, path)
        call = Call(operation, args, kwargs)
        reader.add(Pointwise(type(operation).__name__), inputs, (output,), path, call)
        return
    stand_ins = {id(x): keras.KerasTensor(tuple(x.shape), dtype="float32") for x in arrays}
    names: dict[int, str] = {}
    for x in arrays:
        recipe = reader.weight(x, f"{path}/operand")
        names[id(stand_ins[id(x)])] = recipe.source
    args, kwargs = keras.tree.map_structure(lambda x: stand_ins.get(id(x), x), (args, kwargs))
    tensors, args, kwargs = slots(args, kwargs)
    inputs = [names[id(x)] if id(x) in names else reader.native(x) for x in tensors]
    output = reader.bind(result, path)
    call = Call(operation, args, kwargs)
    reader.add(Pointwise(type(operation).__name__), inputs, (output,), path, call)


def _varies(value: Any) -> bool:
    """Whether an argument is an array, or a variable, of more than one number."""
    if keras.utils.is_keras_tensor(value) or not hasattr(value, "shape"):
        return False
    return isinstance(value, keras.Variable) or int(np.prod(tuple(value.shape))) > 1
