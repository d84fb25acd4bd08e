"""Contrast: the vectors it compares, the views it makes, and every loss through it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import cscl, iron, nacl, rattled, skewed, small_encoder

from matgl_ssl.backends import HIDDEN, MASK, collate
from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import ConfigError, ModelError
from matgl_ssl.pretexts import Mixture, build_pretext
from matgl_ssl.pretexts.contrast import Contrast
from matgl_ssl.testing import answer, assert_two_processes_agree, losses_while_learning, view_batches
from matgl_ssl.views import Compose, DropEdges, HideEdges, MaskAtoms, Perturb, StrainLattice, Supercell

NAMES = ("M3GNet", "MEGNet")
LOSSES = ("cosine", "barlow-twins", "simsiam", "nt-xent", "vicreg")
CRYSTALS = [nacl(), cscl(), skewed(), rattled(skewed(), 0.1, seed=4), rattled(nacl(), 0.1, seed=5)]
TWINS = {
    "distance": 0.05, "min_distance": 0.0, "mask_atoms": 0.1, "drop_edges": 0.1, "projector": [6, 6, 6],
}  # fmt: skip
WEIGHTS = {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}


@pytest.mark.parametrize("name", NAMES)
def test_dssl_compares_the_mean_atom_vectors_of_two_perturbed_crystals(name):
    encoder = small_encoder(name)
    pretext = Contrast(encoder, loss="cosine", projector=())
    assert list(pretext.parameters()) == []
    assert pretext.views == {
        "first": Compose(views=(Perturb(distance=0.5, min_distance=0.1),)),
        "second": Compose(views=(Perturb(distance=0.5, min_distance=0.1),), draw=1),
    }
    batch = view_batches(pretext, encoder, CRYSTALS)
    means = []
    for part in batch.values():
        vectors = encoder(part).node[-1].detach().double().numpy()
        ends = np.cumsum(part.n_atoms.numpy())
        means.append([v.mean(0) for v in np.split(vectors, ends[:-1])])
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(*means, strict=True)]
    output = answer(pretext, encoder, batch)
    assert output.loss.item() == pytest.approx(np.mean(1 - np.array(cosines)), rel=1e-3, abs=1e-6)
    assert float(output.metrics["similarity"]) == pytest.approx(np.mean(cosines), abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_models_readout_may_make_the_vectors_and_is_trained(name):
    encoder = small_encoder(name)
    pretext = Contrast(encoder, loss="cosine", projector=(), vector="readout")
    assert pretext.trains_readout
    batch = view_batches(pretext, encoder, CRYSTALS)
    first, second = (encoder(part).readout.detach() for part in batch.values())
    output = answer(pretext, encoder, batch)
    expected = 1 - torch.cosine_similarity(first, second).mean()
    assert output.loss.item() == pytest.approx(float(expected), rel=1e-3, abs=1e-6)
    output.loss.backward()
    readout, head = encoder.architecture.readout_modules, encoder.architecture.head_modules
    grads = [p.grad for n, p in encoder.model.named_parameters() if n.split(".")[0] in set(readout) - set(head)]
    assert grads
    assert all(grad is not None for grad in grads)


def test_a_sum_over_atoms_has_no_readout_to_make_the_vectors():
    with pytest.raises(ModelError, match="sum over atoms"):
        Contrast(small_encoder("M3GNet", is_intensive=False), vector="readout")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NAMES)
def test_the_order_and_origin_of_the_atoms_do_not_matter(name, loss):
    encoder = small_encoder(name).double()
    pretext = Contrast(encoder, loss=loss, projector=(6, 6)).double()
    order = [4, 2, 0, 5, 1, 3]
    crystal = skewed()
    same = Crystal(crystal.numbers[order], crystal.frac_coords[order] + [0.3, -0.2, 0.1], crystal.lattice)

    def loss_of(crystals):
        # The views' draws depend on the order of the atoms: compare the crystals as they are, two different ones.
        batch = {n: view_batches(pretext, encoder, CRYSTALS)[n].to("cpu", torch.float64) for n in pretext.views}
        build = encoder.graph_builder()
        batch["first"] = collate([build(c) for c in crystals]).to("cpu", torch.float64)
        return answer(pretext, encoder, batch).loss.item()

    there, here = ([nacl(), cscl(), c, iron(), nacl()] for c in (same, crystal))
    assert loss_of(there) == pytest.approx(loss_of(here), rel=1e-4)


def test_all_that_is_asked_for_is_in_both_views():
    encoder = small_encoder("MEGNet")
    pretext = Contrast(
        encoder, distance=0.2, min_distance=0.0, mask_atoms=0.3, drop_edges=0.2, hide_edges=0.1, supercell_atoms=30
    )
    steps = (
        Supercell(max_atoms=30), Perturb(distance=0.2, min_distance=0.0), MaskAtoms(fraction=0.3, count="unbiased"),
        DropEdges(fraction=0.2), HideEdges(fraction=0.1),
    )  # fmt: skip
    assert [v.views for v in pretext.views.values()] == [steps, steps]
    batch = view_batches(pretext, encoder, CRYSTALS)
    for part in batch.values():
        assert part.atom[MASK].any()
        assert part.edge[HIDDEN].any()
    assert not torch.equal(batch["first"].n_atoms, batch["second"].n_atoms)
    assert torch.isfinite(answer(pretext, encoder, batch).loss)


def test_never_resampled_views_are_the_same_in_every_epoch():
    encoder = small_encoder("MEGNet")
    for resample, same in (("never", True), ("epoch", False)):
        pretext = Contrast(encoder, resample=resample)
        coords = [view_batches(pretext, encoder, CRYSTALS, epoch)["first"].frac_coords for epoch in (0, 1)]
        assert torch.equal(*coords) is same
        both = view_batches(pretext, encoder, CRYSTALS)
        assert not torch.equal(both["first"].frac_coords, both["second"].frac_coords)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_learned(name, loss):
    torch.manual_seed(0)
    encoder = small_encoder(name)
    pretext = Contrast(encoder, loss=loss, mask_atoms=0.2, drop_edges=0.1, projector=(8, 8))
    losses = losses_while_learning(pretext, encoder, CRYSTALS, steps=60)
    assert all(np.isfinite(losses))
    lowest = -1 if loss == "simsiam" else 0
    assert min(losses[-10:]) - lowest < 0.7 * (losses[0] - lowest)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NAMES)
def test_cells_of_one_atom_do_no_harm(name, loss):
    encoder = small_encoder(name)
    for mask_count in ("unbiased", "crystal-twins", "dssl"):
        pretext = Contrast(encoder, loss=loss, mask_atoms=0.1, mask_count=mask_count, drop_edges=0.1, hide_edges=0.2)
        for crystals in ([iron()], [iron(), iron()], [iron(), nacl()]):
            batch = view_batches(pretext, encoder, crystals)
            output = answer(pretext, encoder, batch)
            output.loss.backward()
            assert torch.isfinite(output.loss)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in encoder.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_perturbing_a_one_atom_cell_teaches_nothing(name):
    encoder = small_encoder(name)
    pretext = Contrast(encoder, loss="cosine", projector=())
    loss = answer(pretext, encoder, view_batches(pretext, encoder, [iron(), iron()])).loss
    assert loss.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize(
    "arguments",
    [
        {"loss": "cosine", "projector": []},
        {"loss": "barlow-twins", **TWINS, "normalise_rows": True},
        {"loss": "barlow-twins", **TWINS},
        {"loss": "simsiam", **TWINS},
        {"loss": "nt-xent", "mask_atoms": 0.2, "hide_edges": 0.2, "supercell_atoms": 20},
        {"loss": "nt-xent", "mask_atoms": 0.2, "denominator": "negatives"},
        {"loss": "vicreg", **TWINS},
    ],
    ids=str,
)
def test_two_processes(model, arguments, tmp_path):
    assert_two_processes_agree(model, {"contrast": arguments}, CRYSTALS, tmp_path)


def test_views_must_differ():
    with pytest.raises(ConfigError, match="two views that differ"):
        Contrast(small_encoder("MEGNet"), distance=0)


def test_further_views_by_name_and_the_weights_of_vicreg():
    encoder = small_encoder("MEGNet")
    options = {"distance": 0, "views": [{"strain-lattice": {"sigma": 0.03}}, "perturb"], "loss": "vicreg"}
    pretext = build_pretext("contrast", encoder, options)
    assert pretext.views["first"].views == (StrainLattice(sigma=0.03), Perturb())
    batch = view_batches(pretext, encoder, CRYSTALS)
    torch.manual_seed(0)
    parts = [
        Contrast(encoder, loss="vicreg", **{**dict.fromkeys(WEIGHTS, 0.0), name: weight})
        for name, weight in WEIGHTS.items()
    ]
    for part in parts:
        part.projector = pretext.projector
    whole = answer(pretext, encoder, batch).loss.item()
    assert sum(answer(part, encoder, batch).loss.item() for part in parts) == pytest.approx(whole)


def test_a_recipe_can_set_its_arguments():
    encoder = small_encoder("MEGNet")
    pretext = build_pretext("contrast", encoder, {"loss": "simsiam", **TWINS, "supercell_atoms": None})
    assert [p.out_features for p in pretext.projector if isinstance(p, torch.nn.Linear)] == [6, 6, 6]
    assert len(Mixture({"contrast": pretext}, {"contrast": 1.0}).views) == 2
