"""Energies, forces and stresses: units, signs, references, and what a crystal lacks."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from matgl.ext.ase import PESCalculator
from small_systems import cscl, make_batch, nacl, rattled, skewed, small_encoder

from matgl_ssl.backends import GPA, CrystalBatch, Potential
from matgl_ssl.crystals import Crystal, CrystalDataset, read_crystals
from matgl_ssl.encoders import Encoder
from matgl_ssl.errors import ConfigError, DataError
from matgl_ssl.pretexts import Mixture, build_pretext
from matgl_ssl.pretexts.energy_force_stress import EnergyForceStress
from matgl_ssl.testing import assert_two_processes_agree

MODELS = {"M3GNet": {"is_intensive": False}, "MEGNet": {}}


@cache
def labelled() -> tuple[Crystal, ...]:
    """Numbers drawn at random, one crystal without forces and one without stress."""
    rng = np.random.default_rng(0)
    crystals = []
    for crystal in (nacl(), cscl(), skewed(), rattled(skewed(), 0.1, seed=4)):
        forces, stress = rng.normal(size=(len(crystal), 3)), rng.normal(size=(3, 3)) / GPA
        labels = {"energy": float(rng.normal(-3.0 * len(crystal))), "forces": forces, "stress": stress}
        crystals.append(dataclasses.replace(crystal, labels=labels))
    crystals[1] = dataclasses.replace(crystals[1], labels={**crystals[1].labels, "stress": None})
    crystals[2] = dataclasses.replace(crystals[2], labels={**crystals[2].labels, "forces": None})
    return tuple(crystals)


def scored(encoder: Encoder, pretext: EnergyForceStress, crystals) -> tuple[CrystalBatch, object, object]:
    batch = make_batch(encoder, crystals)
    view = pretext.views["crystal"]
    mixture = Mixture({"efs": pretext}, {"efs": 1.0})
    encoder.train()
    _, outputs, features = mixture(encoder, [batch])
    assert mixture.views == (view,)
    return batch, features, outputs["efs"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("energy", ["per-atom", "total"])
def test_the_loss_is_the_weighted_mean_of_what_is_there(name, energy):
    encoder = small_encoder(name, **MODELS[name])
    pretext = EnergyForceStress(encoder, energy=energy, energy_weight=2.0, force_weight=3.0, stress_weight=0.5)
    crystals = labelled()
    pretext.prepare(CrystalDataset.from_crystals(crystals))
    _, features, output = scored(encoder, pretext, crystals)
    scale = float(pretext.scale)
    references = pretext.references.numpy()
    energies, forces, stresses = [], [], []
    start = 0
    for i, crystal in enumerate(crystals):
        n = len(crystal)
        value = scale * float(features.output[i].detach()) * (1 if name == "M3GNet" else n)
        value += sum(references[encoder.element_types.index(s)] for s in crystal.symbols)
        energies.append(abs(value - crystal.labels["energy"]) / (n if energy == "per-atom" else 1))
        if crystal.labels["forces"] is not None:
            predicted = scale * features.forces[start : start + n].detach().numpy()
            forces.extend(np.abs(predicted - crystal.labels["forces"]).ravel())
        if crystal.labels["stress"] is not None:
            predicted = scale * features.stresses[i].detach().numpy()
            stresses.extend(np.abs(predicted - 160.21766208 * crystal.labels["stress"]).ravel())
        start += n
    expected = 2 * np.mean(energies) + 3 * np.mean(forces) + 0.5 * np.mean(stresses)
    assert float(output.loss) == pytest.approx(expected, rel=2e-5)
    per_atom = np.mean(energies) if energy == "per-atom" else np.mean(
        [e / len(c) for e, c in zip(energies, crystals, strict=True)]
    )  # fmt: skip
    assert float(output.metrics["energy_mae"]) == pytest.approx(per_atom, rel=2e-5)
    assert float(output.metrics["stress_mae"]) == pytest.approx(np.mean(stresses), rel=2e-5)


def test_a_potential_agrees_with_what_it_says_through_ase():
    """Labels as ASE gives them (eV, eV/Å, eV/Å³, positive under tension) are the model's own, signs and units too."""
    encoder = small_encoder("M3GNet", is_intensive=False)
    crystals = []
    for crystal in (nacl(), skewed()):
        atoms = crystal.to_atoms()
        atoms.calc = PESCalculator(Potential(encoder.model), stress_unit="eV/A3")
        labels = {
            "energy": float(atoms.get_potential_energy()),
            "forces": np.array(atoms.get_forces(), dtype=float),
            "stress": np.array(atoms.get_stress(voigt=False), dtype=float),
        }
        assert np.abs(labels["stress"]).max() > 1e-4
        crystals.append(dataclasses.replace(crystal, labels=labels))
    pretext = EnergyForceStress(encoder, element_references=False)
    _, _, output = scored(encoder, pretext, crystals)
    sizes = {"energy_mae": 1e-5, "forces_mae": 1e-4, "stress_mae": 1e-3}
    assert {k: float(v) < sizes[k] for k, v in output.metrics.items()} == dict.fromkeys(sizes, True)


