"""Latent prediction: the loss by hand, the teacher's weights, and a run that is resumed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import SMALL, cscl, nacl, rattled, skewed, small_encoder

from matgl_ssl.backends import MASK
from matgl_ssl.hub import load_model
from matgl_ssl.pretexts.latent_prediction import LatentPrediction, standardised
from matgl_ssl.testing import answer, view_batches
from matgl_ssl.training.pretrain import pretrain

NAMES = ("M3GNet", "MEGNet")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("distances", ["visible", "hidden"])
def test_it_is_the_loss_against_the_standardised_vectors_of_the_whole_crystals(name, distances):
    encoder = small_encoder(name)
    pretext = LatentPrediction(encoder, loss="mse", distances=distances)
    batch = view_batches(pretext, encoder, [nacl(), skewed()])
    output = answer(pretext, encoder, batch)
    masked = batch["masked"]
    seen = encoder(masked).node[-1].detach().numpy()
    mask = masked.atom.pop(MASK).numpy()
    masked.edge.clear()  # the teacher, whose weights are still the encoder's, sees everything
    whole = encoder(masked).node[-1].detach().numpy().astype(float)
    target = ((whole - whole.mean(0)) / np.sqrt(whole.var(0) + 1e-6))[mask]
    first, _, last = (layer for layer in pretext.predictor)
    hidden = seen[mask] @ first.weight.detach().numpy().T + first.bias.detach().numpy()
    hidden = hidden / (1 + np.exp(-hidden))
    predicted = hidden @ last.weight.detach().numpy().T + last.bias.detach().numpy()
    assert mask.sum() == 3 + 2  # int(0.3 N + 1) of 8 and of 6
    assert output.loss.item() == pytest.approx(float(((predicted - target) ** 2).mean()), rel=1e-3)
    assert output.metrics["baseline"].item() == pytest.approx(float((target**2).mean()), rel=1e-3)


def test_vectors_are_standardised_and_constant_ones_are_zero():
    found = standardised(torch.tensor([[1.0, 7.0], [3.0, 7.0]], dtype=torch.float64))
    np.testing.assert_allclose(found.numpy(), [[-1, 0], [1, 0]], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_teacher_follows_and_gets_no_gradient(name):
    encoder = small_encoder(name).train()
    pretext = LatentPrediction(encoder, momentum=0.75).train()
    before = [p.clone() for p in pretext.teacher.parameters()]
    for slow, fast in zip(before, encoder.parameters(), strict=True):
        assert torch.equal(slow, fast)
    answer(pretext, encoder, view_batches(pretext, encoder, [nacl(), cscl()])).loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in pretext.teacher.parameters())
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(4.0)
    pretext.after_step(encoder)
    for slow, old in zip(pretext.teacher.parameters(), before, strict=True):
        torch.testing.assert_close(slow, old + 1.0)  # a quarter of the way
    assert not pretext.teacher.training
    assert pretext.predictor.training


def test_vectors_that_draw_together_are_no_way_out():
    """Smaller differences between atoms are the same target."""
    vectors = torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(standardised(5 + 0.05 * vectors), standardised(vectors), rtol=1e-3, atol=1e-3)


def test_a_run_keeps_the_teacher_in_the_checkpoint_and_out_of_the_export(tmp_path):
    crystals = [rattled(crystal, 0.05, seed=i) for i in range(4) for crystal in (nacl(), cscl(), skewed())]
    options = {
        "data": crystals, "recipe": "jepa", "model": "MEGNet", "model_args": dict(SMALL["MEGNet"]), "batch_size": 4,
        "epochs": 2, "val_fraction": 0.25, "accelerator": "cpu",
    }  # fmt: skip
    result = pretrain(out=tmp_path / "run", **options)
    state = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    prefix = "mixture.pretexts.latent-prediction.teacher.model."
    teacher = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    exported = load_model(result.encoder).state_dict()
    assert teacher.keys() == exported.keys()
    assert any(not torch.equal(value, exported[name]) for name, value in teacher.items())
