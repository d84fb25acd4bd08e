"""Demo data: deterministic, distinct, usable, and labelled as it says."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.units import GPa

from matgl_ssl.crystals import check_dataset, demo_corpus, demo_task, read_crystals, write_demo
from matgl_ssl.crystals.demo import MAX_ATOMS, bulk_modulus
from matgl_ssl.errors import DataError


def digest(dataset) -> str:
    total = hashlib.sha256()
    for crystal in dataset:
        for array in (crystal.numbers, crystal.frac_coords, crystal.lattice):
            total.update(array.tobytes())
        total.update(
            repr(sorted((name, np.asarray(value).tolist()) for name, value in crystal.labels.items())).encode()
        )
    return total.hexdigest()


@pytest.fixture(scope="module")
def corpus():
    return demo_corpus(120)


@pytest.fixture(scope="module")
def task():
    return demo_task(30)


def test_equal_seeds_are_equal_and_others_are_not(corpus, task):
    assert digest(demo_corpus(120)) == digest(corpus)
    assert digest(demo_corpus(120, seed=1)) != digest(corpus)
    assert digest(demo_task(30)) == digest(task)
    assert digest(demo_task(30, seed=1)) != digest(task)


def test_a_smaller_demo_is_the_head_of_a_larger_one(corpus, task):
    assert digest(demo_corpus(20)) == digest(corpus.select(range(20)))
    assert digest(demo_task(5)) == digest(task.select(range(5)))


def test_corpus_is_usable_distinct_and_small(corpus):
    kept, _ = check_dataset(corpus, cutoff=4.0, policy="raise")
    assert len(kept) == 120
    assert max(map(len, corpus)) <= MAX_ATOMS
    assert len({(f, p) for f, p in zip(corpus.formulas(), corpus.column("prototype"), strict=True)}) > 110
    assert len(set(corpus.column("prototype"))) > 50
    volumes = np.array([crystal.volume / len(crystal) for crystal in corpus])
    assert 10 < np.median(volumes) < 30
    assert corpus.formulas() == corpus.column("formula").tolist()


def test_task_labels_are_those_of_emt(task):
    assert len(check_dataset(task, cutoff=4.0, policy="raise")[0]) == 30
    for crystal in task:
        atoms = crystal.to_atoms()
        atoms.calc = EMT()
        labels = crystal.labels
        assert 2 <= len(atoms) <= 16
        assert labels["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        assert labels["energy_per_atom"] == pytest.approx(labels["energy"] / len(atoms))
        np.testing.assert_allclose(labels["forces"], atoms.get_forces(), atol=1e-10)
        np.testing.assert_allclose(labels["stress"], atoms.get_stress(voigt=False), atol=1e-10)
        assert labels["bulk_modulus"] == pytest.approx(bulk_modulus(atoms), rel=1e-9)


def test_bulk_modulus_is_the_curvature_of_the_energy(task):
    atoms = task[0].to_atoms()
    energies = []
    for change in (-0.02, 0.0, 0.02):
        scaled = atoms.copy()
        scaled.set_cell(atoms.cell[:] * (1 + change) ** (1 / 3), scale_atoms=True)
        scaled.calc = EMT()
        energies.append(scaled.get_potential_energy())
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / (0.02**2 * atoms.get_volume())
    assert bulk_modulus(atoms) == pytest.approx(curvature / GPa, rel=0.1)


def test_too_many_are_refused(monkeypatch):
    monkeypatch.setattr("matgl_ssl.crystals.demo.POOLS", (("O",), ("Si",), ("Mg",)))
    with pytest.raises(DataError, match="ask for"):
        demo_corpus(400)


def test_files_are_written_once(tmp_path):
    paths = write_demo(tmp_path / "demo", n_corpus=6, n_task=4)
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["corpus.parquet", "task.parquet"]
    before = {name: path.stat().st_mtime_ns for name, path in paths.items()}
    assert write_demo(tmp_path / "demo", n_corpus=6, n_task=4) == paths
    assert {name: path.stat().st_mtime_ns for name, path in paths.items()} == before
    assert digest(read_crystals(paths["corpus"])) == digest(demo_corpus(6))
    assert digest(read_crystals(paths["task"])) == digest(demo_task(4))
    write_demo(tmp_path / "demo", n_corpus=7, n_task=4)
    assert len(read_crystals(paths["corpus"])) == 7
    assert paths["task"].stat().st_mtime_ns == before["task"]
