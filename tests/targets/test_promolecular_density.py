"""Promolecular densities: Slater's own numbers, electrons counted, and derivatives against differences."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pymatgen.core import Element
from small_systems import cscl, iron, skewed

from matgl_ssl.crystals import Crystal
from matgl_ssl.targets import PromolecularDensity
from matgl_ssl.targets.promolecular_density import _fading, free_atom, slater_shells
from matgl_ssl.testing.targets import CRYSTALS

TARGET = PromolecularDensity()
BOHR = 0.529177210903


@pytest.mark.parametrize(
    ("symbol", "charges"),  # what Slater's rules leave of the nucleus, shell by shell, worked out by hand
    [
        ("H", [1.0]),
        ("He", [1.7]),
        ("C", [5.7, 3.25]),  # 6 - 2 * 0.85 - 3 * 0.35
        ("Na", [10.7, 6.85, 2.2]),
        ("K", [18.7, 14.85, 7.75, 2.2]),
        ("Fe", [25.7, 21.85, 14.75, 6.25, 3.75]),  # those of his paper
        ("Ce", [57.7, 53.85, 46.75, 36.85, 30.25, 18.85, 12.0, 11.4, 3.0, 3.0]),
    ],
)
def test_screened_charges_are_those_of_slaters_rules(symbol, charges):
    _, effective, zeta = slater_shells(Element(symbol).Z).T
    np.testing.assert_allclose(effective * zeta * BOHR, charges, atol=1e-9)


def test_every_electron_of_every_element_is_there():
    r = np.geomspace(1e-6, 40, 4001)
    for number in range(1, 104):
        shells = slater_shells(number)
        assert shells[:, 0].sum() == number
        assert (shells[:, 2] > 0).all()
        if number % 7 == 1:
            density = free_atom(number, r)[0]
            assert np.trapezoid(4 * np.pi * r**2 * density, r) == pytest.approx(number, rel=1e-3)
    assert slater_shells(104).shape == (0, 3)


def test_hydrogen_is_exact():
    r = np.array([0.3, 0.74, 2.0])
    exact = np.exp(-2 * r / BOHR) / (np.pi * BOHR**3)
    np.testing.assert_allclose(free_atom(1, r), [exact, -2 / BOHR * exact, (2 / BOHR) ** 2 * exact], rtol=1e-9)


@pytest.mark.parametrize("function", [lambda r: free_atom(26, r), _fading], ids=["iron", "fading"])
def test_derivatives_are_those_of_the_function(function):
    r, h = np.array([0.5, 1.9, 5.0, 6.3, 7.0, 7.9, 8.5]), 1e-4
    middle, below, above = function(r), function(r - h), function(r + h)
    scale = np.maximum(np.abs(middle), 1e-3)
    assert (np.abs((above[0] - below[0]) / (2 * h) - middle[1]) / scale[1]).max() < 1e-4
    assert (np.abs((above[0] + below[0] - 2 * middle[0]) / h**2 - middle[2]) / scale[2]).max() < 1e-4


def density_at(crystal: Crystal, point: np.ndarray, apart_from: int) -> float:
    """The sum over all atoms but one, image by image."""
    total = 0.0
    for image in itertools.product(range(-3, 4), repeat=3):
        for i, (number, x) in enumerate(zip(crystal.numbers, crystal.frac_coords, strict=True)):
            r = np.linalg.norm((x + image) @ crystal.lattice - point)
            if (i != apart_from or any(image)) and r < 8:
                total += free_atom(int(number), np.array([r]))[0, 0] * _fading(np.array([r]))[0, 0]
    return total


@pytest.mark.parametrize("crystal", [skewed(), cscl()], ids=["skewed", "cscl"])
def test_it_is_the_density_of_all_others_and_its_derivatives(crystal):
    at, h, atom = crystal.frac_coords[1] @ crystal.lattice, 2e-3, 1
    steps = h * np.eye(3)
    value = density_at(crystal, at, atom)
    gradient = np.array([density_at(crystal, at + s, atom) - density_at(crystal, at - s, atom) for s in steps]) / (
        2 * h
    )
    hessian = np.zeros((3, 3))
    for i, j in itertools.product(range(3), repeat=2):
        for a, b in itertools.product((1, -1), repeat=2):
            hessian[i, j] += a * b * density_at(crystal, at + a * steps[i] + b * steps[j], atom) / (4 * h**2)
    rest = hessian - np.trace(hessian) / 3 * np.eye(3)
    expected = [np.log(value), *(np.array([np.linalg.norm(gradient), np.trace(hessian), np.linalg.norm(rest)]) / value)]
    np.testing.assert_allclose(TARGET(crystal)[1], expected, rtol=2e-3, atol=2e-3)


def test_symmetry_takes_gradient_and_quadrupole_away():
    for kind in ("bcc", "fcc", "rocksalt"):
        np.testing.assert_allclose(TARGET(CRYSTALS[kind])[:, [1, 3]], 0, atol=1e-9)
    assert (TARGET(CRYSTALS["hcp"])[:, 3] > 0.1).all()


def test_it_grows_when_a_crystal_is_compressed():
    values = [TARGET(Crystal(iron().numbers, iron().frac_coords, s * iron().lattice))[0, 0] for s in (1.1, 1.0, 0.9)]
    assert values == sorted(values)


def test_what_is_not_known_is_missing_beside_it_alone():
    """An element without shells takes the density from atoms that see it, and no others."""
    lone = Crystal(np.array([2]), np.zeros((1, 3)), 7.5 * np.eye(3))
    assert np.isnan(TARGET(lone)).all()  # helium sees hardly anything
    far = Crystal(np.array([26, 26, 110]), np.array([[0, 0, 0], [0, 0, 0.1], [0, 0, 0.5]]), np.diag([20.0, 20.0, 24.0]))
    found = TARGET(far)
    assert np.isnan(found[2]).all()
    assert np.isfinite(found[:2]).all()
