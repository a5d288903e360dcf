"""Small whole numbers for the weights, the same for every framework that builds a network."""

from __future__ import annotations

from math import prod
from zlib import crc32

import numpy as np

from networks.specs import Network


class Weights:
    """Numbers for one place in a network, drawn from its seed and the name of the place."""

    def __init__(self, seed: int, place: str = "") -> None:
        self.seed = seed
        self.place = place

    def at(self, name: object) -> Weights:
        """Return the numbers of a place inside this one."""
        return Weights(self.seed, f"{self.place}/{name}")

    def filters(self, name: str, *shape: int) -> np.ndarray:
        """Return filters of -1, 0 and 1; those of one or two numbers have no zeros.

        Else so many channels would be dead that a network gave all windows the same scores.
        """
        return self.pick(name, (-1, 1) if prod(shape[1:]) < 3 else (-1, 0, 1), *shape)

    def pick(self, name: str, values: tuple[float, ...], *shape: int) -> np.ndarray:
        """Return an array of this shape with the values at random, as float32."""
        source = np.random.default_rng([self.seed, crc32(f"{self.place}/{name}".encode())])
        return source.choice(np.array(values, np.float32), size=shape)


def pixels(network: Network, count: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """Return images ``(count, C, H, W)`` of pixels 0 to 3, in the network's number format."""
    source = np.random.default_rng([network.seed, seed])
    images = source.integers(0, 4, (count, network.channels, *size))
    return images.astype(np.float64 if network.double else np.float32)
