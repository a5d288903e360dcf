"""Units of length, by the names and signs that file formats use."""

from __future__ import annotations

PREFIXES = {
    **{"yotta": ("Y", 24), "zetta": ("Z", 21), "exa": ("E", 18), "peta": ("P", 15)},
    **{"tera": ("T", 12), "giga": ("G", 9), "mega": ("M", 6), "kilo": ("k", 3)},
    **{"hecto": ("h", 2), "deca": ("da", 1), "": ("", 0), "deci": ("d", -1), "centi": ("c", -2)},
    **{"milli": ("m", -3), "micro": ("u", -6), "nano": ("n", -9), "pico": ("p", -12)},
    **{"femto": ("f", -15), "atto": ("a", -18), "zepto": ("z", -21), "yocto": ("y", -24)},
}
"""Sign and power of ten of every SI prefix (SI brochure, table 7)."""

INCH_UM = 25400.0

NAMED = {
    **{"angstrom": 1e-4, "micron": 1.0, "thou": INCH_UM / 1000, "line": INCH_UM / 12},
    **{"inch": INCH_UM, "foot": 12 * INCH_UM, "yard": 36 * INCH_UM, "mile": 63360 * INCH_UM},
    **{"parsec": 3.0856775814913673e22, "lightyear": 9.4607304725808e21},
    **{"astronomicalunit": 1.495978707e17, "point": INCH_UM / 72, "inches": INCH_UM},
    **{"feet": 12 * INCH_UM},
} | {f"{name}metre": float(f"1e{power + 6}") for name, (_, power) in PREFIXES.items()}
"""Micrometres in a unit, by its name in OME-NGFF 0.4 and 0.5 ("axes") or in OME's schema
(UnitsLength)."""

SIGNS = {
    **{"\u00c5": 1e-4, "\u212b": 1e-4, "li": INCH_UM / 12, "in": INCH_UM},
    **{"ft": 12 * INCH_UM, "yd": 36 * INCH_UM, "mi": 63360 * INCH_UM, "pt": INCH_UM / 72},
    **{"ua": NAMED["astronomicalunit"], "ly": NAMED["lightyear"], "pc": NAMED["parsec"]},
} | {f"{sign}m": float(f"1e{power + 6}") for sign, power in PREFIXES.values()}
"""Micrometres in a unit, by its sign. Case matters: Mm is not mm."""

NO_UNITS = ("", "pixel", "px", "none", "arbitrary")
"""Texts that files hold in place of a unit."""

# The micro sign and the Greek letter are two characters that look the same.
MICRO = str.maketrans({"\u00b5": "u", "\u03bc": "u"})


def um_of(unit: str) -> float | None:
    """Return the micrometres in a unit of length, by its name or sign; None for other texts."""
    short = unit.strip().translate(MICRO)
    if short in SIGNS:
        return SIGNS[short]
    name = short.lower().replace("meter", "metre").replace(" ", "")
    for one in (name, name.removesuffix("s")):
        if one in NAMED:
            return NAMED[one]
    return SIGNS.get(name)


def unknown(name: str, unit: str) -> tuple[str, ...]:
    """Return the line about a file's unknown unit of length, in a tuple; an empty one if known."""
    if unit.strip().lower().removesuffix("s") in NO_UNITS or um_of(unit) is not None:
        return ()
    return (
        f"{name} counts in {unit!r}, which is no unit of length that fullconv knows, so that the "
        f"size of its pixels is not known.",
    )
