"""What an encoder makes of crystals, for the map of a run's report."""

from __future__ import annotations

import numpy as np
import torch

from matgl_ssl.crystals.batching import consecutive_batches
from matgl_ssl.encoders import Encoder
from matgl_ssl.hub import evaluating

from .loader import ViewDataset

_BATCH = 64


@torch.no_grad()
def crystal_vectors(encoder: Encoder, graphs: ViewDataset, rows: np.ndarray) -> np.ndarray:
    """The mean of the last layer's node vectors over the atoms of each crystal, ``(len(rows), d)``.

    Args:
        encoder: The encoder, on the CPU.
        graphs: The crystals as they are.
        rows: Which of them.
    """
    found = []
    with evaluating(encoder):
        for part in consecutive_batches(graphs.crystals.select(rows), _BATCH, encoder.cutoff):
            batch = graphs.collate(graphs.__getitems__([(0, int(rows[row])) for row in part]))[0]
            found.append(batch.mean_over_atoms(encoder(batch).node[-1]).float().numpy())
    return np.concatenate(found) if found else np.zeros((0, 0))
