"""Several batches in one pass give what each gives by itself."""

from __future__ import annotations

import pytest
import torch
from small_systems import NAMES, cscl, iron, nacl, skewed, small_encoder

from matgl_ssl.backends import CrystalBatch, collate
from matgl_ssl.encoders import Encoder, encode_jointly
from matgl_ssl.views import (
    DisplaceAtoms,
    DropEdges,
    HideEdges,
    MaskAtoms,
    PermuteNeighbours,
    Supercell,
    View,
    sample_generator,
)

PLAIN = (View(), Supercell(max_atoms=16), DisplaceAtoms(sigma=0.05), DropEdges(fraction=0.2))
MARKED = (MaskAtoms(fraction=0.5), HideEdges(fraction=0.3), PermuteNeighbours())


def shown(encoder: Encoder, view: View) -> CrystalBatch:
    """A view of some crystals; of others for other views, so that no two batches are alike."""
    build = encoder.graph_builder()
    crystals = [nacl(), cscl(), iron(), skewed()][: 2 + view.stream % 3]
    graphs = []
    for row, crystal in enumerate(crystals):
        rng = sample_generator(0, 0, row, view.stream)
        graphs.append(view.on_graph(build(view.on_crystal(crystal, rng)), rng))
    return collate(graphs).to("cpu", encoder.dtype)


def tensors(features) -> dict[str, torch.Tensor]:
    lists = {kind: getattr(features, kind) for kind in ("node", "edge", "state")}
    found = {f"{kind} {k}": x for kind, layers in lists.items() for k, x in enumerate(layers)}
    found |= {kind: getattr(features, kind) for kind in ("readout", "output", "forces", "stresses")}
    return {name: x for name, x in found.items() if x is not None}


def gradients(encoder: Encoder, found) -> dict[str, torch.Tensor]:
    encoder.zero_grad()
    sum(x.square().mean() for features in found for x in tensors(features).values()).backward()
    return {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("derivatives", [{}, {"forces": True}, {"stresses": True}], ids=["none", "forces", "stresses"])
@pytest.mark.parametrize(("name", "changes"), [("M3GNet", {"is_intensive": False}), *((name, {}) for name in NAMES)])
def test_features_and_gradients_are_those_of_separate_passes(name, changes, derivatives):
    encoder = small_encoder(name, **changes).double().train()
    views = PLAIN if derivatives else PLAIN + MARKED
    batches = [shown(encoder, view) for view in views]
    separate = [encoder(batch, **derivatives) for batch in batches]
    expected = gradients(encoder, separate)
    joint = encode_jointly(encoder, batches, **derivatives)
    assert len(joint) == len(views)
    for found, alone in zip(map(tensors, joint), map(tensors, separate), strict=True):
        assert found.keys() == alone.keys()
        for key, value in alone.items():
            torch.testing.assert_close(found[key], value, rtol=1e-8, atol=1e-10, msg=lambda m, key=key: f"{key}: {m}")
    together = gradients(encoder, joint)
    assert together.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(together[key], value, rtol=1e-7, atol=1e-9, msg=lambda m, key=key: f"{key}: {m}")


def test_one_batch_is_itself():
    encoder = small_encoder("MEGNet")
    batch = shown(encoder, MaskAtoms())
    (found,) = encode_jointly(encoder, [batch])
    assert torch.equal(found.output, encoder(batch).output)
