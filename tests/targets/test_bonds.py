"""Bonds against sums written out, and against textbooks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.analysis.local_env import CovalentRadius
from pymatgen.core import Element
from scipy.stats import spearmanr
from small_systems import cscl, nacl, rattled, skewed

from matgl_ssl.crystals import Crystal
from matgl_ssl.crystals.readers import read_crystals
from matgl_ssl.targets import AtomBonds, CrystalBonds
from matgl_ssl.targets.bonds import _bonds_made, find_bonds
from matgl_ssl.targets.neighbours import cosine_cutoff

ATOM, CRYSTAL = AtomBonds(), CrystalBonds()


@pytest.mark.parametrize(
    ("symbols", "made"),
    [("H Li C N O F", [1, 1, 4, 3, 2, 1]), ("Mg Al Si S I", [2, 3, 4, 2, 1]), ("Ti Fe Zn La Xe", [4, 3, 2, 3, 6])],
)
def test_elements_make_as_many_bonds_as_textbooks_give_them(symbols, made):
    assert _bonds_made()[[Element(symbol).Z for symbol in symbols.split()]].tolist() == made


@pytest.mark.parametrize("make", [nacl, skewed, lambda: rattled(cscl(), 0.3, seed=6)])
def test_atoms_share_their_bonds_by_distance(make):
    crystal = make()
    bonds = find_bonds(crystal)
    pairs, radius = bonds.pairs, [CovalentRadius.radius[symbol] for symbol in crystal.symbols]
    valence = np.array(
        [
            np.exp((radius[i] + radius[j] - r) / 0.37) * cosine_cutoff(r, 6.0)
            for i, j, r in zip(pairs.center, pairs.other, pairs.distance, strict=True)
        ]
    )
    made = _bonds_made()[crystal.numbers]
    shares = [made[atom] * valence / valence[pairs.center == atom].sum() for atom in range(len(crystal))]
    expected = [
        np.sqrt(shares[i][pair] * shares[j][pair])
        for pair, (i, j) in enumerate(zip(pairs.center, pairs.other, strict=True))
    ]
    assert bonds.order == pytest.approx(expected)


def test_what_is_said_of_atoms_and_crystals_are_sums_over_bonds():
    crystal = rattled(skewed(), 0.1, seed=4)
    bonds = find_bonds(crystal)
    pairs, order = bonds.pairs, bonds.order
    x = np.array([Element(symbol).X for symbol in crystal.symbols])
    pull = x[pairs.other] - x[pairs.center]
    atoms, whole = ATOM(crystal), CRYSTAL(crystal)
    for atom in range(len(crystal)):
        own = pairs.center == atom
        charge = sum(np.sign(pull[own]) * order[own] * (1 - np.exp(-(pull[own] ** 2) / 4)))
        assert atoms[atom] == pytest.approx(
            [
                charge,
                (order * pull**2)[own].sum() / 2,
                np.log(order[own].sum() / _bonds_made()[crystal.numbers[atom]]),
                (order * pairs.distance)[own].sum() / order[own].sum(),
            ]
        )
    assert atoms[:, 0].sum() == pytest.approx(0, abs=1e-9)
    assert whole[0] == pytest.approx(-atoms[:, 1].mean())
    assert whole[1] == pytest.approx((order * (1 - np.exp(-(pull**2) / 4))).sum() / order.sum())
    assert whole[2:4] == pytest.approx([np.abs(atoms[:, 0]).mean(), np.sqrt((atoms[:, 2] ** 2).mean())])
    assert whole[4:] == pytest.approx([(order * pairs.distance).sum() / order.sum(), order.max()])


# Measured enthalpies of formation in eV per atom (CRC Handbook of Chemistry and Physics): formula, structure, a in Å.
TEXTBOOK = [
    ("NaCl", "rocksalt", 5.64, -2.13), ("KBr", "rocksalt", 6.60, -2.04), ("LiF", "rocksalt", 4.03, -3.19),
    ("MgO", "rocksalt", 4.21, -3.12), ("CaO", "rocksalt", 4.81, -3.29), ("AgBr", "rocksalt", 5.77, -0.52),
    ("CsCl", "cesiumchloride", 4.12, -2.30), ("CuCl", "zincblende", 5.41, -0.71), ("ZnS", "zincblende", 5.41, -1.07),
    ("GaAs", "zincblende", 5.65, -0.37), ("InSb", "zincblende", 6.48, -0.16), ("SiC", "zincblende", 4.36, -0.34),
    ("BN", "zincblende", 3.62, -1.32), ("CaF2", "fluorite", 5.46, -4.25), ("C", "diamond", 3.57, 0.02),
]  # fmt: skip


def test_energies_of_formation_are_nearly_those_of_textbooks():
    crystals = read_crystals([bulk(formula, structure, a=a) for formula, structure, a, _ in TEXTBOOK])
    measured = np.array([energy for *_, energy in TEXTBOOK])
    energies = np.array([CRYSTAL(crystal)[0] for crystal in crystals])
    assert spearmanr(energies, measured).statistic > 0.9
    assert np.abs(energies - measured).mean() < 0.35


def test_a_bond_of_diamond_is_single_and_not_ionic():
    (diamond,) = read_crystals([bulk("Si", "diamond", a=5.43)])
    whole = CRYSTAL(diamond)
    assert whole[:4] == pytest.approx(0, abs=1e-9)
    assert whole[5] == pytest.approx(1, abs=0.05)


def test_what_is_not_known_is_missing():
    lone = Crystal(np.array([18]), np.zeros((1, 3)), 9 * np.eye(3))
    unknown = dataclasses.replace(cscl(), numbers=np.array([55, 118]))
    for crystal in (lone, unknown):
        assert find_bonds(crystal) is None
        assert np.isnan(ATOM(crystal)).all()
        assert np.isnan(CRYSTAL(crystal)).all()
        assert ATOM(crystal).shape == (len(crystal), ATOM.size)
