"""A teacher labels crystals that have no labels; a student learns from them."""

from __future__ import annotations

import csv
import dataclasses
import json

import matgl
import numpy as np
import pytest
import torch
from matgl.ext.ase import PESCalculator
from small_systems import SMALL, cscl, nacl, rattled, skewed, small_model

from matgl_ssl.backends import Potential
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.errors import BackendError, ConfigError, ModelError
from matgl_ssl.hub import save_model
from matgl_ssl.inference import teacher as module
from matgl_ssl.inference.teacher import teacher_labels
from matgl_ssl.training.pretrain import pretrain

ARGUMENTS = {**SMALL["M3GNet"], "is_intensive": False}


@pytest.fixture(scope="module")
def potential():
    offsets = np.linspace(-3, 2, len(SMALL["M3GNet"]["element_types"]))
    return Potential(small_model("M3GNet", is_intensive=False), element_refs=offsets).eval()


@pytest.fixture(scope="module")
def saved(potential, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "potential"
    return save_model(potential, path, kind="potential", readout="trained", unit="eV")


def table(*crystals: Crystal) -> CrystalDataset:
    return CrystalDataset.from_crystals(crystals or (nacl(), cscl(), skewed()))


def test_labels_are_what_the_potential_says_through_ase(saved, potential):
    for crystal in teacher_labels(table(), saved):
        atoms = crystal.to_atoms()
        atoms.calc = PESCalculator(potential, stress_unit="eV/A3")
        assert crystal.labels["energy"] == pytest.approx(float(atoms.get_potential_energy()), abs=1e-4)
        assert np.abs(crystal.labels["forces"] - atoms.get_forces()).max() < 1e-4
        assert np.abs(crystal.labels["stress"] - atoms.get_stress(voigt=False)).max() < 1e-5


def test_copies_are_displaced_and_strained(saved):
    crystals = table(*(rattled(skewed(), 0.02, seed=i) for i in range(20)))
    labelled = teacher_labels(crystals, saved, copies=3, sigma=0.2, strain=0.05)
    assert len(labelled) == 80
    assert sorted({i.partition("#")[2] for i in labelled.ids}) == ["", "1", "2", "3"]
    rest = [c for c in labelled if "#" not in c.id]
    assert all(np.array_equal(a.frac_coords, b.frac_coords) for a, b in zip(rest, crystals, strict=True))
    moves, strains = [], []
    for copy in (c for c in labelled if "#" in c.id):
        strains.append(np.linalg.inv(skewed().lattice) @ copy.lattice - np.eye(3))
    for copy, crystal in zip((c for c in labelled if c.id.endswith("#1")), crystals, strict=False):
        moves.append((copy.frac_coords - crystal.frac_coords) @ copy.lattice)
    assert np.std(np.diagonal(strains, axis1=1, axis2=2)) == pytest.approx(0.05, rel=0.3)
    assert np.abs(np.array(strains) - np.swapaxes(strains, 1, 2)).max() < 1e-9
    assert np.std(moves) == pytest.approx(0.2, rel=0.15)
    again = teacher_labels(crystals, saved, copies=3, sigma=0.2, strain=0.05, seed=1)
    assert not np.array_equal(again[-1].lattice, labelled[-1].lattice)


def test_the_same_crystals_are_labelled_once(saved, monkeypatch):
    crystals = table(rattled(nacl(), 0.1, seed=9))
    first = teacher_labels(crystals, saved)
    monkeypatch.setattr(module, "load_model", lambda *a, **k: pytest.fail("labelled again"))
    assert teacher_labels(crystals, saved)[0].labels["energy"] == first[0].labels["energy"]


def test_labelling_draws_nothing_from_the_run(saved):
    torch.manual_seed(3)
    teacher_labels(table(rattled(nacl(), 0.1, seed=10)), saved)
    drawn = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(2), drawn)


def test_what_the_teacher_does_not_know_is_left_out(saved, caplog):
    gold = Crystal(np.array([79]), np.zeros((1, 3)), 2.9 * np.eye(3), id="gold")
    assert teacher_labels(table(nacl(), gold), saved).ids == ["nacl"]
    assert "1 of 2 crystals are left out" in caplog.text


def test_only_a_potential_teaches(tmp_path):
    path = save_model(small_model("MEGNet"), tmp_path / "model", kind="model", readout="trained")
    with pytest.raises(ModelError, match="not a potential"):
        teacher_labels(table(), path)


@pytest.mark.parametrize("name", ["M3GNet", "MEGNet"])
def test_a_student_learns_from_it(name, saved, tmp_path):
    crystals = [dataclasses.replace((skewed(), cscl(), nacl())[i % 3], id=f"c{i}") for i in range(9)]
    result = pretrain(
        data=crystals, model=name, model_args=SMALL[name], recipe="energy-force-stress", teacher=str(saved),
        teacher_copies=2, out=tmp_path / "run", epochs=1, batch_size=8, val_fraction=0.2, accelerator="cpu",
    )  # fmt: skip
    with (tmp_path / "run" / "metrics.csv").open() as lines:
        last = list(csv.DictReader(lines))[-1]
    assert float(last["val_energy-force-stress/forces_mae"]) > 0
    assert (result.potential is not None) == (name == "M3GNet")
    if result.potential:
        assert isinstance(matgl.load_model(result.potential), Potential)


def test_a_recipe_without_labels_needs_no_teacher(saved, tmp_path):
    with pytest.raises(ConfigError, match="leave out --teacher"):
        pretrain(data=[nacl(), cscl()], model="MEGNet", recipe="masked-atoms", teacher=str(saved), out=tmp_path / "run")


@pytest.mark.data
@pytest.mark.dgl
def test_the_legacy_potential_teaches_in_the_dgl_backend(data_dir):
    half = 5.64 / 2
    salt = Crystal(
        np.array([11, 17]), np.array([[0.0] * 3, [0.5] * 3]), half * (np.ones((3, 3)) - np.eye(3)), id="salt"
    )
    path = next((data_dir / "legacy_models").glob("*MatPES*"))
    (labelled,) = teacher_labels(table(salt), path, trained_with="dgl")
    assert labelled.labels["energy"] == pytest.approx(-6.74, abs=0.05)
    assert np.abs(labelled.labels["forces"]).max() < 1e-3


@pytest.mark.data
@pytest.mark.pyg
def test_the_legacy_potential_is_refused_in_the_default_backend(data_dir):
    path = next((data_dir / "legacy_models").glob("*MatPES*"))
    with pytest.raises(BackendError):
        teacher_labels(table(), path, trained_with="dgl")


def test_a_potential_without_stresses_or_in_debug_mode_teaches_as_any(potential, tmp_path):
    """MatGL's training of energies and forces saves one that leaves stresses out."""
    quiet = Potential(potential.model, element_refs=potential.element_refs.property_offset.numpy(), calc_stresses=False)
    odd = Potential(potential.model, element_refs=potential.element_refs.property_offset.numpy(), debug_mode=True)
    crystals = table(rattled(skewed(), 0.05, seed=3))
    whole = save_model(potential, tmp_path / "whole", kind="potential", readout="trained", unit="eV")
    (expected,) = teacher_labels(crystals, whole)
    for name, other in (("quiet", quiet), ("odd", odd)):
        other.save(tmp_path / name, metadata=json.loads((whole / "model.json").read_text())["metadata"])
        (found,) = teacher_labels(crystals, tmp_path / name)
        np.testing.assert_allclose(found.labels["forces"], expected.labels["forces"], atol=1e-5)
        np.testing.assert_allclose(found.labels["stress"], expected.labels["stress"], atol=1e-6)
