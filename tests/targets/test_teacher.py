"""A teacher labels crystals that have no labels; a student learns from them."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import sys
from types import SimpleNamespace

import matgl
import numpy as np
import pytest
import torch
from ase.calculators import emt
from ase.calculators.calculator import Calculator, all_changes
from matgl.ext.ase import PESCalculator
from small_systems import SMALL, cscl, nacl, rattled, skewed, small_model

from matgl_ssl.backends import Potential
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.errors import BackendError, ConfigError, DataError, ModelError
from matgl_ssl.hub import save_model
from matgl_ssl.targets import calculators
from matgl_ssl.targets import teacher as module
from matgl_ssl.targets.teacher import teacher_labels
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
    monkeypatch.setattr(module, "load_with_stamp", lambda *a, **k: pytest.fail("labelled again"))
    assert teacher_labels(crystals, saved)[0].labels["energy"] == first[0].labels["energy"]


def test_ids_are_part_of_what_is_labelled(saved):
    crystal = rattled(nacl(), 0.1, seed=11)
    for name in ("one", "other"):
        assert teacher_labels(table(dataclasses.replace(crystal, id=name)), saved).ids == [name]


def test_another_matgl_labels_anew(saved, monkeypatch):
    crystals = table(rattled(nacl(), 0.1, seed=12))
    teacher_labels(crystals, saved)
    monkeypatch.setattr(module, "MATGL_VERSION", "99.0")
    monkeypatch.setattr(module, "load_with_stamp", lambda *a, **k: pytest.fail("labelled anew"))
    with pytest.raises(pytest.fail.Exception, match="labelled anew"):
        teacher_labels(crystals, saved)


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
        save_model(other, tmp_path / name, kind="potential", readout="trained", unit="eV")
        (found,) = teacher_labels(crystals, tmp_path / name)
        np.testing.assert_allclose(found.labels["forces"], expected.labels["forces"], atol=1e-5)
        np.testing.assert_allclose(found.labels["stress"], expected.labels["stress"], atol=1e-6)


@pytest.mark.parametrize(
    "facts",
    [{"unit": "arbitrary, not eV"}, {"target": {"name": "total_magnetization", "unit": "uB", "transform": None}}],
)
def test_a_potential_of_another_unit_teaches_nothing(potential, tmp_path, facts):
    path = save_model(potential, tmp_path / "other", kind="potential", readout="trained", **facts)
    with pytest.raises(ModelError, match=r"(arbitrary, not eV|uB), and a teacher gives energies in eV"):
        teacher_labels(table(), path)


# --- ASE calculators

EMT = "ase.calculators.emt:EMT"


def copper(a: float = 3.6, id: str = "cu") -> Crystal:
    half = a / 2 * (np.ones((3, 3)) - np.eye(3))
    return rattled(Crystal(np.array([29, 79]), np.array([[0.0] * 3, [0.5, 0.5, 0.5]]), 1.6 * half, id=id), 0.1)


class NoStress(Calculator):
    """Energies and forces of springs to the origin; nothing about strain."""

    implemented_properties = ("energy", "forces")

    def __init__(self, stiffness: float = 1.0, broken: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.stiffness, self.broken = stiffness, broken

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if len(atoms) in self.broken:
            raise RuntimeError(f"{len(atoms)} atoms are too many")
        x = atoms.positions
        self.results = {"energy": self.stiffness * float((x**2).sum()) / 2, "forces": -self.stiffness * x}


@pytest.fixture
def springs(monkeypatch):
    """The calculator above under a name that can be imported."""
    monkeypatch.setitem(sys.modules, "spring_teacher", SimpleNamespace(NoStress=NoStress, __spec__=None))
    monkeypatch.setattr(calculators, "find_spec", lambda name: None)
    calculators._calculator.cache_clear()
    return "spring_teacher:NoStress"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_ase_calculator_teaches_in_ases_units_and_signs(num_workers):
    crystals = table(*(copper(3.4 + 0.05 * i, f"cu{i}") for i in range(17)))
    labelled = teacher_labels(crystals, EMT, arguments={"asap_cutoff": num_workers > 0}, num_workers=num_workers)
    assert labelled.ids == crystals.ids
    for crystal in labelled:
        atoms = crystal.to_atoms()
        atoms.calc = emt.EMT(asap_cutoff=num_workers > 0)
        assert crystal.labels["energy"] == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(crystal.labels["forces"], atoms.get_forces(), atol=1e-12)
        np.testing.assert_allclose(crystal.labels["stress"], atoms.get_stress(voigt=False), atol=1e-12)
    stretched = labelled[-1].labels
    assert np.trace(stretched["stress"]) > 0
    assert stretched["energy"] > labelled[6].labels["energy"]


def test_what_a_calculator_does_not_offer_is_missing_and_said_once(springs, caplog, tmp_path):
    crystals = table(nacl(), cscl())
    labelled = teacher_labels(crystals, springs, copies=1)
    assert labelled.ids == ["nacl", "nacl#1", "cscl", "cscl#1"]
    assert set(labelled.label_names) == {"energy", "forces"}
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        f"The teacher {springs} has no stress: these labels are missing."
    ]
    options = {"model": "MEGNet", "model_args": SMALL["MEGNet"], "teacher": springs, "accelerator": "cpu", "epochs": 1}
    with pytest.raises(DataError, match="stress"):
        pretrain(data=crystals, out=tmp_path / "refused", recipe="energy-force-stress", **options)
    pretexts = [{"name": "energy-force-stress", "arguments": {"stress_weight": 0}}]
    pretrain(data=crystals, out=tmp_path / "run", pretexts=pretexts, val_fraction=0.5, **options)
    with pytest.raises(ConfigError, match=f"only you may name: add --teacher {springs}"):
        pretrain(data=crystals, out=tmp_path / "run", resume=True)
    pretrain(data=crystals, out=tmp_path / "run", resume=True, teacher=springs)


def test_a_crystal_that_it_fails_on_is_left_out_and_counted(springs, caplog):
    crystals = table(nacl(), copper(), skewed())
    labelled = teacher_labels(crystals, springs, arguments={"broken": [8, 6]})
    assert labelled.ids == ["cu"]
    assert "fails on 2 of 3 crystals, first on nacl: RuntimeError: 8 atoms are too many." in caplog.text
    with pytest.raises(DataError, match="fails on all of 3 crystals"):
        teacher_labels(crystals, springs, arguments={"broken": [2, 6, 8]})


def test_arguments_and_versions_of_the_package_are_part_of_what_is_labelled(springs, monkeypatch, tmp_path):
    crystals = table(copper())
    energies = [
        teacher_labels(crystals, springs, arguments={"stiffness": k})[0].labels["energy"] for k in (1.0, 2.0, 1.0)
    ]
    assert energies == [energies[0], 2 * energies[0], energies[0]]
    before = calculators.identity(EMT, {})
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"1")
    files = [calculators.identity(EMT, {"model": str(weights)})]
    weights.write_bytes(b"2")
    assert calculators.identity(EMT, {"model": str(weights)}) not in files
    monkeypatch.setattr(calculators, "version", lambda package: "99")
    assert calculators.identity(EMT, {}) != before


@pytest.mark.parametrize(
    ("teacher", "arguments", "message"),
    [
        ("no_such_package_at_all.calculator:Best", {}, "No module named.*Is its package installed"),
        ("ase.calculators.mixing:SumCalculator", {"cals": 1}, "arguments {'cals': 1}: TypeError"),
        ("collections:OrderedDict", {}, "makes a OrderedDict, which is not an ASE calculator"),
    ],
)
def test_what_is_no_calculator_is_said(teacher, arguments, message):
    with pytest.raises(ModelError, match=message):
        teacher_labels(table(copper()), teacher, arguments=arguments)


def test_arguments_belong_to_calculators(saved):
    with pytest.raises(ConfigError, match="teacher_args are those of an ASE calculator"):
        teacher_labels(table(), saved, arguments={"device": "cpu"})


def test_a_folder_with_a_colon_in_its_name_is_no_code(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(saved, tmp_path / "os:system")
    assert len(teacher_labels(table(), "os:system")) == 3


def test_chgnet_teaches():
    pytest.importorskip("chgnet")
    (labelled,) = teacher_labels(table(cscl()), "chgnet.model.dynamics:CHGNetCalculator")
    assert np.isfinite(labelled.labels["forces"]).all()
    assert labelled.labels["energy"] == pytest.approx(-6.6, abs=1.0)
