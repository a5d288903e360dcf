"""``timm:NAME``: PyTorch Image Models."""

from __future__ import annotations

from typing import Any

from fullconv.cli.zoos.libraries import fetching, unknown
from fullconv.errors import ModelError
from fullconv.frameworks.described import with_metadata
from fullconv.preprocessing import Preprocessing


def build(timm: Any, named: str, name: str, trained: bool) -> Any:
    """Return a module of timm, given as ``NAME`` or ``NAME.TAG``; see `fullconv.cli.zoos.build`."""
    from fullconv.frameworks.torch.folder import imagenet_classes

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown(named, architecture, "timm", timm.list_models())
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise unknown(named, name, "timm", [f"{architecture}.{one}" for one in tags])
    if trained and not tags:
        raise ModelError(
            f"{named}: timm has no trained weights of this model; give a state dict with --weights."
        )
    config = timm.get_pretrained_cfg(name)
    source = config.hf_hub_id and f"https://huggingface.co/{config.hf_hub_id}"
    with fetching(named, source or config.url):
        model = timm.create_model(name, pretrained=trained)
    _, height, width = config.input_size
    preprocessing = Preprocessing(1 / 255, tuple(config.mean), tuple(config.std))
    return with_metadata(model, (height, width), preprocessing, imagenet_classes(timm, model))
