"""Layers: where the gap is, how thick they are, and what lies on their faces."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice

from matgl_ssl.crystals import Crystal
from matgl_ssl.targets import slab
from matgl_ssl.targets.primitive import primitive_cell
from matgl_ssl.targets.slab import NAMES, find_layers
from matgl_ssl.testing.targets import CRYSTALS, in_cell


def named(crystal: Crystal) -> dict[str, float]:
    return dict(zip(NAMES, slab(crystal).tolist(), strict=True))


def graphene(c: float = 20.0) -> Crystal:
    lattice = np.array(Lattice.hexagonal(2.46, c).matrix)
    return Crystal(np.array([6, 6]), np.array([[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]]), lattice)


def molybdenite(layers: int) -> Crystal:
    """MoS2, one layer with vacuum or the crystal 2H with two layers, 3.16 and 12.29 Å."""
    z = 1.56
    below = np.array([[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.25 + z / 12.29], [2 / 3, 1 / 3, 0.25 - z / 12.29]])
    places = below if layers == 1 else np.vstack([below, 1 - below])
    numbers = np.tile([42, 16, 16], layers)
    return Crystal(numbers, places, np.array(Lattice.hexagonal(3.16, 12.29).matrix))


def test_graphene_in_vacuum():
    found = named(graphene())
    assert found["gap"] == pytest.approx(20.0)
    assert found["thickness"] == pytest.approx(0.0, abs=1e-9)
    area = 2.46**2 * np.sqrt(3) / 4
    assert found["area per atom"] == pytest.approx(area)
    assert found["mass per area"] == pytest.approx(0.762, abs=0.001)  # mg/m², as tables have it
    assert found["share of surface atoms"] == 1
    assert found["surface atoms per area"] == pytest.approx(1 / area)
    assert found["atomic number of surface atoms"] == 6


@pytest.mark.parametrize("c", [12.0, 30.0])
def test_the_vacuum_changes_its_own_width_alone(c):
    first, second = named(graphene(20.0)), named(graphene(c))
    assert second["gap"] == pytest.approx(c)
    assert {k: v for k, v in first.items() if "gap" not in k} == pytest.approx(
        {k: v for k, v in second.items() if "gap" not in k}, abs=1e-9
    )


@pytest.mark.parametrize("layers", [1, 2])
def test_molybdenites_layers_are_the_same_alone_and_in_the_crystal(layers):
    crystal = molybdenite(layers)
    assert find_layers(primitive_cell(crystal)[0]).n_layers == layers
    found = named(crystal)
    assert found["thickness"] == pytest.approx(3.12)
    assert found["gap"] == pytest.approx(12.29 / layers - 3.12)
    assert found["empty gap"] == pytest.approx(found["gap"] - 2 * 1.05)  # sulfur's radius
    assert found["atomic number of surface atoms"] == pytest.approx(16, abs=1.5)
    assert found["share of surface atoms"] == pytest.approx((2 + np.exp(-(1.56**2))) / 3)


def test_the_gap_is_found_across_a_tilted_cell():
    sheared = in_cell((1, 0, 1), (0, 1, 0), (0, 0, 1))(graphene())[0]
    np.testing.assert_allclose(slab(sheared), slab(graphene()), atol=1e-9)


def test_dense_crystals_have_their_widest_planes():
    assert named(CRYSTALS["fcc"])["gap"] == pytest.approx(3.61 / np.sqrt(3))
    assert named(CRYSTALS["rocksalt"])["gap"] == pytest.approx(5.64 / 2)
