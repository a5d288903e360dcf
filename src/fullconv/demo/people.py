"""Passers-by: some in dresses, some in trousers."""

import numpy as np

from fullconv.demo.pen import (
    CLOTHES,
    DARK,
    HAIR,
    SKIN,
    TROUSERS,
    WHITE,
    Box,
    Colour,
    Pen,
    inside,
    mix,
    pick,
)


def draw_shadow(pen: Pen, box: Box) -> None:
    """Draw the soft shadow on the ground at the foot of `box`."""
    x0, _, x1, y1 = box
    ground = pen.colour_at(x0, y1)
    pen.ellipse((x0 + x1) / 2, y1 - 4, (x1 - x0) * 0.40, 3.0, mix(ground, DARK, 0.35))


def draw_head(pen: Pen, box: Box, skin: Colour, rng: np.random.Generator, long: bool) -> None:
    """Draw a head with hair (long, or short) at the top of `box`."""
    at, height = inside(box), box[3] - box[1]
    hair = pick(rng, HAIR)
    x, y = at(0.5, 0.1)
    r = height * 0.062
    style = int(rng.integers(3)) if long else 3
    if style == 0:  # to the shoulders
        pen.ellipse(x, y + r * 0.9, r * 1.3, r * 2.0, hair)
    elif style == 1:  # a bun
        pen.ellipse(x, y - r * 1.05, r * 0.5, r * 0.42, hair)
    pen.ellipse(x, y - r * 0.12, r * 1.12, r * 1.12, hair)
    pen.line((at(0.5, 0.12), at(0.5, 0.18)), height * 0.04, mix(skin, DARK, 0.12))
    pen.ellipse(x, y + r * 0.22, r * 0.82, r * 0.95, skin)
    if style == 2:  # a summer hat
        hat = mix(pick(rng, CLOTHES), WHITE, 0.6)
        pen.ellipse(x, y - r * 0.35, r * 1.75, r * 0.42, hat)
        pen.ellipse(x, y - r * 0.7, r * 0.95, r * 0.62, hat)


def draw_dress(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a passer-by in a dress with a wide skirt: the object to detect."""
    at, height = inside(box), box[3] - box[1]
    skin, cloth = pick(rng, SKIN, 6), pick(rng, CLOTHES)
    shade, accent = mix(cloth, DARK, 0.25), mix(cloth, WHITE, 0.75)
    hem, half = rng.uniform(0.76, 0.84), rng.uniform(0.40, 0.46)
    sway = rng.uniform(-0.03, 0.03)
    draw_shadow(pen, box)
    for side in (-1, 1):
        foot = at(0.5 + side * rng.uniform(0.07, 0.13), 0.965)
        pen.line((at(0.5 + side * 0.08, hem - 0.02), foot), height * 0.032, skin)
        pen.ellipse(foot[0], foot[1] + 1, height * 0.026, height * 0.018, shade)
    draw_head(pen, box, skin, rng, long=True)
    elbow = rng.uniform(0.22, 0.30)
    for side in (-1, 1):
        hand = at(0.5 + side * rng.uniform(0.22, 0.34), rng.uniform(0.44, 0.52))
        arm = (at(0.5 + side * 0.17, 0.20), at(0.5 + side * elbow, 0.34), hand)
        pen.line(arm, height * 0.030, skin)
    left, right = 0.5 - half + sway, 0.5 + half + sway
    across = np.linspace(0, 1, 13)
    edge = [at(left + (right - left) * t, hem + 0.035 * np.sin(np.pi * t)) for t in across]
    pen.polygon([at(0.43, 0.40), at(0.33, 0.52), *edge, at(0.67, 0.52), at(0.57, 0.40)], cloth)
    for fold in (0.25, 0.5, 0.75):
        foot_of_fold = at(left + (right - left) * fold, hem + 0.02)
        pen.line((at(0.46 + 0.08 * fold, 0.46), foot_of_fold), 1.2, shade)
    pattern = int(rng.integers(4))
    if pattern == 1:  # dots
        for row, v in enumerate(np.arange(0.50, hem, 0.075)):
            spread = half * (v - 0.36) / (hem - 0.36) * 0.82
            for u in np.linspace(-spread, spread, 3 + row):
                pen.ellipse(*at(0.5 + sway + u, v), 1.7, 1.7, accent)
    elif pattern == 2:  # a band along the hem
        low = [(x, y - height * 0.05) for x, y in edge]
        pen.line(low[1:-1], 3.0, accent)
    shoulders = ((0.34, 0.18), (0.44, 0.175), (0.5, 0.215), (0.56, 0.175), (0.66, 0.18))
    waist = ((0.63, 0.27), (0.58, 0.41), (0.42, 0.41), (0.37, 0.27))
    pen.polygon([at(u, v) for u, v in shoulders + waist], cloth)
    belt = accent if pattern != 3 else shade
    pen.line((at(0.43, 0.41), at(0.57, 0.41)), height * 0.022, belt)


def draw_walker(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a passer-by in shirt and trousers: as large and as colourful as a dress, but none."""
    at, height = inside(box), box[3] - box[1]
    skin, shirt, cloth = pick(rng, SKIN, 6), pick(rng, CLOTHES), pick(rng, TROUSERS)
    stance = rng.uniform(0.04, 0.17)
    draw_shadow(pen, box)
    for side in (-1, 1):
        foot = at(0.5 + side * stance, 0.965)
        leg = mix(cloth, DARK, 0.2 if side < 0 else 0.0)
        pen.line((at(0.5 + side * 0.075, 0.50), foot), height * 0.072, leg)
        pen.ellipse(foot[0] + 1.5, foot[1] + 1, height * 0.036, height * 0.02, DARK)
    draw_head(pen, box, skin, rng, long=bool(rng.random() < 0.4))
    for side in (-1, 1):
        hand = at(0.5 + side * rng.uniform(0.24, 0.34), rng.uniform(0.48, 0.54))
        sleeve = at(0.5 + side * 0.26, 0.35)
        pen.line((sleeve, hand), height * 0.03, skin)
        pen.line((at(0.5 + side * 0.18, 0.21), sleeve), height * 0.05, mix(shirt, DARK, 0.12))
    torso = ((0.30, 0.20), (0.42, 0.17), (0.58, 0.17), (0.70, 0.20), (0.66, 0.54), (0.34, 0.54))
    pen.polygon([at(u, v) for u, v in torso], shirt)
    if rng.random() < 0.4:
        pen.line((at(0.36, 0.20), at(0.64, 0.50)), 2.5, mix(cloth, WHITE, 0.3))


# Street furniture.
