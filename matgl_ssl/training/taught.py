"""What pretraining taught the crystal vector, as lines for the stamp, fitted when training is over."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from matgl_ssl.backends import collate
from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.crystals.batching import consecutive_batches
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import evaluating
from matgl_ssl.hub.heads import KEY, fit_heads
from matgl_ssl.pretexts import Mixture
from matgl_ssl.pretexts.structure_targets import StructureTargets

_SAMPLE = 4096
"""Training crystals that the lines are fitted to, evenly spaced: some twenty for each number of a vector."""

_BATCH = 64


def taught_lines(encoder: Encoder, mixture: Mixture, crystals: CrystalDataset) -> dict[str, Any]:
    """The linear heads of what pretexts taught the readout's vector, for the stamp.

    Args:
        encoder: The pretrained encoder.
        mixture: Its pretexts, with the scales of their targets.
        crystals: Training crystals with the targets.

    Returns:
        ``{KEY: heads}``; nothing if no pretext taught computed targets to that vector.
    """
    taught = [p for p in mixture.pretexts.values() if isinstance(p, StructureTargets) and p.trains_readout]
    if not taught:
        return {}
    if len(crystals) > _SAMPLE:
        crystals = crystals.select(np.linspace(0, len(crystals) - 1, _SAMPLE).round().astype(int))
    crystals = crystals.select(np.random.default_rng(0).permutation(len(crystals)))
    columns = [pretext.standardised(crystals) for pretext in taught]
    names = [name for part, _ in columns for name in part]
    with threadpool_limits(1, user_api="blas"):  # the same bits on any number of cores
        heads = fit_heads(names, crystal_vectors(encoder, crystals), np.hstack([values for _, values in columns]))
    return {KEY: heads.as_json()}


@torch.no_grad()
def crystal_vectors(encoder: Encoder, crystals: CrystalDataset) -> np.ndarray:
    """The vectors that an encoder's readout makes of crystals at rest, ``(n, d)``, float64."""
    build = encoder.graph_builder()
    with evaluating(encoder):
        parts = [
            encoder(collate([build(crystal) for crystal in crystals.rows(rows)])).readout
            for rows in consecutive_batches(crystals, _BATCH, encoder.cutoff)
        ]
    return torch.cat(cast("list[torch.Tensor]", parts)).double().cpu().numpy()
