"""Images of detections paired with images of the truth, by their names.

Note [How names meet]

Two images are the same if their names agree in one of these ways, which are tried in this order:

1. the same path;
2. the same relative path: one ends with the other, folder by folder (``photos/a/1.png`` and
   ``a/1.png``); of several, the longest;
3. as 1 and 2, but one of the two has no ending, as in Pascal VOC (``a/1`` and ``a/1.png``);
4. the same name in whatever folders, if no other image has it; with the ending, and then as in 3.

Dots are a part of names, and so are leading zeros, capitals, and the ending if both have one.
Accents may be written in either of Unicode's two forms, and folders separated by ``/`` or ``\\``.
Two images never get the same counterpart. An image has none, and a reason why, where several fit
equally well, on either side, or the one that fits belongs to another image already.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from fullconv.errors import InputError
from fullconv.sources.finding import without_ending

Parts = tuple[str, ...]

HOW = "Images are matched by their relative path, and then by a name that only one of them has."

SHOWN = 3
"""Most names that are shown in a message."""


@dataclass(frozen=True)
class Unpaired:
    """The reason why an image has no counterpart.

    Attributes
    ----------
    reason : str
        The reason, with images that the truth knows instead.
    candidates : frozenset of int
        Images of the truth that it could be, and that are no other image's counterpart.
    """

    reason: str
    candidates: frozenset[int] = frozenset()


class Compared(Enum):
    """The part of two paths that must be the same."""

    PATH = "all"
    TAIL = "all of the shorter one"
    NAME = "the name"


@dataclass(frozen=True)
class Way:
    """One way to compare names.

    Attributes
    ----------
    compared : Compared
    is_endless : bool
        Whether names are compared without the ending of one of them.
    is_composed : bool
        Whether names are brought to Unicode's composed form (NFC) first.
    """

    compared: Compared
    is_endless: bool
    is_composed: bool


WAYS = (
    *(
        Way(compared, is_endless, is_composed)
        for is_endless in (False, True)
        for compared in (Compared.PATH, Compared.TAIL)
        for is_composed in (False, True)
    ),
    # Two images with a name in Unicode's two forms share this name: it is not unique.
    *(Way(Compared.NAME, is_endless, True) for is_endless in (False, True)),
)


def pair(
    asked: Sequence[str], known: Sequence[str], *, are_stems: bool = False
) -> dict[str, int | Unpaired]:
    """Return the place of each asked name among the known ones, or why it has none.

    The rules are in Note [How names meet].

    Parameters
    ----------
    asked : sequence of str
        Names of the detections' images; the same name twice is one image.
    known : sequence of str
        Names of the truth's images; the same name twice is two images.
    are_stems : bool
        Whether the known names have no ending, whatever follows their last dot.
    """
    paired: dict[str, int | Unpaired] = {}
    owners: dict[int, str] = {}
    open_ = list(dict.fromkeys(asked))
    for way in WAYS:
        fitting = _fitting(open_, known, way, are_stems)
        chosen = {
            name: _best(places, fitting.strongest, owners, way)
            for name, places in fitting.places.items()
        }
        wanted = Counter(places[0] for places in chosen.values() if len(places) == 1)
        for name, places in chosen.items():
            if len(places) == 1 and wanted[places[0]] == 1:
                paired[name] = places[0]
        owners |= {place: name for name, place in paired.items() if isinstance(place, int)}
        for name in chosen.keys() - paired.keys():
            rivals = [other for other in chosen if other != name and chosen[other] == chosen[name]]
            paired[name] = _unpaired(fitting.places[name], known, owners, rivals)
        open_ = [name for name in open_ if name not in paired]
    for name in open_:
        paired[name] = _unknown(name, known, owners)
    return paired


def refuse_unpaired(call: str, names: Sequence[str], paired: Sequence[int | Unpaired]) -> None:
    """Require that every image has a counterpart in the truth.

    Raises
    ------
    InputError
        If one has none, with the reason of the first.
    """
    missing = {n: one for n, one in zip(names, paired, strict=True) if isinstance(one, Unpaired)}
    if missing:
        name, first = next(iter(missing.items()))
        which = (
            f"the image {name!r}"
            if len(missing) == 1
            else f"{len(missing)} images, the first is {name!r}"
        )
        raise InputError(f"{call}: the truth says nothing about {which}; {first.reason}. {HOW}")


@dataclass(frozen=True)
class _Fitting:
    """The fits of one way: for each name how well a place fits, and the best fit of each place."""

    places: Mapping[str, Mapping[int, int]]
    strongest: Mapping[int, int]


def _fitting(asked: Sequence[str], known: Sequence[str], way: Way, are_stems: bool) -> _Fitting:
    """Return the number of equal parts of the paths, for every name and place that fit."""
    by_name: dict[str, list[tuple[int, Parts, bool]]] = defaultdict(list)
    if asked:
        for place, name in enumerate(known):
            parts, is_shortened = _looked_at(name, way, are_stems)
            by_name[parts[-1]].append((place, parts, is_shortened))
    places: dict[str, dict[int, int]] = {}
    strongest: Counter[int] = Counter()
    for name in asked:
        parts, is_shortened = _looked_at(name, way, False)
        for place, others, is_other_shortened in by_name[parts[-1]]:
            if way.is_endless and is_shortened == is_other_shortened:
                continue
            same = _same(parts, others, way.compared)
            if same:
                places.setdefault(name, {})[place] = same
                strongest[place] = max(strongest[place], same)
    return _Fitting(places, strongest)


def _same(a: Parts, b: Parts, compared: Compared) -> int:
    """Return the number of parts that agree, and 0 where too few do."""
    if compared is Compared.NAME:
        return 1
    length = min(len(a), len(b))
    is_enough = compared is Compared.TAIL or len(a) == len(b)
    return length if is_enough and a[-length:] == b[-length:] else 0


def _best(
    places: Mapping[int, int], strongest: Mapping[int, int], owners: Mapping[int, str], way: Way
) -> list[int]:
    """Return the places that fit best, without those that fit another name better.

    There are none if one of them is another name's already: the others would be a guess.
    """
    most = max(places.values())
    best = [place for place, same in places.items() if same == most]
    if any(place in owners for place in (places if way.compared is Compared.NAME else best)):
        return []
    return [place for place in best if strongest[place] == most]


def _looked_at(name: str, way: Way, is_stem: bool) -> tuple[Parts, bool]:
    """Return the parts of a name, and whether its ending was removed."""
    shown = unicodedata.normalize("NFC", name) if way.is_composed else name
    parts = [part for part in shown.replace("\\", "/").split("/") if part not in ("", ".")] or [""]
    last = parts[-1] if is_stem or not way.is_endless else without_ending(parts[-1])
    return (*parts[:-1], last), last != parts[-1]


def _unpaired(
    places: Mapping[int, int], known: Sequence[str], owners: Mapping[int, str], rivals: list[str]
) -> Unpaired:
    """Return why none of the places that fit was chosen."""
    names = [known[place] for place in places]
    taken = next((place for place in places if place in owners), None)
    if taken is not None:
        owner, of_truth = owners[taken], known[taken]
        is_itself = owner == of_truth
        reason = f"its {of_truth!r} is {'another' if is_itself else f'that of {owner!r}'}"
    elif rivals:
        reason = f"its {names[0]!r} may as well be that of {some(rivals)}"
    else:
        reason = f"it may be any of {some(names)}"
    return Unpaired(reason, frozenset(places) - owners.keys())


def _unknown(name: str, known: Sequence[str], owners: Mapping[int, str]) -> Unpaired:
    """Return a reason with names that are known instead, and those that only look like this one."""
    loose = set(_loose(name))
    alike = {place: other for place, other in enumerate(known) if loose & set(_loose(other))}
    reason = f"it knows {some(known)}"
    if alike:
        verb = "is" if len(alike) == 1 else "are"
        reason += (
            f"; {some(list(alike.values()))} {verb} the same only without endings, zeros in front "
            f"or capitals"
        )
    return Unpaired(reason, frozenset(alike) - owners.keys())


def _loose(name: str) -> Iterator[str | int]:
    """Yield a name as a careless comparison sees it: without folders, case, zeros or ending."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2].casefold()
    stem = last.rpartition(".")[0] or last
    for text in (last, stem):
        yield int(text) if text.isascii() and text.isdigit() and len(text) < 1000 else text


def some(names: Sequence[str]) -> str:
    """Return the first few names."""
    shown = ", ".join(map(repr, names[:SHOWN])) or "no image"
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
