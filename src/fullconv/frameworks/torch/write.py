"""Write a lifted network as a ``torch.fx.GraphModule`` under the original names."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from functools import singledispatchmethod
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from fullconv.frameworks.torch import functional
from fullconv.frameworks.torch.read import Call, Slot, Source
from fullconv.geometry import Grid, Pair
from fullconv.graph import Graph, Node, Recipe, batch_times
from fullconv.operations import (
    AdaptivePool,
    AlongAxis,
    Assemble,
    Cells,
    ChannelNormalization,
    Combine,
    Concat,
    Convolution,
    DivideCells,
    FoldWindows,
    Gathered,
    Identity,
    Keep,
    LayOut,
    Linear,
    Operation,
    Own,
    Pad,
    PerChannel,
    Permute,
    Pool,
    Power,
    Reduce,
    Regroup,
    Reshape,
    Running,
    Slice,
    SlidingNormalization,
    SlidingTotal,
    SplitChannels,
    Stretch,
    TakeChannels,
    TransposedConvolution,
    Upsample,
)

FxNode = torch.fx.Node


def write(graph: Graph, source: Source, grid: Grid) -> torch.fx.GraphModule:
    """Return a module from images ``(N, C, H, W)`` to scores ``(N, K, rows, columns)``.

    Parameters share the storage of the original's, under their original names where the layer
    lives on; they are `torch.nn.Parameter` objects of their own, so that moving the converted
    model to another device or type leaves the original where it is.
    """
    return Writer(graph, source, grid).write()


class Writer:
    """The state of one writing."""

    def __init__(self, graph: Graph, source: Source, grid: Grid) -> None:
        self.graph, self.source = graph, source
        self.geometry = (grid.window, grid.step)
        self.root = nn.Module()
        self.fx = torch.fx.Graph()
        self.values: dict[str, FxNode] = {}
        self.tensors: dict[Recipe, torch.Tensor] = {}
        self.modules: dict[str, nn.Module] = {}
        self.written = Counter(id(node.source) for node in graph.nodes)
        self.known = {id(w.tensor): name for name, w in source.weights.items()}

    def write(self) -> torch.fx.GraphModule:
        """Write every node, then the outputs in the structure the model returns them in."""
        self.values[self.graph.image] = self.fx.placeholder("images")
        for node in self.graph.nodes:
            self.values[node.outputs[0]] = self._write(node)
        flat = [self.values[name] for name in self.graph.outputs]
        self.fx.output(pytree.tree_unflatten(flat, self.source.structure))
        module = torch.fx.GraphModule(self.root, self.fx, "FullyConvolutional")
        module.graph.eliminate_dead_code()
        module.recompile()
        module.delete_all_unused_submodules()
        return module.eval()

    def _write(self, node: Node) -> FxNode:
        call = node.source
        if isinstance(call, Call) and call.owner and call.operation == node.operation:
            module = self.source.modules.get(call.owner)
            # A pool's ceil_mode would add outputs that only a larger map has.
            anywhere = _any_rank(node.operation) and not getattr(module, "ceil_mode", False)
            if module is not None and (node.per_window or anywhere):
                return self._call_module(node, call.owner, self._twin(module))
        return self.operation(node.operation, node)

    @singledispatchmethod
    def operation(self, operation: Operation, node: Node) -> FxNode:
        """Write one operation; what has no method of its own is cloned from its source."""
        return self._clone(node, {})

    # Values and parameters.

    def _value(self, name: str | None) -> FxNode | None:
        if name is None:
            return None
        if times := batch_times(name):
            image = self.values[self.graph.image]
            count = self._function(functional.window_count, image, *self.geometry)
            return count if times == 1 else self._function(operator.mul, count, times)
        if name not in self.values:
            self.values[name] = self._attribute(self.graph.constants[name])
        return self.values[name]

    def _inputs(self, node: Node) -> list[FxNode | None]:
        return [self._value(name) for name in node.inputs]

    def _tensor(self, recipe: Recipe) -> torch.Tensor:
        """Return a rearranged parameter; the same one for the same recipe, so ties stay tied."""
        if recipe not in self.tensors:
            weight = self.source.weights[recipe.source]
            tensor = recipe.apply(weight.tensor.detach())
            if weight.trains:
                tensor = nn.Parameter(tensor, requires_grad=weight.tensor.requires_grad)
            self.tensors[recipe] = tensor
        return self.tensors[recipe]

    def _constant(self, name: str | None) -> torch.Tensor | None:
        return None if name is None else self._tensor(self.graph.constants[name])

    def _attribute(self, recipe: Recipe) -> FxNode:
        tensor = self._tensor(recipe)
        *parents, leaf = self.source.weights[recipe.source].path.split(".")
        owner = self.root
        for part in parents:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]  # type: ignore[assignment]
        number, name = 1, leaf
        while getattr(owner, name, tensor) is not tensor:
            number += 1
            name = f"{leaf}_{number}"
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(name, tensor)
        else:
            owner.register_buffer(name, tensor)
        return self.fx.get_attr(".".join([*parents, name]))

    # Modules and functions.

    def _call_module(self, node: Node, path: str, module: nn.Module) -> FxNode:
        path = self._place(path, module)
        return self.fx.call_module(path, (self._value(node.inputs[0]),))

    def _place(self, path: str, module: nn.Module) -> str:
        """Put a module where the original stood, or beside it where that place is taken."""
        free, number = path, 1
        while True:
            held = self.modules.get(free)
            if held is not None and _same(held, module):
                return free
            if held is None and not self._occupied(free):
                break
            if any(path.startswith(f"{other}.") for other in self.modules):
                path = path.replace(".", "_")  # inside a leaf there is no place for a module
            number += 1
            free = f"{path}_{number}"
        self.modules[free] = module
        owner = self.root
        *parents, leaf = free.split(".")
        for part in parents:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]  # type: ignore[assignment]
        owner.add_module(leaf, module)
        return free

    def _occupied(self, path: str) -> bool:
        """Whether something stands at a path, or it lies inside a leaf."""
        if any(path.startswith(f"{other}.") for other in self.modules):
            return True
        owner: Any = self.root
        for part in path.split("."):
            if not hasattr(owner, part):
                return False
            owner = getattr(owner, part)
        return True

    def _twin(self, module: nn.Module) -> nn.Module:
        """Return a shallow copy of a leaf module whose parameters share storage with it."""
        twin = module.__class__.__new__(module.__class__)
        twin.__dict__ = dict(module.__dict__)
        twin._parameters = {n: self._shared(p) for n, p in module._parameters.items()}
        twin._buffers = {n: self._shared(b) for n, b in module._buffers.items()}
        return twin

    def _shared(self, tensor: torch.Tensor | None) -> Any:
        if tensor is None or id(tensor) not in self.known:
            return tensor
        name = self.known[id(tensor)]
        return self._tensor(Recipe(name, tuple(tensor.shape)))

    def _function(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> FxNode:
        node = self.fx.call_function(target, args, kwargs)
        # A pickled module is traced again when it is loaded; ours are leaves of that trace.
        if getattr(target, "__module__", "").startswith("fullconv."):
            node.meta["is_wrapped"] = True
        return node

    def _clone(self, node: Node, changed: dict[str, Any]) -> FxNode:
        """Repeat the original call on other tensors, with some arguments changed."""
        call = node.source
        if not isinstance(call, Call):
            raise NotImplementedError(f"no way to write {node.operation!r}")
        inputs = self._inputs(node)

        def substitute(argument: Any) -> Any:
            return inputs[argument.index] if isinstance(argument, Slot) else argument

        args, kwargs = torch.fx.node.map_aggregate((call.args, call.kwargs), substitute)
        schema = getattr(call.target, "_schema", None)
        for name, value in changed.items():
            place = [a.name for a in schema.arguments].index(name) if schema else -1
            args = (*args[:place], value, *args[place + 1 :])
        return self.fx.call_function(call.target, args, kwargs)

    # One method per operation that is not a clone of its source.

    @operation.register
    def _(self, operation: Identity, node: Node) -> FxNode:
        value = self._value(node.inputs[0])
        assert value is not None
        return value

    @operation.register
    def _(self, operation: Convolution, node: Node) -> FxNode:
        weight_name, bias_name = node.inputs[1:3]
        (top, bottom), (left, right) = operation.padding
        symmetric = top == bottom and left == right
        x = self._value(node.inputs[0])
        if not symmetric:
            x = self._function(F.pad, x, (left, right, top, bottom))
        padding = (top, left) if symmetric else (0, 0)
        moves = operation.stride, padding, operation.dilation, operation.groups
        if any(n is not None and n not in self.graph.constants for n in (weight_name, bias_name)):
            weight, bias = self._value(weight_name), self._value(bias_name)
            return self._function(F.conv2d, x, weight, bias, *moves)
        whole, cuts = self.graph.constants[weight_name or ""].uncut()
        weight_, bias_ = self._tensor(whole), self._constant(bias_name)
        module = nn.Conv2d(
            weight_.shape[1] * operation.groups,
            weight_.shape[0],
            (whole.shape[2], whole.shape[3]),
            *moves,
            bias=bias_ is not None,
            device="meta",
        )
        held = self._holder(weight_, bias_)
        if held is None:
            self._parametrize(module, weight_, bias_)
            held = self._place(self._path(node), module)
        if not cuts and self._is_conv(held, operation, padding, bias_ is not None):
            return self.fx.call_module(held, (x,))
        # Another part of the map, or a part of the filters: the same parameters, held once.
        weight = self.fx.get_attr(f"{held}.weight")
        for axis, start, stop in cuts:
            weight = self._function(torch.narrow, weight, axis, start, stop - start)
        bias = None if bias_ is None else self.fx.get_attr(f"{held}.bias")
        return self._function(F.conv2d, x, weight, bias, *moves)

    def _holder(self, weight: torch.Tensor, bias: torch.Tensor | None) -> str | None:
        """Return the convolution written before that holds just these parameters."""
        for path, module in self.modules.items():
            if (
                isinstance(module, nn.Conv2d)
                and module.weight is weight
                and (bias is None or module.bias is bias)
            ):
                return path
        return None

    def _is_conv(self, path: str, operation: Convolution, padding: Pair, bias: bool) -> bool:
        """Whether calling a module is this convolution."""
        held = self.modules[path]
        assert isinstance(held, nn.Conv2d)
        if (held.bias is not None) != bias:
            return False
        settings = operation.kernel, operation.stride, padding, operation.dilation
        same = (held.kernel_size, held.stride, held.padding, held.dilation) == settings
        return same and held.groups == operation.groups

    @operation.register
    def _(self, operation: TransposedConvolution, node: Node) -> FxNode:
        weight, bias = (self._constant(name) for name in node.inputs[1:3])
        assert weight is not None
        (top, _), (left, _) = operation.padding
        module = nn.ConvTranspose2d(
            weight.shape[0],
            weight.shape[1] * operation.groups,
            operation.kernel,
            operation.stride,
            (top, left),
            operation.output_padding,
            operation.groups,
            bias is not None,
            operation.dilation,
            device="meta",
        )
        return self._parametrized(node, self._value(node.inputs[0]), module, weight, bias)

    @operation.register
    def _(self, operation: Upsample, node: Node) -> FxNode:
        call, powers = node.source, all(n.bit_count() == 1 for n in operation.factor)
        if isinstance(call, Call) and call.owner and powers:
            module = nn.Upsample(scale_factor=tuple(map(float, operation.factor)))
            return self._call_module(node, call.owner, module)
        # The module would take cells by numbers that are rounded where they are no powers of two.
        return self._function(functional.upsample, self._value(node.inputs[0]), operation.factor)

    @operation.register
    def _(self, operation: Linear, node: Node) -> FxNode:
        if any(n is not None and n not in self.graph.constants for n in node.inputs[1:3]):
            x, weight, bias = self._inputs(node)
            return self._function(F.linear, x, weight, bias)
        weight_, bias_ = (self._constant(name) for name in node.inputs[1:3])
        assert weight_ is not None
        outputs, inputs = weight_.shape
        module = nn.Linear(inputs, outputs, bias_ is not None, device="meta")
        return self._parametrized(node, self._value(node.inputs[0]), module, weight_, bias_)

    def _parametrized(
        self,
        node: Node,
        x: FxNode | None,
        module: nn.Module,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> FxNode:
        self._parametrize(module, weight, bias)
        return self.fx.call_module(self._place(self._path(node), module), (x,))

    def _parametrize(
        self, module: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        for name, tensor in (("weight", weight), ("bias", bias)):
            if tensor is not None:
                module._parameters.pop(name, None)
                if isinstance(tensor, nn.Parameter):
                    module.register_parameter(name, tensor)
                else:
                    module.register_buffer(name, tensor)

    def _path(self, node: Node) -> str:
        call = node.source
        if isinstance(call, Call) and call.owner:
            return call.owner
        weight = self.graph.constants[node.inputs[1] or ""].source
        parent, _, leaf = self.source.weights[weight].path.rpartition(".")
        if leaf != "weight":
            # A parameter of a module that does more: in_proj_weight of an attention.
            parent = f"{parent}.{leaf.removesuffix('weight').rstrip('_') or 'layer'}".lstrip(".")
        return parent or node.name.replace(".", "_")

    @operation.register
    def _(self, operation: Pool, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        shape = (operation.kernel, operation.stride)
        (top, _), (left, _) = operation.padding
        ceil = any(operation.overhang)
        if operation.kind == "sum":
            return self._function(functional.sum_pool, x, *shape, operation.dilation)
        if operation.kind == "average" and operation.dilation != (1, 1):
            return self._function(
                functional.average_pool, x, *shape, operation.dilation, operation.divisor
            )
        module: nn.Module
        if operation.kind == "max":
            module = nn.MaxPool2d(*shape, (top, left), operation.dilation, ceil_mode=ceil)
        else:
            module = nn.AvgPool2d(
                *shape, (top, left), ceil, operation.count_include_pad, operation.divisor
            )
        call = node.source
        path = call.owner if isinstance(call, Call) and call.owner else node.name.replace(".", "_")
        return self.fx.call_module(self._place(path, module), (x,))

    @operation.register
    def _(self, operation: AdaptivePool, node: Node) -> FxNode:
        average = operation.kind == "average"
        target = F.adaptive_avg_pool2d if average else F.adaptive_max_pool2d
        return self._function(target, self._value(node.inputs[0]), operation.size)

    @operation.register
    def _(self, operation: PerChannel, node: Node) -> FxNode:
        call = node.source
        constant = all(n is None or n in self.graph.constants for n in node.inputs[1:])
        if operation.name != "batch_norm" or node.per_window or not constant:
            return self._clone(node, {})
        weight, bias, mean, variance = (self._constant(name) for name in node.inputs[1:5])
        assert mean is not None
        epsilon, momentum = call.args[7], call.args[6]
        module = nn.BatchNorm2d(
            len(mean), epsilon, momentum, affine=weight is not None, device="meta"
        )
        module.running_mean, module.running_var = mean, variance
        module.num_batches_tracked = self._batches_tracked(node.inputs[3] or "", mean)
        if weight is not None and bias is not None:
            module.weight, module.bias = _parameter(weight), _parameter(bias)
        path = self._place(call.owner or node.name.replace(".", "_"), module)
        x = self._value(node.inputs[0])
        if self.written[id(call)] == 1:
            return self.fx.call_module(path, (x,))
        # Called for every part, a module in training mode would take each part's own statistics.
        names = ("running_mean", "running_var", "weight", "bias")
        tensors = [
            None if getattr(module, name) is None else self.fx.get_attr(f"{path}.{name}")
            for name in names
        ]
        return self._function(F.batch_norm, x, *tensors, False, momentum, epsilon)

    def _batches_tracked(self, mean_name: str, mean: torch.Tensor) -> torch.Tensor:
        """Return the counter beside a running mean, which no operation reads in eval mode."""
        path = self.source.weights[self.graph.constants[mean_name].source].path
        wanted = f"{path.rpartition('.')[0]}.num_batches_tracked".lstrip(".")
        for weight in self.source.weights.values():
            if weight.path == wanted:
                return weight.tensor
        return torch.zeros((), dtype=torch.long, device=mean.device)

    @operation.register
    def _(self, operation: AlongAxis, node: Node) -> FxNode:
        call = node.source
        if node.per_window or not hasattr(call.target, "_schema"):
            return self._clone(node, {})
        kind = {"softmax": nn.Softmax, "log_softmax": nn.LogSoftmax}.get(operation.name)
        if call.owner and kind is not None:
            return self._call_module(node, call.owner, kind(dim=operation.axis))
        return self._clone(node, {"dim": operation.axis})

    @operation.register
    def _(self, operation: ChannelNormalization, node: Node) -> FxNode:
        return self._function(functional.channel_norm, *self._inputs(node), operation.epsilon)

    @operation.register
    def _(self, operation: Reduce, node: Node) -> FxNode:
        targets: dict[str, Callable[..., Any]] = {
            "mean": torch.mean,
            "sum": torch.sum,
            "max": torch.amax,
        }
        x = self._value(node.inputs[0])
        if operation.kind == "l2":
            norm = torch.linalg.vector_norm
            return self._function(norm, x, 2, operation.axes, operation.keepdims)
        target = targets[operation.kind]
        return self._function(target, x, operation.axes, operation.keepdims)

    @operation.register
    def _(self, operation: Concat, node: Node) -> FxNode:
        return self._function(torch.cat, self._inputs(node), operation.axis)

    @operation.register
    def _(self, operation: Slice, node: Node) -> FxNode:
        index = [slice(None)] * operation.axis
        index.append(slice(operation.start, operation.stop, operation.step))
        return self._function(_getitem, self._value(node.inputs[0]), tuple(index))

    @operation.register
    def _(self, operation: Pad, node: Node) -> FxNode:
        numbers = tuple(n for pair in reversed(operation.pads) for n in pair)
        # PyTorch takes two axes at least where it mirrors or repeats.
        while numbers[-2:] == (0, 0) and len(numbers) > 4:
            numbers = numbers[:-2]
        value = operation.value if operation.mode == "constant" else None
        return self._function(F.pad, self._value(node.inputs[0]), numbers, operation.mode, value)

    @operation.register
    def _(self, operation: Reshape, node: Node) -> FxNode:
        return self._function(torch.reshape, self._value(node.inputs[0]), operation.shape)

    @operation.register
    def _(self, operation: Permute, node: Node) -> FxNode:
        return self._function(torch.permute, self._value(node.inputs[0]), operation.order)

    # What lifting adds.

    @operation.register
    def _(self, operation: Combine, node: Node) -> FxNode:
        target = torch.add if operation.kind == "sum" else torch.maximum
        return self._function(target, *self._inputs(node))

    @operation.register
    def _(self, operation: TakeChannels, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.take_channels, x, operation.indices)

    @operation.register
    def _(self, operation: Cells, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(
            functional.cells, x, operation.before, operation.after, operation.stride
        )

    @operation.register
    def _(self, operation: Keep, node: Node) -> FxNode:
        x, image = self._inputs(node)
        kept = operation.rows, operation.columns
        return self._function(functional.keep, x, image, *self.geometry, *kept)

    @operation.register
    def _(self, operation: Assemble, node: Node) -> FxNode:
        *parts, image = self._inputs(node)
        segments = [tuple(map(_segment, axis)) for axis in (operation.rows, operation.columns)]
        return self._function(
            functional.assemble, parts, image, *self.geometry, operation.channels, *segments
        )

    @operation.register
    def _(self, operation: LayOut, node: Node) -> FxNode:
        x, image = self._inputs(node)
        axes = operation.channels, operation.axes, operation.private
        return self._function(functional.lay_out, x, image, *self.geometry, *axes)

    @operation.register
    def _(self, operation: DivideCells, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.divide_cells, x, operation.rows, operation.columns)

    @operation.register
    def _(self, operation: Regroup, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(
            functional.regroup, x, operation.split, operation.order, operation.shape
        )

    @operation.register
    def _(self, operation: FoldWindows, node: Node) -> FxNode:
        x, image = self._inputs(node)
        return self._function(functional.fold_windows, x, image, *self.geometry, operation.shape)

    @operation.register
    def _(self, operation: SplitChannels, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.split_channels, x, operation.shape)

    @operation.register
    def _(self, operation: Power, node: Node) -> FxNode:
        target = torch.square if operation.kind == "square" else torch.sqrt
        return self._function(target, self._value(node.inputs[0]))

    @operation.register
    def _(self, operation: SlidingTotal, node: Node) -> FxNode:
        x, kind = self._value(node.inputs[0]), operation.kind
        return self._function(
            functional.sliding_total, x, kind, operation.kernel, operation.dilation
        )

    @operation.register
    def _(self, operation: SlidingNormalization, node: Node) -> FxNode:
        x, weight, bias = (*self._inputs(node), None, None)[:3]
        moves = operation.groups, operation.kernel, operation.dilation, operation.epsilon
        return self._function(functional.sliding_norm, x, weight, bias, *moves)

    @operation.register
    def _(self, operation: Stretch, node: Node) -> FxNode:
        x = self._value(node.inputs[0])
        return self._function(functional.stretch, x, operation.padding, operation.dilation)


def _getitem(x: torch.Tensor, index: tuple[slice, ...]) -> torch.Tensor:
    return x[index]


def _segment(segment: Own | Gathered | Running) -> tuple[Any, ...]:
    """Return what one part gives to a block along one axis, as `functional.assemble` takes it."""
    if isinstance(segment, Own):
        return ("own", segment.cells)
    if isinstance(segment, Gathered):
        return ("gathered", segment.cells, segment.stride)
    return ("running", segment.skip)


def _any_rank(operation: Operation) -> bool:
    """Whether a module of this operation does the same on a stored map as at its native rank."""
    return not isinstance(operation, PerChannel | AlongAxis | Linear | Reshape | Upsample) or (
        isinstance(operation, PerChannel) and operation.name == "prelu"
    )


def _parameter(tensor: torch.Tensor) -> nn.Parameter:
    return tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, False)


def _same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two modules are one: the same settings on the same tensors."""
    tensors = [
        {name: id(t) for name, t in [*m.named_parameters(), *m.named_buffers()] if t.dim()}
        for m in (a, b)
    ]
    return repr(a) == repr(b) and tensors[0] == tensors[1]
