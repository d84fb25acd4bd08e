"""Forests and kernels on descriptors of crystals: what a user would pick instead of a graph network."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from small_systems import from_spacegroup

from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import ModelError
from matgl_ssl.evaluation import anchors
from matgl_ssl.evaluation.baselines import DESCRIBED, descriptors, estimates, line
from matgl_ssl.testing.targets import CRYSTALS, DESCRIPTIONS

ROCK_SALT = from_spacegroup("Fm-3m", 4.2, ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def rock_salt(z: int, a: float) -> Crystal:
    numbers = np.where(ROCK_SALT.numbers == 12, z, 8)
    return dataclasses.replace(ROCK_SALT, numbers=numbers, lattice=np.eye(3) * a)


FOUNDATION = ("tabpfn", "tabicl")
ANCHORS = {"chgnet-vectors": "chgnet", "sevennet-vectors": "sevenn"}


@pytest.mark.parametrize("arm", [arm for arm in DESCRIBED if arm not in ("line", *ANCHORS, *FOUNDATION)])
def test_they_learn_from_crystals_of_which_not_all_is_known(arm):
    crystals = [rock_salt(z, a) for z in (2, 11, 12, 14, 17, 26, 55, 57) for a in np.linspace(4, 6, 8)]
    labels = np.array([crystal.lattice[0, 0] for crystal in crystals])
    describe, model = DESCRIBED[arm]
    vectors = np.stack([describe(crystal) for crystal in crystals])
    assert np.isnan(vectors[:8]).any()  # helium has no electronegativity

    predicted = model(0).fit(vectors[1::2], labels[1::2]).predict(vectors[::2])
    of_median = np.abs(np.median(labels[1::2]) - labels[::2]).mean()
    assert np.abs(predicted - labels[::2]).mean() < of_median / 2
    assert np.array_equal(predicted, model(0).fit(vectors[1::2], labels[1::2]).predict(vectors[::2]))


def test_targets_stand_behind_the_descriptors():
    both, alone = (DESCRIBED[name].describe(ROCK_SALT) for name in ("tabular-targets", "tabular"))
    np.testing.assert_array_equal(both[:42], descriptors(ROCK_SALT))
    np.testing.assert_array_equal(both[:42], alone)
    assert len(both) == 62


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_they_do_not_depend_on_how_a_crystal_is_described(name):
    for crystal in CRYSTALS.values():
        described, _ = DESCRIPTIONS[name](crystal)
        np.testing.assert_allclose(descriptors(described), descriptors(crystal), rtol=1e-6, atol=1e-6)


def test_a_line_goes_along_the_estimate_that_says_most():
    """Along the volume of an atom, say, with a label that is twice it, and columns of noise beside it."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=(40, len(estimates(ROCK_SALT))))
    labels = 2 * numbers[:, 7] + 1
    labels[3] = 1e3  # a line of least absolute error does not see it
    fitted = line(0).fit(numbers, labels)
    np.testing.assert_allclose(fitted.predict(numbers[4:]), labels[4:], atol=1e-6)
    assert fitted.best_params_ == {"one__kw_args": {"column": 7}}


@pytest.mark.pyg
@pytest.mark.parametrize("arm", ANCHORS)
def test_vectors_of_universal_potentials(arm):
    pytest.importorskip(ANCHORS[arm])
    describe, model = DESCRIBED[arm]
    crystals = [rock_salt(z, a) for z in (3, 11, 12, 20) for a in np.linspace(4, 5, 12)]
    vectors = np.stack([describe(crystal) for crystal in crystals])
    assert vectors.shape == (48, 64 if arm == "chgnet-vectors" else 128)
    labels = np.array([crystal.lattice[0, 0] for crystal in crystals])
    predicted = model(0).fit(vectors[1::2], labels[1::2]).predict(vectors[::2])
    assert np.abs(predicted - labels[::2]).mean() < np.abs(np.median(labels) - labels).mean() / 1.5
    lonely = dataclasses.replace(rock_salt(12, 60.0), frac_coords=ROCK_SALT.frac_coords)
    assert describe(lonely).shape == vectors[0].shape


@pytest.mark.parametrize("arm", ANCHORS)
def test_without_their_packages_they_say_what_to_install(arm, monkeypatch):
    for name in ("chgnet.model", "sevenn.calculator"):
        monkeypatch.setitem(sys.modules, name, None)
    anchors._chgnet.cache_clear()
    anchors._sevennet.cache_clear()
    with pytest.raises(ModelError, match=r"matgl_ssl\[anchors\]"):
        DESCRIBED[arm].describe(ROCK_SALT)