def test_references_explain_additive_energies():
    encoder = small_encoder("M3GNet", is_intensive=False)
    offsets = {"Na": -1.3, "Cl": -1.8, "Cs": -0.9, "Si": -5.4, "O": -4.9, "Mg": -1.5}
    crystals = [
        dataclasses.replace(c, labels={**c.labels, "energy": sum(offsets[s] for s in c.symbols)}) for c in labelled()
    ]
    pretext = EnergyForceStress(encoder)
    pretext.prepare(CrystalDataset.from_crystals(crystals))
    for crystal in crystals:
        fitted = sum(float(pretext.references[encoder.element_types.index(s)]) for s in crystal.symbols)
        assert fitted == pytest.approx(crystal.labels["energy"], abs=1e-6)
    forces = np.concatenate([c.labels["forces"].ravel() for c in crystals if c.labels["forces"] is not None])
    assert float(pretext.scale) == pytest.approx(np.sqrt(np.mean(forces**2)))
    output = pretext.trained_output()
    assert (output.kind, output.unit, output.scale) == ("trained", "eV", float(pretext.scale))


def test_what_has_no_weight_is_not_asked_for():
    encoder = small_encoder("MEGNet")
    forces = build_pretext("energy-force-stress", encoder, {"energy_weight": 0, "stress_weight": 0})
    assert (forces.labels, forces.forces, forces.stresses) == (("forces",), {"crystal"}, frozenset())
    energies = build_pretext("energy-force-stress", encoder, {"force_weight": 0, "stress_weight": 0})
    assert (energies.labels, energies.forces) == (("energy",), frozenset())
    with pytest.raises(ConfigError, match="not all be zero"):
        EnergyForceStress(encoder, energy_weight=0, force_weight=0, stress_weight=0)


def test_no_label_at_all_is_an_error():
    crystals = [dataclasses.replace(c, labels={**c.labels, "stress": None}) for c in labelled()]
    with pytest.raises(DataError, match="'stress'; give it the weight 0"):
        EnergyForceStress(small_encoder("MEGNet")).prepare(CrystalDataset.from_crystals(crystals))


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_without_forces_and_stresses_teaches_its_energy(name):
    encoder = small_encoder(name, **MODELS[name])
    crystal = dataclasses.replace(skewed(), labels={"energy": -3.0, "forces": None, "stress": None})
    _, _, output = scored(encoder, EnergyForceStress(encoder), [crystal])
    output.loss.backward()
    assert float(output.metrics["forces_mae"]) == 0.0
    gradients = [p.grad for p in encoder.model.parameters() if p.grad is not None]
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert any(float(g.abs().max()) > 0 for g in gradients)


@pytest.mark.parametrize("name", MODELS)
def test_two_processes(name, tmp_path):
    assert_two_processes_agree(name, {"energy-force-stress": {}}, labelled(), tmp_path, **MODELS[name])


@pytest.mark.data
def test_mlearn_stresses_are_positive_under_tension(data_dir):
    crystals = list(read_crystals(data_dir / "mlearn" / "Mo_test.extxyz.gz"))
    elastic = [c for c in crystals if c.labels["group"] == "Elastic"]
    volumes = np.array([c.volume / len(c) for c in elastic])
    pressures = np.array([np.trace(c.labels["stress"]) / 3 * GPA for c in elastic])
    assert len(elastic) >= 5
    assert np.corrcoef(volumes, pressures)[0, 1] > 0.9
    slope = np.polyfit(volumes / volumes.mean(), pressures, 1)[0]
    assert slope == pytest.approx(263, rel=0.25)  # GPa: the bulk modulus of molybdenum
