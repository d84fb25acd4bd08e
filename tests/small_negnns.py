"""NEGNNs small enough for every test."""

from __future__ import annotations

from typing import Any

import torch
from small_systems import make_batch, small_model, some_crystals
from torch import nn

from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import model_output
from matgl_ssl.models import build_negnn

CUTOFF = 4.5


def plain(name: str, *, seed: int = 0, **changes: Any) -> nn.Module:
    arguments = {"cutoff": CUTOFF, **({"threebody_cutoff": CUTOFF} if name == "M3GNet" else {}), **changes}
    return small_model(name, seed=seed, **arguments)


def small_negnn(name: str = "M3GNet", encoder: str = "M3GNet", *, seed: int = 1, changes=None, **options):
    torch.manual_seed(seed)
    return build_negnn(plain(name, seed=seed, **(changes or {})), plain(encoder), **options).eval()


def output_of(model, crystals=None):
    return model_output(model, make_batch(Encoder(model), crystals or some_crystals()))


def weights_of(module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())
