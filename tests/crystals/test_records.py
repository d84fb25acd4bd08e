"""Records: conversions both ways, and what they refuse."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from pymatgen.core import Lattice, Structure

from matgl_ssl.crystals import Crystal
from matgl_ssl.errors import BadStructureError


def test_structure_and_back_is_exact(quartz):
    crystal = Crystal.from_structure(quartz, id="q", labels={"gap": 1.0})
    again = crystal.to_structure()
    assert (crystal.id, crystal.labels, crystal.formula) == ("q", {"gap": 1.0}, "SiO2")
    np.testing.assert_array_equal(again.frac_coords, quartz.frac_coords)
    np.testing.assert_array_equal(again.lattice.matrix, quartz.lattice.matrix)
    assert again.species == quartz.species
    np.testing.assert_allclose(crystal.cart_coords, quartz.cart_coords, atol=1e-12)
    assert crystal.volume == pytest.approx(quartz.volume)


def test_atoms_and_back(quartz):
    crystal = Crystal.from_structure(quartz)
    again = Crystal.from_atoms(crystal.to_atoms())
    np.testing.assert_allclose(again.frac_coords, crystal.frac_coords, atol=1e-12)
    np.testing.assert_array_equal(again.numbers, crystal.numbers)


def test_conversions_leave_their_input_alone(quartz):
    before = quartz.copy()
    crystal = Crystal.from_structure(quartz)
    crystal.frac_coords[:] = 0
    crystal.lattice[:] = 0
    assert quartz == before
    atoms = bulk("Cu")
    Crystal.from_atoms(atoms).lattice[:] = 0
    assert atoms.cell.volume > 1


def test_oxidation_states_are_left_behind(nacl):
    nacl.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    assert set(Crystal.from_structure(nacl).numbers) == {11, 17}


@pytest.mark.parametrize(
    "species", [{"Fe2+": 0.5, "Fe3+": 0.5}, {"Fe": 0.9999}, {"Fe": 1 - 1e-8}, {"H": 0.3, "D": 0.7}, "D", "Fe3+"]
)
def test_a_site_of_one_element_is_ordered(species):
    crystal = Crystal.from_structure(Structure(Lattice.cubic(3), [species, "O"], [[0] * 3, [0.5] * 3]))
    assert crystal.numbers.tolist() in ([26, 8], [1, 8])


def test_atoms_far_from_the_cell_are_brought_back(quartz):
    crystal = Crystal.from_structure(quartz)
    assert crystal.wrapped() is crystal
    shifts = np.arange(3 * len(crystal)).reshape(-1, 3) * 1000.0
    far = Crystal(crystal.numbers, crystal.frac_coords + shifts, crystal.lattice, id="q", labels={"gap": 1.0})
    difference = far.wrapped().frac_coords - crystal.frac_coords
    np.testing.assert_allclose(difference, np.round(difference), atol=1e-9)
    assert np.abs(far.wrapped().frac_coords).max() <= 9
    near = Crystal(crystal.numbers, crystal.frac_coords - 3, crystal.lattice)
    assert near.wrapped() is near
    assert (far.wrapped().id, far.wrapped().labels) == ("q", {"gap": 1.0})


@pytest.mark.parametrize(
    ("structure", "words"),
    [
        (Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]]), "disordered"),
        (Structure(Lattice.cubic(3), ["X1+"], [[0, 0, 0]]), "X"),
        (Structure(Lattice.cubic(3), [{"Fe": 0.9}], [[0, 0, 0]]), "disordered"),
        (Structure(Lattice.cubic(3), [{"Fe2+": 0.5, "Fe3+": 0.4}], [[0, 0, 0]]), "disordered"),
        (Structure(Lattice([[3, 0, 0], [0, 3, 0], [0, 0, 9]], pbc=(True, True, False)), ["Fe"], [[0] * 3]), "vacuum"),
    ],
)
def test_structures_that_are_refused(structure, words):
    with pytest.raises(BadStructureError, match=words):
        Crystal.from_structure(structure)


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (molecule("H2O"), "periodic"),
        (Atoms("Cu", cell=[3, 3, 3], pbc=[True, True, False]), "vacuum"),
        (Atoms("Cu", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=True), "volume"),
    ],
)
def test_atoms_that_are_refused(atoms, words):
    with pytest.raises(BadStructureError, match=words):
        Crystal.from_atoms(atoms)


def test_the_room_knows_no_graph_library():
    code = "import sys, matgl_ssl.crystals; print({'matgl', 'torch_geometric', 'dgl'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
