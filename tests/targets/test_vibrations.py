"""Vibrations against a dynamical matrix of their own, a strained energy, folded spectra and textbooks."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from ase.build import bulk
from ase.units import _amu, _c, _k, _Nav
from pymatgen.core import Element
from scipy.stats import spearmanr
from small_systems import cscl, iron, nacl, rattled, reordered, skewed, supercell

from matgl_ssl.crystals import Crystal
from matgl_ssl.crystals.readers import read_crystals
from matgl_ssl.targets import AtomVibrations, CrystalVibrations, VibrationalSpectrum, brillouin, vibrations
from matgl_ssl.targets.bonds import find_bonds
from matgl_ssl.targets.primitive import primitive_cell

ATOM, CRYSTAL = AtomVibrations(), CrystalVibrations()
PER_CM = np.sqrt(1 / _amu) / (2 * np.pi * _c * 100)  # of a mass of 1 u on a spring of 1 N/m


def springs(crystal: Crystal):
    """(i, j, cells between them, vector, stiffness in N/m) of every pair, one by one, by Gordy's rule."""
    bonds = find_bonds(crystal)
    pairs, x = bonds.pairs, [Element(symbol).X for symbol in crystal.symbols]
    for i, j, vector, order in zip(pairs.center, pairs.other, pairs.vector, bonds.order, strict=True):
        cells = np.round(vector @ np.linalg.inv(crystal.lattice) - crystal.frac_coords[j] + crystal.frac_coords[i])
        yield i, j, cells, vector, 167 * order * (x[i] * x[j] / (vector @ vector)) ** 0.75


def squared_frequencies(crystal: Crystal, points) -> np.ndarray:
    """N/m/u, ``(K, 3N)``."""
    n, mass = len(crystal), [Element(symbol).atomic_mass for symbol in crystal.symbols]
    found = []
    for q in points:
        matrix = np.zeros((n, 3, n, 3), complex)
        for i, j, cells, vector, stiffness in springs(crystal):
            unit = vector / np.linalg.norm(vector)
            block = stiffness * (0.9 * np.outer(unit, unit) + 0.1 * np.eye(3))
            matrix[i, :, i] += block / mass[i]
            matrix[i, :, j] -= block * np.exp(2j * np.pi * cells @ q) / np.sqrt(mass[i] * mass[j])
        found.append(np.linalg.eigvalsh(matrix.reshape(3 * n, 3 * n)))
    return np.array(found)


def on_mesh(n: int):
    return list(itertools.product(np.arange(n) / n, repeat=3))


@pytest.mark.parametrize("make", [cscl, iron, lambda: rattled(cscl(), 0.3, seed=6)])
def test_the_spectrum_is_that_of_the_dynamical_matrix(make, monkeypatch):
    crystal = make()
    cell, _ = primitive_cell(crystal)
    monkeypatch.setattr(brillouin, "_SPAN", 3 / np.linalg.norm(np.linalg.inv(cell.lattice), axis=0).min())
    frequencies = PER_CM * np.sqrt(np.maximum(squared_frequencies(cell, on_mesh(3)), 0))
    highest, rms, mean = CRYSTAL(crystal)[:3]
    assert [highest, mean] == pytest.approx([frequencies.max(), frequencies.mean()], rel=1e-5)
    assert rms == pytest.approx(np.sqrt((frequencies**2).mean()), rel=1e-5)


def test_deciles_are_those_of_all_frequencies(monkeypatch):
    crystal = rattled(cscl(), 0.3, seed=6)
    cell, _ = primitive_cell(crystal)
    monkeypatch.setattr(brillouin, "_SPAN", 3 / np.linalg.norm(np.linalg.inv(cell.lattice), axis=0).min())
    frequencies = PER_CM * np.sqrt(np.maximum(squared_frequencies(cell, on_mesh(3)), 0))
    every = np.quantile(frequencies, np.linspace(0.1, 1, 10), method="hazen")
    # Points of one weight, each with its inverse, have pairs of frequencies: a pair counts as one here.
    assert VibrationalSpectrum()(crystal) == pytest.approx(every, rel=0.02, abs=1)
    assert VibrationalSpectrum()(crystal)[-1] == pytest.approx(CRYSTAL(crystal)[0])


@pytest.mark.parametrize("make", [cscl, iron, lambda: rattled(cscl(), 0.3, seed=6)])
def test_moments_of_atoms_are_those_of_the_whole_zone(make):
    crystal = make()
    squared = PER_CM**2 * squared_frequencies(crystal, on_mesh(7))  # fine enough that no two images are confused
    atoms = ATOM(crystal)
    assert (atoms[:, 0] ** 2).mean() == pytest.approx(squared.mean(), rel=1e-5)
    assert (atoms[:, :2].prod(1) ** 2).mean() == pytest.approx((squared**2).mean(), rel=1e-5)
    assert CRYSTAL(crystal)[3] == pytest.approx(atoms[:, 0].min())


