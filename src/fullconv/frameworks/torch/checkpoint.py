"""Which tensors of a checkpoint are a model's: out of what wraps them, and under which names.

Repositories ship more than a state dict: ``{"state_dict": ..., "epoch": 3}``, the averaged weights
beside the last ones, names that begin with ``module.`` (DataParallel), ``model.`` (Lightning) or
hold ``_orig_mod.`` (torch.compile). The model's own names and sizes decide: what fits it whole is
taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from fullconv.frameworks.torch.filled import UNKNOWN
from fullconv.wording import few

State = Mapping[str, torch.Tensor]

DEPTH = 3
"""How deep in a checkpoint a state dict may lie."""

WRAPPED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What PyTorch puts into names where it wraps a module."""

COUNTED = ("num_batches_tracked", "n_averaged")
"""The last part of names of counters, which decide no score; older files lack them."""

AVERAGED = ("ema", "averaged", "shadow", "swa", "teacher")
"""Words in the names of weights that were averaged beside those that were trained."""

USUAL = ("state_dict", "model_state_dict", "model", "net")


@dataclass(frozen=True)
class Found:
    """Tensors in a checkpoint, as they fit a model.

    Attributes
    ----------
    keys : tuple of str
        Where they lie in the checkpoint; none where it is a state dict itself.
    prefix : str
        What stands before the model's names there.
    lacking : str
        What stands before the names of the model, and does not there.
    state : dict
        By the model's names.
    cut : list of str
        What PyTorch had put into the names, and is left out of them.
    unknown : list of str
        Names under the prefix, as there, that the model does not have.
    left : list of str
        What else lies beside them.
    """

    keys: tuple[str, ...]
    prefix: str
    lacking: str
    state: State
    cut: list[str]
    unknown: list[str]
    left: list[str]
    own: State = field(repr=False)

    @property
    def rank(self) -> tuple[bool, int, int]:
        """How likely these are the weights that are meant, least first."""
        return _rank(self.keys, self.prefix)

    @cached_property
    def missing(self) -> list[str]:
        """The model's names that are not there."""
        return [n for n in self.own if n not in self.state and _last(n) not in COUNTED]

    @cached_property
    def resized(self) -> list[str]:
        """Names of another size than the model's."""
        return [
            name
            for name, tensor in self.state.items()
            if not isinstance(self.own[name], UNKNOWN) and tensor.shape != self.own[name].shape
        ]

    @property
    def likely(self) -> int:
        """How many are the model's, where it is half of them: fewer may meet by chance."""
        fitting = len(self.state) - len(self.resized)
        return fitting if 2 * fitting >= len(self.own) else 0

    @property
    def fits(self) -> bool:
        """Whether they are all of the model's, and no more."""
        return not (self.missing or self.resized or self.unknown)

    def told(self) -> str:
        """Return what was unwrapped, in words; empty where nothing was."""
        parts = []
        if self.keys:
            parts.append(f"its {'.'.join(self.keys)!r} is taken")
        if self.prefix:
            parts.append(f"without the prefix {self.prefix!r}")
        parts += [f"without {part!r} in the names" for part in self.cut]
        if self.lacking:
            parts.append(f"with the prefix {self.lacking!r}")
        if parts and not self.keys:
            parts.insert(0, "its tensors are taken")
        if self.left:
            parts.append(f"{few(list(map(repr, self.left)))} left out")
        return ", ".join(parts)


def find(checkpoint: Mapping[Any, Any], own: State) -> list[Found]:
    """Return what fits a model whole, the likeliest first; else the one that comes nearest.

    Trained weights come before averaged ones, and usual names before others.
    """
    found = [
        one
        for keys, tensors, others in state_dicts(checkpoint)
        for one in _named(keys, tensors, others, own)
    ]
    whole = [one for one in found if one.fits]
    if whole:
        return sorted(whole, key=lambda one: (one.rank, one.prefix))
    return [min(found, key=lambda one: (-one.likely, one.prefix + one.lacking != "", one.rank))]


