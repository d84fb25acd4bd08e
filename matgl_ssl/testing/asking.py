"""Ask a pretext about crystals, as the loader and the mixture do."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from matgl_ssl.backends import CrystalBatch, collate
from matgl_ssl.crystals import Crystal
from matgl_ssl.encoders import Encoder
from matgl_ssl.pretexts import Pretext, PretextOutput
from matgl_ssl.views import View, sample_generator


def view_batch(encoder: Encoder, view: View, crystals: Iterable[Crystal], epoch: int = 0) -> CrystalBatch:
    """Crystals under a view, as the loader makes them."""
    build = encoder.graph_builder()
    graphs = []
    for row, crystal in enumerate(crystals):
        rng = sample_generator(0, 0 if view.static else epoch, row, view.stream)
        graphs.append(view.on_graph(build(view.on_crystal(crystal, rng)), rng))
    return collate(graphs)


def view_batches(
    pretext: Pretext, encoder: Encoder, crystals: Iterable[Crystal], epoch: int = 0
) -> dict[str, CrystalBatch]:
    """Crystals under each of a pretext's views."""
    return {name: view_batch(encoder, view, crystals, epoch) for name, view in pretext.views.items()}


def answer(pretext: Pretext, encoder: Encoder, batch: dict[str, CrystalBatch]) -> PretextOutput:
    """Encode what ``view_batches`` made, and ask the pretext."""
    features = {
        name: encoder(
            part,
            forces=name in pretext.forces,
            stresses=name in pretext.stresses,
            detached_readout=pretext.detached_readout,
        )
        for name, part in batch.items()
    }
    output: PretextOutput = pretext(features, batch)
    return output


def losses_while_learning(
    pretext: Pretext, encoder: Encoder, crystals: Iterable[Crystal], *, steps: int = 40, lr: float = 0.01
) -> list[float]:
    """Loss at each step of Adam on one fixed batch."""
    batch = view_batches(pretext, encoder.train(), crystals)
    optimizer = torch.optim.Adam([*encoder.parameters(), *pretext.parameters()], lr=lr)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = answer(pretext, encoder, batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
