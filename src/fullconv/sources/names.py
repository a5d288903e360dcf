"""Names of images, encoded for text files and as file names for every disk.

Note [Names in files]

A file's name may hold bytes that are not UTF-8 (which Python keeps as lone surrogates, PEP 383),
line breaks and other control characters. Tables, JSON and printed lines hold the name unchanged,
except for these codes:

====================================  =======================================
a byte that is not UTF-8              ``%`` and its two digits, as in ``%E9``
a control character of 7 bits         the same, as in ``%0A`` for a line break
a control character of more than      ``%u`` and its four digits, as in ``%u2028``
7 bits, U+2028, U+2029, or half of
a surrogate pair (on Windows)
a ``%`` that would read as one of     ``%25``
these codes
====================================  =======================================

Hexadecimal digits are capitals. Most names stay as they are, no name takes more than one line, and
reading gives back every name unchanged. Names of results also encode the characters that some
disks do not allow (`as_file`).
"""

from __future__ import annotations

import hashlib
import re

_HIDDEN = re.compile("%(?=[0-9A-F]{2}|u[0-9A-F]{4})|[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CODE = re.compile("%(?:([0-9A-F]{2})|u([0-9A-F]{4}))")

_FORBIDDEN = re.compile(r'[<>:"/\\|?*]')
"""Characters that Windows and FAT disks forbid (Microsoft, "Naming Files, Paths, and
Namespaces")."""

_DEVICE = re.compile(r"(?i)(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3])")
"""Names that Windows reserves for devices, with any ending (the same page)."""

LONGEST_BYTES = 240
"""The limit of a result's name; disks allow 255, and an unfinished result adds ``.part``."""


def as_text(name: str) -> str:
    """Return a name encoded for text files: Note [Names in files]."""
    return _HIDDEN.sub(lambda match: _code(match[0]), name)


def from_text(text: str) -> str:
    """Return the name that `as_text` encoded; a text that it never writes is the name itself."""
    name = _CODE.sub(lambda match: _character(match[1], match[2]), text)
    return name if as_text(name) == text else text


def as_file(name: str, ending: str = "") -> str:
    """Return a file name for a result that every disk accepts; distinct names stay distinct.

    Parameters
    ----------
    name : str
        Name of one file or folder, without its parent folders.
    ending : str
        Ending of the result's name, kept as it is.
    """
    text = _FORBIDDEN.sub(lambda match: _code(match[0]), as_text(name))
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
