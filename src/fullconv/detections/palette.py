"""One colour for each class, in pictures and in files."""

from __future__ import annotations

# Okabe and Ito, "Color Universal Design" (2008): distinct with every common colour blindness.
# Their black is left out, because it would not show on dark images.
COLOURS = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (204, 121, 167),  # reddish purple
)


def colour_of(label: int) -> tuple[int, int, int]:
    """Return the red, green and blue of a class, 0 to 255; the eighth class has the first again."""
    return COLOURS[label % len(COLOURS)]
