"""Errors that the libraries share: unknown names, and weights that cannot be fetched."""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fullconv.errors import InputError, ModelError, first_line


@contextmanager
def fetching(named: str, source: str | None) -> Iterator[None]:
    """Turn failed downloads into one-line errors, and read weights as tensors only."""
    safely = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(safely)
    os.environ[safely] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a library's warnings about its own initial values
            yield
    except Exception as error:
        raise ModelError(
            f"{named}: its weights could not be fetched from {source} ({type(error).__name__}: "
            f"{first_line(error)}). Try again where that address can be reached, or give a state "
            f"dict with --weights."
        ) from error
    finally:
        if before is None:
            del os.environ[safely]
        else:
            os.environ[safely] = before


def unknown(named: str, name: str, library: str, known: Sequence[str]) -> InputError:
    """Return the error for a name that a library does not know, with similar names."""
    near = difflib.get_close_matches(name, known, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "check its name."
    return InputError(f"{named}: {library} has no classifier {name!r}; {hint}")
