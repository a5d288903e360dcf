"""Find the tensors of a model in a checkpoint, under whatever keys and prefixes they are stored.

Repositories ship more than a state dict: ``{"state_dict": ..., "epoch": 3}``, the averaged weights
beside the last ones, names that begin with ``module.`` (DataParallel), ``model.`` (Lightning) or
contain ``_orig_mod.`` (torch.compile). The model's own names and sizes decide: the state dict that
fits it completely is taken.
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
"""Deepest level of nesting at which a state dict is looked for."""

WRAPPED = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""Parts that PyTorch inserts into names when it wraps a module."""

COUNTED = ("num_batches_tracked", "n_averaged")
"""Last part of the names of counters. No score depends on them, and older files lack them."""

AVERAGED = ("ema", "averaged", "shadow", "swa", "teacher")
"""Words in the names of averaged weights, which some files store beside the trained ones."""

USUAL = ("state_dict", "model_state_dict", "model", "net")


@dataclass(frozen=True)
class MatchedTensors:
    """A state dict in a checkpoint, matched to the names of a model.

    Attributes
    ----------
    keys : tuple of str
        Path of the state dict in the checkpoint; empty where the checkpoint is one itself.
    prefix : str
        Prefix of the names in the file that the model's names do not have.
    lacking : str
        Prefix of the model's names that the names in the file do not have.
    state : dict
        The tensors, by the model's names.
    cut : list of str
        Parts that PyTorch had inserted into the names, removed here.
    unknown : list of str
        Names under the prefix, as in the file, that the model does not have.
    left : list of str
        Names of everything else in the checkpoint.
    own : dict
        The model's own tensors, by name.
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
        """Sort key; the likeliest weights sort first."""
        return _rank(self.keys, self.prefix)

    @cached_property
    def missing(self) -> list[str]:
        """The model's names that the file lacks."""
        return [n for n in self.own if n not in self.state and _last(n) not in COUNTED]

    @cached_property
    def resized(self) -> list[str]:
        """Names of tensors whose size differs from the model's."""
        return [
            name
            for name, tensor in self.state.items()
            if not isinstance(self.own[name], UNKNOWN) and tensor.shape != self.own[name].shape
        ]

    @property
    def likely(self) -> int:
        """Number of tensors that fit the model; 0 below half of them, which may match by chance."""
        fitting = len(self.state) - len(self.resized)
        return fitting if 2 * fitting >= len(self.own) else 0

    @property
    def fits(self) -> bool:
        """Whether the names and sizes are exactly the model's."""
        return not (self.missing or self.resized or self.unknown)

    def unwrapping(self) -> str:
        """Return in words how the tensors were unwrapped; empty where they were not wrapped."""
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


def find(checkpoint: Mapping[Any, Any], own: State) -> list[MatchedTensors]:
    """Return the state dicts that fit a model completely, likeliest first; else the nearest one.

    Trained weights come before averaged ones, and usual names before others.
    """
    matches = [
        one
        for keys, tensors, others in state_dicts(checkpoint)
        for one in _named(keys, tensors, others, own)
    ]
    whole = [one for one in matches if one.fits]
    if whole:
        return sorted(whole, key=lambda one: (one.rank, one.prefix))
    return [min(matches, key=lambda one: (-one.likely, one.prefix + one.lacking != "", one.rank))]


def state_dicts(
    checkpoint: Mapping[Any, Any], keys: tuple[str, ...] = (), beside: Sequence[str] = ()
) -> Iterator[tuple[tuple[str, ...], State, list[str]]]:
    """Yield the keys, tensors and other names of everything that may be a state dict."""
    tensors = {k: v for k, v in checkpoint.items() if isinstance(v, torch.Tensor)}
    others = [str(k) for k in checkpoint if k not in tensors]
    if tensors and all(isinstance(key, str) for key in tensors):
        yield keys, tensors, [*beside, *others]
    for key, value in checkpoint.items():
        if isinstance(value, Mapping) and isinstance(key, str) and len(keys) < DEPTH:
            rest = [str(k) for k in checkpoint if k != key]
            yield from state_dicts(value, (*keys, key), [*beside, *rest])


def alone(checkpoint: Mapping[Any, Any]) -> State:
    """Return the largest state dict in a checkpoint; of several, the one with the usual keys.

    For checkpoints whose model is not known.

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
    """Return a sort key; the likeliest weights sort first."""
    words = ".".join((*keys, prefix)).lower()
    last = keys[-1] if keys else ""
    usual = USUAL.index(last) if last in USUAL else len(USUAL)
    return any(word in words for word in AVERAGED), len(keys), usual


def _named(
    keys: tuple[str, ...], tensors: State, others: list[str], own: State
) -> Iterator[MatchedTensors]:
    """Yield the ways in which the names of tensors may match a model's."""
    cut = []
    if not any(part in name for name in own for part in WRAPPED):
        cut = [part for part in WRAPPED if any(part in name for name in tensors)]
        tensors = {_unwrapped(name): tensor for name, tensor in tensors.items()}
    for prefix in _prefixes(own, tensors):
        under = {n: t for n, t in tensors.items() if n.startswith(prefix)}
        state = {n: t for n in own if (t := under.get(prefix + n)) is not None}
        unknown = [n for n in under if n[len(prefix) :] not in own and _last(n) not in COUNTED]
        left = [*(n for n in tensors if n not in under), *others]
        yield MatchedTensors(
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
            yield MatchedTensors(
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
    """Return the prefixes by which ``longer`` names may differ from ``names``, shortest first.

    Prefixes are searched for the first two names and the last one alone.
    """
    listed = list(names)
    some = [*listed[:2], *listed[-1:]]
    prefixes = {
        name.removesuffix(end) for end in some for name in longer if f".{name}".endswith(f".{end}")
    }
    return sorted({"", *prefixes}, key=lambda prefix: (len(prefix), prefix))


def _unwrapped(name: str) -> str:
    for part in WRAPPED:
        name = name.replace(part, "")
    return name


def _last(name: str) -> str:
    return name.rpartition(".")[2]
