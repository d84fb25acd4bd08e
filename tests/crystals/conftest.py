"""Crystals that the tests share."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from matgl_ssl.crystals import Crystal


@pytest.fixture
def nacl() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.6402), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def quartz() -> Structure:
    """A low-symmetry, skewed stand-in with coordinates that no format can shorten."""
    rng = np.random.default_rng(3)
    lattice = Lattice([[4.9, 0.1, 0.0], [-2.3, 4.3, 0.2], [0.3, 0.1, 5.4]])
    grid = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)])[:6] / 2
    return Structure(lattice, ["Si", "Si", "O", "O", "O", "O"], grid + rng.uniform(0.0, 0.1, (6, 3)))


@pytest.fixture
def crystals(nacl, quartz) -> list[Crystal]:
    """Five crystals with scalar, text and array labels, some of them missing."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(5):
        structure = (nacl, quartz)[index % 2].copy()
        structure.translate_sites(range(len(structure)), rng.random(3), to_unit_cell=False)
        labels = {
            "band_gap": None if index == 2 else float(index),
            "spacegroup": index,
            "phase": None if index == 3 else f"phase{index}",
            "forces": rng.normal(size=(len(structure), 3)),
            "stress": rng.normal(size=(3, 3)),
            "spectrum": None if index == 1 else rng.normal(size=index),
        }
        made.append(Crystal.from_structure(structure, id=f"c-{index}", labels=labels))
    return made


@pytest.fixture
def assert_same():
    """A function that compares two records, labels included."""
    return _assert_same


def _assert_same(first: Crystal, second: Crystal, *, tolerance: float = 0.0, labels: bool = True) -> None:
    np.testing.assert_array_equal(first.numbers, second.numbers)
    np.testing.assert_allclose(first.frac_coords, second.frac_coords, rtol=0, atol=tolerance)
    np.testing.assert_allclose(first.lattice, second.lattice, rtol=0, atol=tolerance)
    if labels:
        assert first.id == second.id
        assert set(first.labels) == set(second.labels)
        for name, value in first.labels.items():
            np.testing.assert_array_equal(value, second.labels[name], err_msg=name)


@pytest.fixture(scope="module")
def salts() -> list[Structure]:
    """Four rock salts: NaCl, LiF, KBr, MgO."""
    pairs = [("Na", "Cl", 5.64), ("Li", "F", 4.03), ("K", "Br", 6.6), ("Mg", "O", 4.21)]
    return [
        Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [x, y], [[0, 0, 0], [0.5, 0.5, 0.5]]) for x, y, a in pairs
    ]