def test_heat_capacities_are_derivatives_of_the_oscillators_energies():
    crystal = rattled(nacl(), 0.1, seed=3)
    cell, _ = primitive_cell(crystal)
    wavenumbers, weights = vibrations._spectrum(cell)
    kelvin = 1.98644586e-23 * np.maximum(wavenumbers, 1e-3) / _k  # h c of 1/cm

    def energy(temperature: float) -> float:
        return float(3 * _k * _Nav * weights @ (kelvin / np.expm1(kelvin / temperature)).mean(1))

    for temperature, capacity in zip((100, 300), CRYSTAL(crystal)[4:6], strict=True):
        assert capacity == pytest.approx((energy(temperature + 0.1) - energy(temperature - 0.1)) / 0.2, rel=1e-5)


def test_bulk_modulus_is_the_second_derivative_of_the_energy():
    crystal = skewed()
    *_, vectors, stiffness = map(np.array, zip(*springs(crystal), strict=True))
    lengths = np.linalg.norm(vectors, axis=1)

    def energy(strain: float) -> float:
        return float((stiffness * (lengths * strain) ** 2).sum() / 4)  # half a spring, each seen from both ends

    h = 1e-3
    curvature = (energy(h) - 2 * energy(0.0) + energy(-h)) / h**2  # N/m Å²
    modulus, per_atom = CRYSTAL(crystal)[6:]
    assert 10**modulus == pytest.approx(10 * curvature / (9 * crystal.volume), rel=1e-6)
    assert np.exp(per_atom) == pytest.approx(stiffness.sum() / len(crystal))


def test_an_atom_on_a_cubic_site_is_held_alike_in_all_directions_and_a_heavy_one_is_slower():
    atoms = ATOM(cscl())
    assert atoms[:, 3] == pytest.approx(0, abs=1e-9)
    masses = [Element(symbol).atomic_mass for symbol in cscl().symbols]
    assert np.exp(atoms[:, 2]) / (atoms[:, 0] / PER_CM) ** 2 == pytest.approx(masses, rel=1e-5)
    assert (ATOM(skewed())[:, 3] < -0.1).any()


@pytest.mark.parametrize("make", [cscl, iron, lambda: rattled(skewed(), 0.1, seed=4)])
def test_a_supercell_vibrates_alike(make):
    crystal = make()
    assert CRYSTAL(supercell(crystal, (2, 1, 1))) == pytest.approx(CRYSTAL(crystal), rel=1e-6)


@pytest.mark.parametrize("make", [cscl, iron, lambda: rattled(skewed(), 0.1, seed=4)])
def test_vibrations_do_not_depend_on_orientation_origin_and_order(make):
    crystal = make()
    assert CRYSTAL(reordered(crystal)[0]) == pytest.approx(CRYSTAL(crystal), rel=1e-6)


# Highest (transverse) frequencies in 1/cm and bulk moduli in GPa, measured (Kittel; Madelung, Semiconductors).
TEXTBOOK = [
    ("C", "diamond", 3.567, 1332, 443), ("Si", "diamond", 5.431, 519, 99), ("Ge", "diamond", 5.658, 301, 77),
    ("GaAs", "zincblende", 5.653, 269, 75), ("SiC", "zincblende", 4.36, 796, 225), ("ZnS", "zincblende", 5.41, 276, 77),
    ("MgO", "rocksalt", 4.21, 401, 160), ("NaCl", "rocksalt", 5.64, 164, 24), ("LiF", "rocksalt", 4.03, 306, 67),
    ("KBr", "rocksalt", 6.6, 114, 15), ("Al", "fcc", 4.05, 323, 76), ("Cu", "fcc", 3.61, 247, 137),
    ("W", "bcc", 3.16, 230, 311), ("Na", "bcc", 4.29, 128, 6.8),
]  # fmt: skip


def test_frequencies_and_moduli_are_nearly_those_of_textbooks():
    crystals = read_crystals([bulk(formula, structure, a=a) for formula, structure, a, *_ in TEXTBOOK])
    found = np.array([CRYSTAL(crystal)[[0, 6]] for crystal in crystals])
    frequency, modulus = np.array([row[3:] for row in TEXTBOOK], dtype=float).T
    assert spearmanr(found[:, 0], frequency).statistic > 0.95
    assert np.abs(np.log(found[:, 0] / frequency)).max() < np.log(2)
    assert spearmanr(found[:, 1], modulus).statistic > 0.9
    assert np.abs(found[:, 1] - np.log10(modulus)).mean() < 0.25


def test_what_it_cannot_compute_is_missing():
    lone = Crystal(np.array([18]), np.zeros((1, 3)), 9 * np.eye(3))
    unknown = dataclasses.replace(cscl(), numbers=np.array([55, 118]))
    for crystal in (lone, unknown):
        assert np.isnan(CRYSTAL(crystal)).all()
        assert np.isnan(ATOM(crystal)).all()
    large = rattled(supercell(nacl(), (3, 2, 2)), 0.1, seed=2)
    assert np.isnan(CRYSTAL(large)).all()
    assert np.isfinite(ATOM(large)).all()
