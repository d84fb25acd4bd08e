"""Targets: from labels to what a model is trained on, and back through its last linear layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_systems import EXTENSIVE, NAMES, make_batch, small_encoder, small_model, some_crystals

from matgl_ssl.encoders import architecture_of
from matgl_ssl.errors import DataError
from matgl_ssl.training.target import Standardisation, transformed

COMPOSITIONS = np.random.default_rng(0).integers(0, 5, (30, 3)) + np.array([1.0, 0.0, 0.0])


def test_an_intensive_target_is_brought_to_mean_zero_and_spread_one():
    labels = np.array([1.0, 2.0, 4.0, 9.0])
    fitted = Standardisation.fit(labels)
    standard = fitted.to_model(torch.tensor(labels))
    assert float(standard.mean()) == pytest.approx(0.0)
    assert float(standard.std(correction=0)) == pytest.approx(1.0)
    assert fitted.references is None
    assert not fitted.per_atom


def test_an_extensive_target_is_fitted_by_element_and_its_rest_scaled_per_atom():
    offsets, rest = np.array([-3.0, 1.5, 0.25]), np.random.default_rng(1).normal(size=30)
    rest -= COMPOSITIONS @ np.linalg.lstsq(COMPOSITIONS, rest, rcond=None)[0]
    fitted = Standardisation.fit_extensive(COMPOSITIONS @ offsets + rest, COMPOSITIONS)
    np.testing.assert_allclose(fitted.references.numpy(), offsets)
    assert fitted.scale == pytest.approx(np.std(rest / COMPOSITIONS.sum(1)))
    assert fitted.shift == 0.0
    assert fitted.per_atom


def test_elements_that_no_training_crystal_has_get_no_reference():
    without = COMPOSITIONS * np.array([1.0, 0.0, 1.0])
    fitted = Standardisation.fit_extensive(without @ np.array([2.0, 99.0, -1.0]), without)
    np.testing.assert_allclose(fitted.references.numpy(), [2.0, 0.0, -1.0], atol=1e-10)


def test_a_kept_readout_is_scaled_by_what_its_references_leave():
    references = torch.tensor([-3.0, 1.5, 0.25], dtype=torch.float64)
    rest = 0.3 * np.random.default_rng(2).normal(size=30)
    labels = COMPOSITIONS @ references.numpy() + rest * COMPOSITIONS.sum(1)
    kept = Standardisation.keep_extensive(labels, COMPOSITIONS, references)
    assert kept.scale == 2.0 ** round(np.log2(np.std(rest)))
    assert kept.references is references
    assert Standardisation.keep_extensive(labels, COMPOSITIONS, None).scale > kept.scale


def test_equal_labels_do_not_divide_by_zero():
    assert Standardisation.fit(np.full(3, 2.5)).scale == 1.0
    assert Standardisation.keep(np.full(3, 2.5)).scale == 1.0
    assert Standardisation.fit_extensive(COMPOSITIONS @ np.ones(3), COMPOSITIONS).scale > 0


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("MEGNet", {}),
        *(("M3GNet", {"readout_type": r}) for r in ("set2set", "weighted_atom", "reduce_atom")),
        *((name, {}) for name in NAMES if name == "TensorNet"),
    ],
)
def test_folding_makes_the_model_speak_the_labels_unit(name, changes):
    encoder = small_encoder(name, **changes)
    batch = make_batch(encoder, some_crystals())
    with torch.no_grad():
        before = encoder(batch).output.double()
        Standardisation(scale=37.5, shift=-212.0).fold_into(encoder.model)
        after = encoder(batch).output.double()
    torch.testing.assert_close(after, 37.5 * before - 212.0, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", EXTENSIVE)
def test_folding_scales_a_sum_over_atoms(name):
    encoder = small_encoder(name, is_intensive=False)
    batch = make_batch(encoder, some_crystals())
    with torch.no_grad():
        before = encoder(batch).output.double()
        Standardisation(scale=0.37).fold_into(encoder.model)
        after = encoder(batch).output.double()
    torch.testing.assert_close(after, 0.37 * before, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_folding_back_and_forth_by_a_power_of_two_is_exact(name):
    model = small_model(name)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    kept = Standardisation.keep(np.array([1.0, 20.0, 3.0]))
    assert kept.scale == 8.0
    kept.unfold_from(model)
    last = architecture_of(model).last_linear(model).weight
    assert any(torch.equal(8 * last, value) for value in before.values() if value.shape == last.shape)
    kept.fold_into(model)
    assert all(torch.equal(value, before[k]) for k, value in model.state_dict().items())


def test_logarithms_are_of_positive_labels_only():
    np.testing.assert_allclose(transformed(np.array([1.0, 100.0]), "log10", ["a", "b"]), [0.0, 2.0])
    assert transformed(np.array([-1.0]), None, ["a"])[0] == -1.0
    with pytest.raises(DataError, match=r"2 are not: b \(0\), c \(-3\)"):
        transformed(np.array([1.0, 0.0, -3.0]), "log10", ["a", "b", "c"])
