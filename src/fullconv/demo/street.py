"""The other things in a street: houses, trees, cars, and things that resemble a dress."""

from collections.abc import Callable

import numpy as np

from fullconv.demo.pen import (
    CLOTHES,
    DARK,
    FACADES,
    FOLIAGE,
    SKIES,
    WHITE,
    Box,
    Pen,
    inside,
    mix,
    pick,
)


def draw_house(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a house: roof, rows of windows, and a shop with an awning at street level."""
    x0, y0, x1, y1 = box
    wall = pick(rng, FACADES)
    trim, pane = mix(wall, WHITE, 0.55), (88, 110, 132)
    roof = mix(wall, (110, 60, 56), 0.7)
    if rng.random() < 0.5:
        pen.polygon(((x0 - 3, y0), (x0 + 12, y0 - 22), (x1 - 12, y0 - 22), (x1 + 3, y0)), roof)
        chimney = x0 + 0.25 * (x1 - x0)
        pen.rectangle(chimney, y0 - 34, chimney + 10, y0 - 20, mix(roof, DARK, 0.2))
    pen.rectangle(x0, y0, x1, y1, wall)
    pen.rectangle(x0, y0, x1, y0 + 5, trim)
    shutter = mix(pick(rng, CLOTHES), wall, 0.35) if rng.random() < 0.5 else None
    columns = max(2, (x1 - x0) // 38)
    pitch = (x1 - x0) / columns
    shop = y1 - 54
    for y in range(y0 + 16, shop - 34, 44):
        for column in range(columns):
            x = x0 + (column + 0.5) * pitch
            lit = (250, 218, 142) if rng.random() < 0.2 else pane
            if shutter is not None:
                pen.rectangle(x - 15, y, x + 15, y + 28, shutter)
            pen.rectangle(x - 10, y - 1, x + 10, y + 29, trim)
            pen.rectangle(x - 8, y + 1, x + 8, y + 27, lit)
            pen.line(((x, y + 1), (x, y + 27)), 1.2, trim)
            pen.line(((x - 8, y + 10), (x + 8, y + 10)), 1.2, trim)
    pen.rectangle(x0, shop - 6, x1, shop - 2, trim)
    pen.rectangle(x0 + 8, shop + 8, x1 - 34, y1 - 8, mix(pane, DARK, 0.25))
    pen.polygon(
        ((x0 + 16, shop + 8), (x0 + 30, shop + 8), (x0 + 20, y1 - 8), (x0 + 8, y1 - 8)),
        mix(pane, WHITE, 0.2),
    )
    pen.rectangle(x1 - 27, shop + 6, x1 - 9, y1, mix(roof, DARK, 0.3))
    awning = pick(rng, CLOTHES)
    for index, x in enumerate(range(x0 + 4, x1 - 31, 9)):
        colour = WHITE if index % 2 else awning
        pen.polygon(((x, shop), (x + 9, shop), (x + 9, shop + 15), (x, shop + 15)), colour)
        pen.ellipse(x + 4.5, shop + 15, 4.5, 4, colour)


def draw_tree(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a street tree with a round crown."""
    at, width = inside(box), box[2] - box[0]
    leaves = pick(rng, FOLIAGE)
    pen.line((at(0.5, 0.5), at(0.5, 0.99)), width * 0.09, (104, 78, 58))
    pen.line((at(0.5, 0.72), at(0.68, 0.52)), width * 0.05, (104, 78, 58))
    for share, shift in ((-0.18, 0.05), (0.0, 0.0), (0.16, -0.03)):
        colour = mix(leaves, WHITE if share > 0 else DARK, abs(share))
        for _ in range(6):
            x, y = at(0.5 + shift + rng.uniform(-0.22, 0.22), 0.32 - share / 3)
            y += rng.uniform(-0.14, 0.14) * (box[3] - box[1])
            pen.ellipse(x, y, width * 0.24, width * 0.22, colour)


def draw_clipped_tree(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a conical tree in a pot: the outline of a skirt."""
    at, leaves = inside(box), pick(rng, FOLIAGE)
    pen.line((at(0.5, 0.6), at(0.5, 0.85)), 4, (104, 78, 58))
    pen.polygon((at(0.5, 0.0), at(0.12, 0.72), at(0.5, 0.76), at(0.88, 0.72)), leaves)
    pen.polygon((at(0.5, 0.0), at(0.5, 0.76), at(0.88, 0.72)), mix(leaves, DARK, 0.2))
    pot = pick(rng, ((178, 104, 76), (120, 124, 130)))
    pen.polygon((at(0.24, 0.82), at(0.76, 0.82), at(0.66, 1.0), at(0.34, 1.0)), pot)


def draw_parasol(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a café table under a parasol, in the colours of a dress."""
    at, cloth = inside(box), pick(rng, CLOTHES)
    pen.line((at(0.5, 0.05), at(0.5, 0.98)), 2.5, (150, 140, 128))
    for index in range(6):
        colour = WHITE if index % 2 else cloth
        foot = (at(index / 6, 0.33), at((index + 1) / 6, 0.33))
        pen.polygon((at(0.5, 0.02), *foot), colour)
        middle = at((index + 0.5) / 6, 0.33)
        pen.ellipse(*middle, (foot[1][0] - foot[0][0]) / 2, 3, colour)
    pen.ellipse(*at(0.5, 0.70), (box[2] - box[0]) * 0.3, 4, WHITE)
    pen.ellipse(*at(0.5, 0.98), 11, 3, (120, 112, 104))


def draw_cone(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a traffic cone."""
    at, cloth = inside(box), pick(rng, ((238, 112, 44),))
    pen.polygon((at(0.44, 0.0), at(0.56, 0.0), at(0.82, 0.9), at(0.18, 0.9)), cloth)
    pen.polygon((at(0.37, 0.32), at(0.63, 0.32), at(0.71, 0.58), at(0.29, 0.58)), WHITE)
    pen.rectangle(*at(0.02, 0.88), *at(0.98, 1.0), mix(cloth, DARK, 0.3))


def draw_postbox(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a pillar box in a dress's colour."""
    at, colour = inside(box), pick(rng, CLOTHES)
    x, y = at(0.5, 0.14)
    pen.ellipse(x, y, (box[2] - box[0]) * 0.5, (box[3] - box[1]) * 0.13, mix(colour, DARK, 0.2))
    pen.rectangle(*at(0.06, 0.16), *at(0.94, 0.95), colour)
    pen.rectangle(*at(0.22, 0.28), *at(0.78, 0.33), DARK)
    pen.rectangle(*at(0.0, 0.93), *at(1.0, 1.0), DARK)


def draw_lamp(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a lamp post with one or two lanterns."""
    at = inside(box)
    iron = mix(DARK, (70, 110, 96), float(rng.uniform(0, 0.6)))
    pen.line((at(0.5, 0.06), at(0.5, 0.98)), 4, iron)
    pen.polygon((at(0.4, 1.0), at(0.6, 1.0), at(0.56, 0.86), at(0.44, 0.86)), iron)
    for u in (0.16, 0.84):
        pen.line((at(0.5, 0.10), at(u, 0.07)), 2.5, iron)
        x, y = at(u, 0.11)
        pen.polygon(
            ((x - 5, y - 9), (x + 5, y - 9), (x + 7, y + 4), (x - 7, y + 4)), (255, 232, 168)
        )
        pen.polygon(((x - 7, y - 8), (x, y - 14), (x + 7, y - 8)), iron)


def draw_car(pen: Pen, box: Box, rng: np.random.Generator) -> None:
    """Draw a car from its side."""
    at, height = inside(box), box[3] - box[1]
    paint = pick(rng, (*CLOTHES, WHITE, (150, 158, 166), DARK))
    flip: Callable[[float], float] = (lambda u: 1 - u) if rng.random() < 0.5 else (lambda u: u)
    x, y = at(0.5, 0.97)
    pen.ellipse(x, y, (box[2] - box[0]) * 0.5, 4, (62, 64, 70))
    cabin = ((0.20, 0.46), (0.33, 0.02), (0.66, 0.02), (0.80, 0.46))
    body = ((0.01, 0.56), (0.04, 0.44), (0.80, 0.40), (0.97, 0.50), (1.0, 0.82), (0.01, 0.82))
    pen.polygon([at(flip(u), v) for u, v in cabin], paint)
    pen.polygon([at(flip(u), v) for u, v in body], paint)
    glass = (176, 202, 214)
    for pane in (
        ((0.26, 0.44), (0.36, 0.10), (0.48, 0.10), (0.48, 0.44)),
        ((0.51, 0.44), (0.51, 0.10), (0.64, 0.10), (0.75, 0.44)),
    ):
        pen.polygon([at(flip(u), v) for u, v in pane], glass)
    pen.rectangle(*at(0.01, 0.70), *at(1.0, 0.83), mix(paint, DARK, 0.25))
    pen.ellipse(*at(flip(0.97), 0.60), 3, 3, (255, 240, 190))
    for u in (0.22, 0.78):
        pen.ellipse(*at(u, 0.82), height * 0.19, height * 0.19, (36, 36, 40))
        pen.ellipse(*at(u, 0.82), height * 0.09, height * 0.09, (170, 172, 176))


# The street: where things stand, as shares of the image's height.

HOUSES_END, ROAD_BEGINS, ROAD_ENDS = 0.50, 0.60, 0.735


def draw_street(pen: Pen, rng: np.random.Generator) -> None:
    """Draw what never moves: sky, clouds, houses, pavements and road."""
    H, W = pen.size
    street, road, kerb = round(H * HOUSES_END), round(H * ROAD_BEGINS), round(H * ROAD_ENDS)
    top, bottom = SKIES[int(rng.integers(len(SKIES)))]
    pen.gradient(0, street, top, bottom)
    pen.ellipse(rng.uniform(0.1, 0.9) * W, H * 0.09, 20, 20, mix(bottom, (255, 244, 200), 0.8))
    for _ in range(max(3, W // 200)):
        x, y = rng.uniform(0, W), rng.uniform(0.03, 0.22) * H
        for _ in range(5):
            rx = rng.uniform(18, 36)
            pen.ellipse(
                x + rng.uniform(-40, 40), y + rng.uniform(-5, 5), rx, rx / 3, mix(top, WHITE, 0.7)
            )
    left = -int(rng.integers(0, 60))
    while left < W:
        right = left + int(rng.integers(96, 190))
        roof = round(street - rng.uniform(0.26, 0.42) * H)
        draw_house(pen, (left, roof, right, street), rng)
        left = right + (int(rng.integers(8, 40)) if rng.random() < 0.2 else 0)
    paving = mix((206, 200, 190), bottom, 0.15)
    pen.rectangle(0, street, W, road, mix(paving, DARK, 0.08))
    pen.rectangle(0, road - 4, W, road, mix(paving, WHITE, 0.35))
    pen.rectangle(0, road, W, kerb, (104, 106, 112))
    middle = (road + kerb) / 2
    for x in range(-int(rng.integers(0, 56)), W, 56):
        pen.rectangle(x, middle - 1.5, x + 30, middle + 1.5, (222, 216, 200))
    pen.rectangle(0, kerb, W, H, paving)
    pen.rectangle(0, kerb, W, kerb + 5, mix(paving, WHITE, 0.4))
    # The joints of the slabs run to a vanishing point, which gives the flat drawing its depth.
    joint = mix(paving, DARK, 0.14)
    for share in (0.12, 0.30, 0.56, 0.84):
        y = kerb + 5 + share * (H - kerb - 5)
        pen.line(((0, y), (W, y)), 1, joint)
    for x in range(-W, 2 * W, 72):
        far = W / 2 + (x - W / 2) * 0.8
        pen.line(((far, kerb + 5), (x, H)), 1, joint)
