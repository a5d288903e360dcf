"""Which image of the truth a detection's image is, by their names.

Note [How names meet]

Two images are the same if their names are, looked at in these ways, one after the other:

1. the same path;
2. the same relative path: one ends with the other, folder by folder (``photos/a/1.png`` and
   ``a/1.png``); of several, the longest;
3. 1 and 2, where one of the two has no ending, as in Pascal VOC (``a/1`` and ``a/1.png``);
4. the same name in whatever folders, if no other image has it; with the ending, and then as in 3.

Dots belong to names, and so do zeros in front, capitals, and the ending where both have one.
Accents may be written in either of Unicode's two forms, and folders be parted by ``/`` or ``\\``.
Two images are never taken for one: where several fit equally well, on either side, or what fits is
another one's already, an image has no counterpart, and a reason why.
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
"""So many names are shown of many."""


@dataclass(frozen=True)
class Unpaired:
    """Why an image has no counterpart.

    Attributes
    ----------
    reason : str
        What is known instead.
    candidates : frozenset of int
        The images of the truth that it could be, and no other image is.
    """

    reason: str
    candidates: frozenset[int] = frozenset()


class Compared(Enum):
    """How much of two paths must be the same."""

    PATH = "all"
    TAIL = "all of the shorter one"
    NAME = "the name"


@dataclass(frozen=True)
class Way:
    """One way to look at names.

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
    # A name that two images have in Unicode's two forms is none that only one has.
    *(Way(Compared.NAME, is_endless, True) for is_endless in (False, True)),
)


def pair(
    asked: Sequence[str], known: Sequence[str], *, are_stems: bool = False
) -> dict[str, int | Unpaired]:
    """Return for each name that is asked for its place among the known ones, or why it has none.

    Note [How names meet] says what is found.

    Parameters
    ----------
    asked : sequence of str
        Of the detections' images; the same name twice is one image.
    known : sequence of str
        Of the truth's images; the same name twice is two.
    are_stems : bool
        The known names have no ending, whatever follows their last dot.
    """
    found: dict[str, int | Unpaired] = {}
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
                found[name] = places[0]
        owners |= {place: name for name, place in found.items() if isinstance(place, int)}
        for name in chosen.keys() - found.keys():
            rivals = [other for other in chosen if other != name and chosen[other] == chosen[name]]
            found[name] = _unpaired(fitting.places[name], known, owners, rivals)
        open_ = [name for name in open_ if name not in found]
    for name in open_:
        found[name] = _unknown(name, known, owners)
    return found


def refuse_unpaired(call: str, names: Sequence[str], found: Sequence[int | Unpaired]) -> None:
    """Require that every image has its counterpart in the truth.

    Raises
    ------
    InputError
        With the reason of the first that has none.
    """
    missing = {n: one for n, one in zip(names, found, strict=True) if isinstance(one, Unpaired)}
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
    """What fits in one way: for each name how well which place fits, and the best of each place."""

    places: Mapping[str, Mapping[int, int]]
    strongest: Mapping[int, int]


def _fitting(asked: Sequence[str], known: Sequence[str], way: Way, are_stems: bool) -> _Fitting:
    """Return how many parts of the paths are the same, where they fit."""
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
    """Return how many parts agree, and 0 where too few do."""
    if compared is Compared.NAME:
        return 1
    length = min(len(a), len(b))
    is_enough = compared is Compared.TAIL or len(a) == len(b)
    return length if is_enough and a[-length:] == b[-length:] else 0


def _best(
    places: Mapping[int, int], strongest: Mapping[int, int], owners: Mapping[int, str], way: Way
) -> list[int]:
    """Return the places that fit best, and none of which fits another name better.

    None is given where one of them is another name's already: the others would be guessed.
    """
    most = max(places.values())
    best = [place for place, same in places.items() if same == most]
    if any(place in owners for place in (places if way.compared is Compared.NAME else best)):
        return []
    return [place for place in best if strongest[place] == most]


def _looked_at(name: str, way: Way, is_stem: bool) -> tuple[Parts, bool]:
    """Return the parts of a name, and whether it has lost its ending."""
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
    """Return what is known instead, and which names only look like this one."""
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
    """Yield what a careless comparison makes of a name."""
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2].casefold()
    stem = last.rpartition(".")[0] or last
    for text in (last, stem):
        yield int(text) if text.isascii() and text.isdigit() and len(text) < 1000 else text


def some(names: Sequence[str]) -> str:
    """Return the first few names."""
    shown = ", ".join(map(repr, names[:SHOWN])) or "no image"
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
