"""Several batches through an encoder in one pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from matgl_ssl.backends import EDGE_VECTOR, HIDDEN, MASK, CrystalBatch

from .encoder import Encoder, Features


def encode_jointly(encoder: Encoder, batches: Sequence[CrystalBatch], **options: bool) -> list[Features]:
    """Encode several batches as one: the same features up to rounding, with what a pass costs besides its size once.

    Args:
        encoder: The encoder.
        batches: At least one batch, without state labels of their own.
        **options: ``forces``, ``stresses`` and ``detached_readout`` of ``Encoder.forward``, for all of them.

    Returns:
        The features of each batch.
    """
    if len(batches) == 1:
        return [encoder(batches[0], **options)]
    batches = [batch.to(encoder.mask_token.device, encoder.dtype) for batch in batches]
    return _split(encoder(_joined(batches), **options), batches)


def _joined(batches: Sequence[CrystalBatch]) -> CrystalBatch:
    """One batch after the other, with what the encoder reads of the views' notes."""

    def cat(name: str) -> Tensor:
        return torch.cat([getattr(b, name) for b in batches])

    atoms = np.cumsum([0, *(len(b.node_type) for b in batches)])
    crystals = np.cumsum([0, *(len(b) for b in batches)])
    atom, edge = {}, {}
    if any(MASK in b.atom for b in batches):
        atom[MASK] = torch.cat([b.atom.get(MASK, torch.zeros_like(b.node_type, dtype=torch.bool)) for b in batches])
    if any(HIDDEN in b.edge for b in batches):
        hidden = [b.edge.get(HIDDEN, torch.zeros_like(b.edge_index[0], dtype=torch.bool)) for b in batches]
        edge[HIDDEN] = torch.cat(hidden)
    if any(EDGE_VECTOR in b.edge for b in batches):
        edge[EDGE_VECTOR] = torch.cat([b.edge_vectors() for b in batches])
    return CrystalBatch(
        node_type=cat("node_type"),
        frac_coords=cat("frac_coords"),
        lattice=cat("lattice"),
        edge_index=torch.cat([b.edge_index + int(first) for b, first in zip(batches, atoms, strict=False)], dim=1),
        pbc_offset=cat("pbc_offset"),
        batch=torch.cat([b.batch + int(first) for b, first in zip(batches, crystals, strict=False)]),
        n_atoms=cat("n_atoms"),
        n_edges=cat("n_edges"),
        atom=atom,
        edge=edge,
        labels={},
        ids=[i for b in batches for i in b.ids],
    )


def _split(features: Features, batches: Sequence[CrystalBatch]) -> list[Features]:
    sizes = {
        "node": [len(b.node_type) for b in batches],
        "edge": [b.edge_index.shape[1] for b in batches],
        "crystal": [len(b) for b in batches],
    }

    def parts(value: Any, kind: str) -> list[Any]:
        if value is None:
            return [None] * len(batches)
        if isinstance(value, list):
            return [list(layers) for layers in zip(*(parts(v, kind) for v in value), strict=True)]
        return list(value.split(sizes[kind]))

    kinds = {"node": "node", "edge": "edge", "forces": "node"}  # all else is of the crystals
    names = [f.name for f in dataclasses.fields(Features)]
    split = {name: parts(getattr(features, name), kinds.get(name, "crystal")) for name in names}
    return [Features(**{name: split[name][i] for name in names}) for i in range(len(batches))]
