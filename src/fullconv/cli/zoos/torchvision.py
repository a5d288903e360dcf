"""``torchvision:NAME``: the classifiers of torchvision."""

from __future__ import annotations

from typing import Any

from fullconv.cli.zoos.libraries import fetching, unknown
from fullconv.frameworks.described import with_metadata
from fullconv.preprocessing import Preprocessing


def build(torchvision: Any, named: str, name: str, trained: bool) -> Any:
    """Return a module of torchvision; see `fullconv.cli.zoos.build`."""
    models = torchvision.models
    listed = models.list_models(module=models)
    if name not in listed:
        raise unknown(named, name, "torchvision", listed)
    weights = models.get_model_weights(name).DEFAULT
    with fetching(named, weights.url):
        model = models.get_model(name, weights=weights if trained else None)
    transform = weights.transforms()
    (size,) = set(transform.crop_size)
    preprocessing = Preprocessing(1 / 255, tuple(transform.mean), tuple(transform.std))
    return with_metadata(model, (size, size), preprocessing, weights.meta["categories"])
