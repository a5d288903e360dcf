"""Names of images: as text that every file can hold, and as names that every disk can.

Note [Names in files]

A name is whatever the system calls a file: it may hold bytes that are no UTF-8 (which Python keeps
as lone surrogates, PEP 383), line breaks and other control characters. Tables, JSON and printed
lines hold a name as it is, but for

====================================  =======================================
a byte that is no UTF-8               ``%`` and its two digits, as in ``%E9``
a control character                   the same, as in ``%0A`` for a line break
one of more than 7 bits, U+2028/9,    ``%u`` and its four digits, as in ``%u2028``
or half of a pair (on Windows)
a ``%`` that would read as one of     ``%25``
these
====================================  =======================================

with capital digits. So almost every name stands there as it is, each line is one line, and reading
gives every name back as it was. Names of results hold, beside these, the characters that some disk
does not allow as their codes (`as_file`).
"""

from __future__ import annotations

import hashlib
import re

_HIDDEN = re.compile("%(?=[0-9A-F]{2}|u[0-9A-F]{4})|[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CODE = re.compile("%(?:([0-9A-F]{2})|u([0-9A-F]{4}))")

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
"""By Windows, and on the disks that cameras and others use (Microsoft, "Naming Files, Paths, and
Namespaces")."""

_DEVICE = re.compile(r"(?i)(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])")
"""Names that Windows keeps for devices, with any ending (the same page)."""

LONGEST_BYTES = 240
"""Of a result's name; disks allow 255, and ``.part`` follows the name of what is unfinished."""


def as_text(name: str) -> str:
    """Return a name as files of text hold it: Note [Names in files]."""
    return _HIDDEN.sub(lambda found: _code(found[0]), name)


def from_text(text: str) -> str:
    """Return the name that `as_text` wrote; a text that it cannot have written is one itself."""
    name = _CODE.sub(lambda found: _character(found[1], found[2]), text)
    return name if as_text(name) == text else text


def as_file(name: str, ending: str = "") -> str:
    """Return a name for a result, which every disk can hold, and no other name gives.

    Parameters
    ----------
    name : str
        Of one file or folder, without the folders that it lies in.
    ending : str
        What the result's name ends with.
    """
    text = _FORBIDDEN.sub(lambda found: _code(found[0]), as_text(name))
    if _DEVICE.fullmatch((text + ending).split(".")[0].rstrip(" ")):
        text = _code(text[0]) + text[1:]
    if not ending and text[-1:] in (".", " "):
        text = text[:-1] + _code(text[-1])
    encoded = text.encode()
    most = LONGEST_BYTES - len(ending.encode())
    if len(encoded) > most:
        mark = f"~{hashlib.sha256(encoded).hexdigest()[:12]}"
        text = encoded[: most - len(mark)].decode(errors="ignore") + mark
    return text + ending


def _code(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00
    elif number > 0x7F:
        return f"%u{number:04X}"
    return f"%{number:02X}"


def _character(short: str | None, long: str | None) -> str:
    if long is not None:
        return chr(int(long, 16))
    number = int(short or "", 16)
    return chr(number if number < 0x80 else 0xDC00 + number)