def state_dicts(
    checkpoint: Mapping[Any, Any], keys: tuple[str, ...] = (), beside: Sequence[str] = ()
) -> Iterator[tuple[tuple[str, ...], State, list[str]]]:
    """Yield what may be state dicts in a checkpoint: their keys, tensors, and what lies beside."""
    tensors = {k: v for k, v in checkpoint.items() if isinstance(v, torch.Tensor)}
    others = [str(k) for k in checkpoint if k not in tensors]
    if tensors and all(isinstance(key, str) for key in tensors):
        yield keys, tensors, [*beside, *others]
    for key, value in checkpoint.items():
        if isinstance(value, Mapping) and isinstance(key, str) and len(keys) < DEPTH:
            rest = [str(k) for k in checkpoint if k != key]
            yield from state_dicts(value, (*keys, key), [*beside, *rest])


def alone(checkpoint: Mapping[Any, Any]) -> State:
    """Return the state dict in a checkpoint whose model is not known: the largest, then the usual.

    Raises
    ------
    ValueError
        If it holds none.
    """
    largest = min(state_dicts(checkpoint), key=lambda one: (-len(one[1]), _rank(one[0])))
    _, tensors, _ = largest
    state = {_unwrapped(name): tensor for name, tensor in tensors.items()}
    shared = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(shared): tensor for name, tensor in state.items()}


def _rank(keys: tuple[str, ...], prefix: str = "") -> tuple[bool, int, int]:
    """Return how likely weights are those that are meant, least first."""
    words = ".".join((*keys, prefix)).lower()
    last = keys[-1] if keys else ""
    usual = USUAL.index(last) if last in USUAL else len(USUAL)
    return any(word in words for word in AVERAGED), len(keys), usual


def _named(keys: tuple[str, ...], tensors: State, others: list[str], own: State) -> Iterator[Found]:
    """Yield the ways in which tensors may meet a model's names."""
    cut = []
    if not any(part in name for name in own for part in WRAPPED):
        cut = [part for part in WRAPPED if any(part in name for name in tensors)]
        tensors = {_unwrapped(name): tensor for name, tensor in tensors.items()}
    for prefix in _prefixes(own, tensors):
        under = {n: t for n, t in tensors.items() if n.startswith(prefix)}
        state = {n: t for n in own if (t := under.get(prefix + n)) is not None}
        unknown = [n for n in under if n[len(prefix) :] not in own and _last(n) not in COUNTED]
        left = [*(n for n in tensors if n not in under), *others]
        yield Found(
            keys=keys,
            prefix=prefix,
            lacking="",
            state=state,
            cut=cut,
            unknown=unknown,
            left=left,
            own=own,
        )
    for lacking in _prefixes(tensors, own):
        if lacking:
            state = {lacking + n: t for n, t in tensors.items() if lacking + n in own}
            unknown = [n for n in tensors if lacking + n not in own and _last(n) not in COUNTED]
            yield Found(
                keys=keys,
                prefix="",
                lacking=lacking,
                state=state,
                cut=cut,
                unknown=unknown,
                left=others,
                own=own,
            )


def _prefixes(names: Iterable[str], longer: Iterable[str]) -> list[str]:
    """Return what may stand before some names where they are longer, the shortest first.

    Any of a few names shows it: one of the first, or the last.
    """
    listed = list(names)
    shown = [*listed[:2], *listed[-1:]]
    found = {
        name.removesuffix(end) for end in shown for name in longer if f".{name}".endswith(f".{end}")
    }
    return sorted({"", *found}, key=lambda prefix: (len(prefix), prefix))


def _unwrapped(name: str) -> str:
    for part in WRAPPED:
        name = name.replace(part, "")
    return name


def _last(name: str) -> str:
    return name.rpartition(".")[2]
