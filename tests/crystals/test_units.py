"""Units: labels arrive in eV, eV/Å and eV/Å³, whatever they were in and were called."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from ase import units as ase_units
from ase.io import write

from matgl_ssl.crystals import Crystal, CrystalDataset, read_crystals
from matgl_ssl.crystals.units import Units
from matgl_ssl.errors import ConfigError

KBAR = -0.1 * ase_units.GPa


@pytest.fixture
def jsonl(tmp_path, nacl):
    def written(name: str = "x.jsonl", **labels) -> str:
        rows = [{"structure": nacl.as_dict(), **labels} for _ in range(2)]
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
        return str(tmp_path / name)

    return written


def test_factors():
    assert Units("Ha").energy_factor == ase_units.Hartree
    assert Units("Ry/atom").per_atom
    assert Units("kcal/mol").energy_factor == pytest.approx(0.0433641)
    assert Units(force="Ha/Bohr").force_factor == pytest.approx(51.42208)
    assert Units(force="kcal/mol/Å").force_factor == Units("kcal/mol").energy_factor
    assert Units(stress="GPa").stress_factor == pytest.approx(1 / 160.21766)
    assert Units(stress="kbar-compression").stress_factor == pytest.approx(-1 / 1602.1766)
    assert Units(stress="Ha/Bohr3").stress_factor == pytest.approx(29421.0 / 160.21766, rel=1e-5)
    for name in ("eV/A^3", "eV/Å³", "eV/A3"):
        assert Units(stress=name).stress_factor == 1.0


@pytest.mark.parametrize("given", [{"energy": "ev"}, {"force": "eV"}, {"stress": "kB-tension"}, {"stress": ""}])
def test_an_unknown_unit_names_the_known_ones(given):
    with pytest.raises(ConfigError, match="For example: "):
        Units(**given)


def test_units_that_are_given(jsonl, caplog):
    path = jsonl(energy=-3.0, forces=[[1.0, 0, 0]] * 8, stress=np.eye(3).tolist(), energy_cutoff=520)
    with caplog.at_level(logging.INFO, "matgl_ssl"):
        found = read_crystals(path, units={"energy": "Ha/atom", "force": "Ry/Bohr", "stress": "GPa"})
    assert [message for message in caplog.messages if "energy in Ha/atom, forces in Ry/Bohr, stress in GPa" in message]
    labels = found[1].labels
    assert labels["energy"] == pytest.approx(-3 * 8 * ase_units.Hartree)
    assert labels["forces"][0, 0] == pytest.approx(ase_units.Rydberg / ase_units.Bohr)
    np.testing.assert_allclose(labels["stress"], np.eye(3) * ase_units.GPa)
    assert labels["energy_cutoff"] == 520
    assert read_crystals(path)[0].labels["energy"] == -3.0


def test_matpes_is_in_kbar_and_positive_under_compression(jsonl, tmp_path):
    row = {"matpes_id": "m", "functional": "PBE", "energy": -3.0, "forces": [[1.0, 0, 0]] * 8}
    path = jsonl(**row, stress=(10 * np.eye(3)).tolist())
    for columns in (None, ["stress"], ["energy", "forces", "stress"]):
        found = read_crystals(path, columns=columns)
        np.testing.assert_allclose(found[0].labels["stress"], 10 * KBAR * np.eye(3))
    assert read_crystals(path, units={"stress": "eV/Å³"})[0].labels["stress"][0, 0] == 10.0
    found = read_crystals(path)
    assert found.ids == ["m", "m"]
    found.write_parquet(tmp_path / "again.parquet")
    for again in (read_crystals(found), read_crystals(tmp_path / "again.parquet")):
        np.testing.assert_allclose(again[0].labels["stress"], 10 * KBAR * np.eye(3)), "converted once"


def test_mptrj_names_and_units(jsonl):
    path = jsonl(
        uncorrected_total_energy=-24.0, corrected_total_energy=-25.0, energy_per_atom=-3.125,
        force=[[0.5, 0, 0]] * 8, stress=(10 * np.eye(3)).tolist(), magmom=None, mp_id="mp-1",
    )  # fmt: skip
    labels = read_crystals(path, columns=["energy", "forces", "stress"])[0].labels
    assert labels["energy"] == -24.0
    assert labels["forces"][3, 0] == 0.5
    np.testing.assert_allclose(labels["stress"], 10 * KBAR * np.eye(3))
    assert read_crystals(path, columns=["corrected_total_energy"])[0].labels == {"corrected_total_energy": -25.0}


@pytest.mark.parametrize("prefix", ["REF_", "dft_"])
def test_other_names_in_extended_xyz(tmp_path, nacl, caplog, prefix):
    atoms = nacl.to_ase_atoms()
    atoms.info = {f"{prefix}energy": -3.0, f"{prefix}virial": np.diag([1.0, 2, 3])}
    atoms.arrays[f"{prefix}forces"] = np.ones((8, 3))
    write(tmp_path / "x.extxyz", [atoms] * 2, format="extxyz")
    with caplog.at_level(logging.INFO, "matgl_ssl"):
        found = read_crystals(tmp_path / "x.extxyz", columns=["energy", "forces", "stress"])
    said = f"energy from {prefix}energy, forces from {prefix}forces, stress from {prefix}virial"
    assert len([message for message in caplog.messages if said in message]) == 1
    assert found[0].labels["energy"] == -3.0
    np.testing.assert_array_equal(found[0].labels["forces"], np.ones((8, 3)))
    np.testing.assert_allclose(found[0].labels["stress"], np.diag([1.0, 2, 3]) / -nacl.volume)


def test_a_column_asked_for_by_its_own_name_keeps_it(jsonl):
    assert read_crystals(jsonl(force=3.0), columns=["force"])[0].labels == {"force": 3.0}
    labels = read_crystals(jsonl(energy=1.0, REF_energy=2.0))[0].labels
    assert (labels["energy"], labels["REF_energy"]) == (1.0, 2.0)


def test_tables_are_read_under_other_names_too(tmp_path, crystals):
    made = [Crystal(c.numbers, c.frac_coords, c.lattice, labels={"REF_energy": 2.0, "gap": 1.0}) for c in crystals]
    path = CrystalDataset.from_crystals(made).write_parquet(tmp_path / "t.parquet")
    found = read_crystals(path, columns=["energy"], units={"energy": "meV"})
    assert found.label_names == ["energy"]
    np.testing.assert_allclose(found.column("energy"), 2e-3)


def test_missing_and_textual_labels_stay_as_they_are(tmp_path, nacl):
    rows = [{"structure": nacl.as_dict(), "energy": None, "forces": None, "stress": "none"}] * 2
    (tmp_path / "x.json").write_text(json.dumps(rows))
    labels = read_crystals(tmp_path / "x.json", units={"energy": "meV", "stress": "GPa"})[0].labels
    assert labels["energy"] is None
    assert labels["stress"] == "none"
