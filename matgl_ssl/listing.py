"""What there is to choose from: pretexts, recipes, encoders."""

from __future__ import annotations

from torch import random

from matgl_ssl.encoders import ARCHITECTURES, Encoder
from matgl_ssl.hub import new_model
from matgl_ssl.pretexts import registry
from matgl_ssl.recipes import list_recipes

__all__ = ["list_encoders", "list_pretexts", "list_recipes"]


def list_pretexts() -> dict[str, str]:
    """Names and one-line descriptions of the pretexts of all installed packages."""
    return {name: pretext.summary for name, pretext in registry.list_pretexts().items()}


def list_encoders() -> dict[str, str]:
    """Names and one-line descriptions, with MatGL's defaults, of the architectures that can be pretrained."""
    described = {}
    for name, architecture in ARCHITECTURES.items():
        with random.fork_rng(devices=[]):
            encoder = Encoder(new_model(name))
        output = "intensive or energy" if architecture.energy_arguments else "intensive"
        n_weights = sum(p.numel() for p in encoder.model.parameters())
        described[name] = (
            f"cutoff {encoder.cutoff:g} Å, layers 0 to {encoder.n_layers}, {encoder.node_dim} numbers an atom, "
            f"{n_weights / 1e3:.0f}k weights, {len(encoder.element_types)} elements, output {output}"
        )
    return described
