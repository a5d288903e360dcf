"""Traces of third-party layers: whether they treat images apart, and draw random numbers.

A layer's ``call`` is run on tensors without numbers, for one image and for two, which yields the
operations that it consists of. The layer treats each image by itself if each operation does, and if
nothing but the number of images differs between the two traces. A layer that cannot be traced (it
calls another library, or branches on numbers) counts as unknown, and runs on each window alone.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from fullconv.frameworks.keras.private import Functional, call_of, operations_of, traced
from fullconv.graph.graph import Graph
from fullconv.lift.windows import AsTheyStand

if TYPE_CHECKING:
    from fullconv.frameworks.keras.reader import Reader


def is_apart(reader: Reader, layer: Any, args: Any, kwargs: Any) -> bool:
    """Whether a layer treats each entry of its tensors' first axis by itself."""
    try:
        one, two = (_trace(layer, args, kwargs, reader.batch, images) for images in (1, 2))
        if not _alike(one, two):
            return False
        graph, names = _read(reader, one)
        return AsTheyStand(graph).treats_apart(names)
    except Exception:  # somebody else's code, which may do anything
        return False


def inside(reader: Reader, layer: Any, args: Any, kwargs: Any) -> Graph | None:
    """Return the operations that a layer consists of, for one image; None if it hides them."""
    try:
        return _read(reader, _trace(layer, args, kwargs, reader.batch, 1))[0]
    except Exception:  # somebody else's code, which may do anything
        return None


def _read(reader: Reader, whole: Any) -> tuple[Graph, list[str]]:
    """Return a trace as a graph, and the names of its inputs."""
    inner = type(reader)(1, reader.channels_last)
    names = [inner.bind(x, f"input_{place}") for place, x in enumerate(whole.inputs)]
    results = inner.walk(whole, whole.inputs, "")
    outputs = [inner.native(x) for x in keras.tree.flatten(results)]
    return inner.graph(outputs), names


def _trace(layer: Any, args: Any, kwargs: Any, batch: int, images: int) -> Any:
    """Return the operations of a layer's call, for a number of images."""
    inputs: list[Any] = []

    def given(value: Any) -> Any:
        if not isinstance(value, keras.KerasTensor):
            return value
        first, *others = value.shape
        shape = (first // batch * images, *others)
        inputs.append(keras.Input(batch_shape=shape, dtype=value.dtype))
        return inputs[-1]

    args, kwargs = keras.tree.map_structure(given, (tuple(args), dict(kwargs)))
    return Functional(inputs, layer.call(*args, **_in_use(layer, kwargs)))


def _in_use(layer: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call as a model passes them at inference."""
    has_training = "training" in inspect.signature(layer.call).parameters
    return {**kwargs, "training": False} if has_training else kwargs


def _alike(one: Any, two: Any) -> bool:
    """Whether two traces agree in everything but the length of one axis of each tensor.

    A call that trains does not count: it takes its statistics from the whole batch.
    """
    pairs = list(zip(operations_of(one), operations_of(two), strict=True))
    for first, second in pairs:
        if type(first) is not type(second):
            return False
        if isinstance(first, keras.layers.InputLayer):
            continue
        if call_of(first)[1].get("training"):
            return False
        for a, b in zip(_values(first), _values(second), strict=True):
            if isinstance(a, keras.KerasTensor) != isinstance(b, keras.KerasTensor):
                return False
            if isinstance(a, keras.KerasTensor):
                times = [n / m for m, n in zip(a.shape, b.shape, strict=True) if m != n]
                if times not in ([2.0], []):
                    return False
            elif not _equal(a, b):
                return False
    return True


def _values(operation: Any) -> Sequence[Any]:
    """Return the arguments and the results of an operation, flat."""
    return list(keras.tree.flatten(call_of(operation)))


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, keras.Variable) or isinstance(b, keras.Variable):
        return False
    if hasattr(a, "shape") or hasattr(b, "shape"):
        return bool(np.array_equal(*(keras.ops.convert_to_numpy(x) for x in (a, b))))
    return bool(a == b)


@contextlib.contextmanager
def _seeds(heard: list[Any]) -> Iterator[None]:
    """Record every seed generator of Keras that is drawn from."""
    own = keras.random.SeedGenerator.next

    def next_(self: Any, *args: Any, **kwargs: Any) -> Any:
        heard.append(self)
        return own(self, *args, **kwargs)

    keras.random.SeedGenerator.next = next_
    try:
        yield
    finally:
        keras.random.SeedGenerator.next = own


@contextlib.contextmanager
def _operators(heard: list[Any]) -> Iterator[None]:
    """Record every operator of PyTorch that draws random numbers, where it is Keras' backend."""
    if keras.backend.backend() != "torch":
        yield
        return
    import torch
    from torch.utils import _python_dispatch

    mode: Any = _python_dispatch.TorchDispatchMode

    class Listening(mode):
        def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            if torch.Tag.nondeterministic_seeded in func.tags:
                heard.append(func)
            return func(*args, **(kwargs or {}))

    with Listening():
        yield


def draws(layer: Any, args: Any, kwargs: Any) -> bool:
    """Whether a layer draws random numbers at inference.

    ``training=True`` in the call itself counts: ``model(x)`` follows it. It does not count for
    layers that augment images, which train by default: every model passes them another value.
    """
    heard: list[Any] = []
    default = inspect.signature(layer.call).parameters.get("training")
    augments = default is not None and default.default is True
    arguments = kwargs if kwargs.get("training") and not augments else _in_use(layer, kwargs)
    with _seeds(heard), _operators(heard), contextlib.suppress(Exception):
        traced(layer.call, args, arguments)
    return bool(heard)
