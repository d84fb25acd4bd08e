"""Duplicates: found in whatever cell, origin, orientation, order and under whatever name; and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from small_systems import ROTATION, from_spacegroup, rattled

from matgl_ssl.crystals import Crystal, CrystalDataset, demo_corpus, read_crystals
from matgl_ssl.crystals.duplicates import find_duplicates, mean_distances


def rewritten(crystal: Crystal, seed: int, *, noise: float = 1e-4) -> Crystal:
    """The same crystal in another cell of up to three times the size, elsewhere, turned, and under another name."""
    rng = np.random.default_rng(seed)
    while not 1 <= abs(np.linalg.det(matrix := rng.integers(-1, 3, (3, 3)))) <= 3.5:
        pass
    structure = crystal.to_structure().make_supercell(matrix, in_place=False)
    order = rng.permutation(len(structure))
    coords = structure.frac_coords[order] + rng.random(3) + rng.integers(-1, 2, (len(order), 3))
    moved = Crystal(
        np.array(structure.atomic_numbers)[order], coords, structure.lattice.matrix @ ROTATION, id=f"x{seed}"
    )
    return rattled(moved, noise, seed)


@pytest.fixture(scope="module")
def corpus() -> list[Crystal]:
    return list(demo_corpus(40, seed=3))


def test_the_same_crystal_written_otherwise(corpus):
    copies = [rewritten(crystal, seed) for seed, crystal in enumerate(corpus)]
    table = CrystalDataset.from_crystals([*corpus, *copies, *corpus[:3]])
    expected = [-1] * len(corpus) + list(range(len(corpus))) + [0, 1, 2]
    assert find_duplicates(table).tolist() == expected


def test_mean_distances_are_those_of_every_cell(corpus):
    for seed, crystal in enumerate(corpus):
        np.testing.assert_allclose(
            mean_distances(crystal), mean_distances(rewritten(crystal, seed, noise=0)), atol=1e-4
        )


@pytest.mark.parametrize(
    "other",
    [
        lambda c: rattled(c, 0.1, 1),
        lambda c: Crystal(c.numbers, c.frac_coords, 1.02 * c.lattice),
        lambda c: Crystal(c.numbers, c.frac_coords, c.lattice @ np.diag([1.02, 1, 1 / 1.02])),
    ],
    ids=["rattled", "expanded", "sheared"],
)
def test_other_geometries_are_other_crystals(corpus, other):
    table = CrystalDataset.from_crystals([*corpus, *map(other, corpus)])
    distorted = np.array([len(crystal) > 1 for crystal in corpus])
    found = find_duplicates(table)[len(corpus) :]
    assert (found[distorted] == -1).all()


def test_polymorphs_and_exchanged_elements_are_others():
    fcc, cubic = [[0, 0, 0], [0.5, 0.5, 0.5]], [[0, 0, 0]]
    rock_salt = from_spacegroup("Fm-3m", 5.6, ["Na", "Cl"], fcc)
    blende = from_spacegroup("F-43m", 5.6, ["Na", "Cl"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    full = from_spacegroup("Fm-3m", 6.0, ["Fe", "Si", "Na"], [[0.25, 0.25, 0.25], [0, 0, 0], [0.5, 0.5, 0.5]])
    inverse = Crystal(full.numbers[::-1], full.frac_coords, full.lattice)
    iron, silicon = (from_spacegroup("Pm-3m", 2.8, [name], cubic) for name in ("Fe", "Si"))
    table = CrystalDataset.from_crystals([rock_salt, blende, full, inverse, iron, silicon, rewritten(blende, 1)])
    assert find_duplicates(table).tolist() == [-1, -1, -1, -1, -1, -1, 1]


def test_superstructures_are_not_averaged_out():
    """One chain of atoms dimerises and one does not: pymatgen's own tolerance of 0.25 Å takes both for the parent."""
    chain = from_spacegroup("Pm-3m", 3.0, ["Si"], [[0, 0, 0]])
    double = Crystal(np.array([14, 14]), np.array([[0.0, 0, 0], [0.5, 0, 0]]), np.diag([6.0, 3, 3]))
    dimers = Crystal(double.numbers, np.array([[0.01, 0, 0], [0.49, 0, 0]]), double.lattice)
    table = CrystalDataset.from_crystals([chain, double, dimers])
    assert find_duplicates(table).tolist() == [-1, 0, -1]


def test_several_tables_and_processes(corpus):
    """Rows are numbered through, so that what a second file shares with a first is told from what it repeats itself."""
    first = CrystalDataset.from_crystals(corpus[:20])
    second = CrystalDataset.from_crystals([rewritten(corpus[4], 1), corpus[30], rewritten(corpus[30], 2)])
    alone = find_duplicates(first, second)
    assert alone[20:].tolist() == [4, -1, 21]
    assert find_duplicates(first, second, n_jobs=2).tolist() == alone.tolist()


def test_tolerance(corpus):
    table = CrystalDataset.from_crystals([corpus[5], rattled(corpus[5], 0.02, 3)])
    assert find_duplicates(table).tolist() == [-1, -1]
    assert find_duplicates(table, tolerance=0.1).tolist() == [-1, 0]


def test_none_of_none():
    assert find_duplicates().tolist() == []


@pytest.mark.data
def test_real_crystals(data_dir):
    crystals = read_crystals(data_dir / "mp37k" / "val.parquet", columns=[]).select(range(0, 3700, 37))
    copies = [rewritten(crystal, seed) for seed, crystal in enumerate(crystals)]
    found = find_duplicates(crystals, CrystalDataset.from_crystals(copies))
    assert found.tolist() == [-1] * 100 + list(range(100))
