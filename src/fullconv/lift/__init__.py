"""Lifting: from one window's network to all windows' network, one rule per operation."""

from fullconv.lift import (  # noqa: F401
    convolution,
    linear,
    merging,
    normalization,
    padding,
    pointwise,
    pooling,
    reduction,
    shape,
    upsampling,
)
from fullconv.lift.cost import products
from fullconv.lift.halo import halo
from fullconv.lift.registry import supported
from fullconv.lift.stride import network_stride
from fullconv.lift.walk import Lifted, lift

__all__ = ["Lifted", "halo", "lift", "network_stride", "products", "supported"]
