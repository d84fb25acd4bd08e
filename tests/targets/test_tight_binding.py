"""Tight binding against Slater and Koster's table, closed forms, folded bands, and the gaps of textbooks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ase.build import bulk
from scipy.stats import spearmanr
from small_systems import cscl, iron, nacl, rattled, reordered, skewed, supercell

from matgl_ssl.crystals import Crystal
from matgl_ssl.crystals.readers import read_crystals
from matgl_ssl.targets import AtomTightBinding, CrystalTightBinding, tight_binding

CRYSTAL, ATOM = CrystalTightBinding(), AtomTightBinding()
S, X, Y, Z, XY, YZ, ZX, X2Y2, Z2 = range(9)


def molecule(length: float, *numbers: int) -> Crystal:
    """Two atoms in a large box."""
    return Crystal(np.array(numbers), np.array([[0.0, 0, 0], [0, 0, length / 20]]), 20 * np.eye(3))


def slater_koster(l: float, m: float, n: float) -> dict[tuple[int, int], tuple[float, ...]]:  # noqa: E741
    """Factors of the σ, π (and δ) couplings, from the table of J. C. Slater and G. F. Koster, Phys. Rev. 94, 1498."""
    r3 = np.sqrt(3)
    return {
        (S, S): (1,),
        (S, X): (l,),
        (X, X): (l * l, 1 - l * l),
        (X, Y): (l * m, -l * m),
        (S, XY): (r3 * l * m,),
        (S, X2Y2): (r3 / 2 * (l * l - m * m),),
        (S, Z2): (n * n - (l * l + m * m) / 2,),
        (X, XY): (r3 * l * l * m, m * (1 - 2 * l * l)),
        (X, YZ): (r3 * l * m * n, -2 * l * m * n),
        (X, X2Y2): (r3 / 2 * l * (l * l - m * m), l * (1 - l * l + m * m)),
        (Z, Z2): (n * (n * n - (l * l + m * m) / 2), r3 * n * (l * l + m * m)),
        (XY, XY): (3 * l * l * m * m, l * l + m * m - 4 * l * l * m * m),
        (XY, YZ): (3 * l * m * m * n, l * n * (1 - 4 * m * m)),
        (X2Y2, X2Y2): (0.75 * (l * l - m * m) ** 2, l * l + m * m - (l * l - m * m) ** 2),
        (Z2, Z2): ((n * n - (l * l + m * m) / 2) ** 2, 3 * n * n * (l * l + m * m)),
    }


def test_couplings_are_those_of_slater_and_koster():
    direction = np.array([[0.48, -0.6, 0.64]])
    distance, first, second = 2.3, 0.9, 1.3
    (block,) = tight_binding._hoppings(direction, np.array([distance]), (np.array([first]), np.array([second])))
    ll, ld = 7.62 / distance**2, 7.62 * second**1.5 / distance**3.5
    dd = 7.62 * (first * second) ** 1.5 / distance**5
    harrison = {
        "ss": (ll, [-1.40]), "sp": (ll, [1.84]), "pp": (ll, [3.24, -0.81]),
        "sd": (ld, [-3.16]), "pd": (ld, [-2.95, 1.36]), "dd": (dd, [-16.2, 8.75]),
    }  # fmt: skip
    kind = "sppp" + 5 * "d"
    for (one, other), factors in slater_koster(*direction[0]).items():
        scale, couplings = harrison[kind[one] + kind[other]]
        assert block[one, other] == pytest.approx(scale * np.dot(factors, couplings)), (one, other)


def test_a_hydrogen_molecule_has_a_bond_and_an_antibond():
    coupling = 1.40 * 7.62 / 0.65**2
    gap, gain, *_ = CRYSTAL(molecule(0.65, 1, 1))
    assert gap == pytest.approx(2 * coupling)
    assert gain == pytest.approx(-coupling)
    atoms = ATOM(molecule(0.65, 1, 1))
    assert atoms[:, 0] == pytest.approx(0)
    assert atoms[:, 1] == pytest.approx(-coupling)


def test_atoms_far_apart_gain_nothing():
    gap, gain, *_ = CRYSTAL(molecule(3.0, 6, 6))
    assert gap == 0
    assert gain == pytest.approx(0, abs=1e-3)  # half full p levels, smeared


@pytest.mark.parametrize("make", [cscl, nacl, iron, lambda: rattled(skewed(), 0.1, seed=4)])
def test_a_supercell_has_the_same_bands_folded(make):
    crystal = make()
    doubled = supercell(crystal, (2, 1, 1))
    assert CRYSTAL(doubled) == pytest.approx(CRYSTAL(crystal), abs=1e-9)
    assert np.sort(ATOM(doubled), axis=0)[::2] == pytest.approx(np.sort(ATOM(crystal), axis=0), abs=1e-9)


@pytest.mark.parametrize("make", [cscl, iron, lambda: rattled(skewed(), 0.1, seed=4)])
def test_bands_do_not_depend_on_orientation_origin_and_order(make):
    crystal = make()
    changed, order = reordered(crystal)
    assert CRYSTAL(changed) == pytest.approx(CRYSTAL(crystal), abs=1e-8)
    assert ATOM(changed) == pytest.approx(ATOM(crystal)[order], abs=1e-8)


def test_atoms_add_up_to_the_crystal():
    crystal = rattled(skewed(), 0.1, seed=4)
    atoms, whole = ATOM(crystal), CRYSTAL(crystal)
    assert atoms[:, 0].sum() == pytest.approx(0, abs=1e-6)
    assert atoms[:, 1].mean() == pytest.approx(whole[1])
    assert atoms[:, 2].mean() == pytest.approx(whole[4])


# Measured gaps in eV of crystals of textbooks (Kittel; Ashcroft and Mermin), 0 of metals: formula, structure, a in Å.
TEXTBOOK = [
    ("C", "diamond", 3.567, 5.5), ("Si", "diamond", 5.431, 1.1), ("Ge", "diamond", 5.658, 0.7),
    ("BN", "zincblende", 3.616, 6.2), ("SiC", "zincblende", 4.36, 2.4), ("AlP", "zincblende", 5.46, 2.5),
    ("GaAs", "zincblende", 5.653, 1.4), ("ZnS", "zincblende", 5.41, 3.7), ("CdTe", "zincblende", 6.48, 1.5),
    ("InSb", "zincblende", 6.48, 0.2), ("MgO", "rocksalt", 4.21, 7.8), ("LiF", "rocksalt", 4.03, 13.6),
    ("NaCl", "rocksalt", 5.64, 8.8), ("KBr", "rocksalt", 6.6, 7.4), ("CaO", "rocksalt", 4.81, 7.0),
    ("PbTe", "rocksalt", 6.46, 0.3), ("TiN", "rocksalt", 4.24, 0), ("TiC", "rocksalt", 4.33, 0),
    ("CsCl", "cesiumchloride", 4.12, 8.3), ("CuZn", "cesiumchloride", 2.95, 0), ("NiAl", "cesiumchloride", 2.89, 0),
    ("CaF2", "fluorite", 5.46, 12.0), ("Al", "fcc", 4.05, 0), ("Cu", "fcc", 3.61, 0), ("Ag", "fcc", 4.09, 0),
    ("Ni", "fcc", 3.52, 0), ("Pt", "fcc", 3.92, 0), ("Na", "bcc", 4.29, 0), ("Fe", "bcc", 2.87, 0),
    ("W", "bcc", 3.16, 0), ("Mg", "hcp", 3.21, 0), ("Ti", "hcp", 2.95, 0), ("Zn", "hcp", 2.66, 0),
]  # fmt: skip


def test_insulators_and_metals_are_those_of_textbooks():
    crystals = read_crystals([bulk(formula, structure, a=a) for formula, structure, a, _ in TEXTBOOK])
    measured = np.array([gap for *_, gap in TEXTBOOK])
    gaps = np.array([CRYSTAL(crystal)[0] for crystal in crystals])
    assert ((gaps > 0.1) == (measured > 0)).all()
    assert spearmanr(gaps, measured).statistic > 0.85


def test_what_it_cannot_compute_is_missing():
    large = rattled(supercell(nacl(), (3, 2, 2)), 0.1, seed=2)
    for crystal in (dataclasses.replace(cscl(), numbers=np.array([55, 94])), large):
        assert np.isnan(CRYSTAL(crystal)).all()
        assert ATOM(crystal).shape == (len(crystal), 4)
        assert np.isnan(ATOM(crystal)).all()


def test_every_element_up_to_uranium_has_electrons_that_fit_its_orbitals():
    for number in range(1, 93):
        atom = tight_binding._atom(number)
        assert 0 < atom.electrons <= 2 * atom.has.sum()
    assert all(tight_binding._atom(number) is None for number in range(93, 119))
