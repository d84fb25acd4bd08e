"""The doctor's report: what it counts, what it finds in labels, and how it shows it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from small_systems import cscl, nacl, small_model
from strained_metals import labelled, metals

from matgl_ssl import doctor
from matgl_ssl.cli import main
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.diagnosis import DoctorReport
from matgl_ssl.hub import save_model

RNG = np.random.default_rng(0)


def salts(n: int = 60, **labels: object) -> list[Crystal]:
    """Rock salts of random lattice constants; a label is a function of the crystal's number."""
    made = []
    for i in range(n):
        cell = nacl().lattice * RNG.uniform(0.95, 1.1)
        found = {name: value(i) for name, value in labels.items()}
        made.append(replace(nacl(), lattice=cell, id=f"salt{i}", labels=found))
    return made


def remarks(report: DoctorReport, code: str) -> list[str]:
    return [str(remark) for remark in report.remarks if remark.code == code]


class TestCounts:
    def test_of_elements_sizes_and_edges(self):
        found = doctor(data=[nacl(), nacl(), cscl()]).summary
        assert found.elements == {"Cl": 3, "Na": 2, "Cs": 1}
        assert (found.formulas, found.atoms.smallest, found.atoms.largest) == (2, 2, 8)
        assert found.volume_per_atom.largest == pytest.approx(max(nacl().volume / 8, cscl().volume / 2))

    def test_elements_that_the_model_was_not_trained_on_are_named(self, tmp_path):
        model = save_model(
            small_model("MEGNet"), tmp_path / "model", kind="encoder", readout="untrained", elements=["Na", "Cl"]
        )
        report = doctor(data=[nacl(), cscl()], model=model)
        assert "Cs (1)" in remarks(report, "untrained-elements")[0]
        assert remarks(doctor(data=[nacl()], model=model), "untrained-elements") == []

    def test_unknown_elements_are_named_and_counted(self):
        gold = Crystal(np.array([79]), np.zeros((1, 3)), 2.9 * np.eye(3), id="gold")
        report = doctor(data=[nacl(), gold], model=small_model("MEGNet"))
        assert report.summary.unknown == {"Au": 1}
        assert "Au (1)" in remarks(report, "unknown-elements")[0]

    def test_nothing_usable_still_makes_a_report(self):
        alone = Crystal(np.array([11]), np.zeros((1, 3)), 9 * np.eye(3), id="alone")
        report = doctor(data=alone)
        assert (report.n_kept, report.summary) == (0, None)
        assert "0 of 1 crystals are usable" in report.table()


class TestLabels:
    def test_quartiles_histogram_missing_and_unit(self):
        report = doctor(data=salts(60, band_gap=lambda i: None if i < 10 else float(i), note=lambda i: "x"))
        gap, note = report.columns
        assert (gap.kind, gap.unit, gap.present, gap.missing) == ("number", "eV", 50, 10)
        assert gap.quartiles[0] == 10
        assert gap.quartiles[4] == 59
        assert sum(gap.histogram) == 50
        assert (note.kind, note.present) == ("text", 60)

    def test_values_far_from_all_others_are_named(self):
        report = doctor(data=salts(60, gap=lambda i: 1e6 if i == 7 else float(i)))
        assert "salt7" in remarks(report, "outliers")[0]

    def test_a_number_that_stands_for_missing_is_caught(self):
        report = doctor(data=salts(60, gap=lambda i: -9999.0 if i % 20 == 0 else float(i)))
        assert "3 values are -9999" in remarks(report, "sentinel")[0]

    def test_infinities_and_empty_columns_are_problems(self):
        report = doctor(data=salts(40, gap=lambda i: np.inf if i == 3 else 1.0 + i, none=lambda i: float("nan")))
        assert "1 values are infinite" in remarks(report, "non-finite")[0]
        assert "no crystal has a value" in remarks(report, "no-values")[0]

    def test_per_atom_or_not_is_held_against_the_name(self):
        crystals = labelled("energy")
        energies, sizes = crystals.column("energy"), crystals.sizes()
        renamed = [replace(c, labels={"energy_per_atom": e}) for c, e in zip(crystals, energies, strict=True)]
        divided = [
            replace(c, labels={"energy_per_atom": e / n}) for c, e, n in zip(crystals, energies, sizes, strict=True)
        ]
        assert [r.subject for r in doctor(data=renamed).problems] == ["energy_per_atom"]
        assert not doctor(data=divided).problems


def test_a_stress_in_kbar_is_a_problem_with_its_way_out():
    report = doctor(data=labelled(stress=lambda label, crystal: -1602.1766 * label))
    assert [(r.code, r.subject) for r in report.problems] == [("stress-unit", "stress")]
    assert "--stress-unit kbar-compression" in report.table()
    crystals = labelled(stress=lambda label, crystal: -1602.1766 * label)
    assert not doctor(data=crystals, stress_unit="kbar-compression").problems


class TestTeacher:
    def test_agrees_with_its_own_labels(self):
        report = doctor(data=labelled(), teacher="ase.calculators.emt:EMT")
        found = {r.subject: r.ok for r in report.remarks if r.code.endswith("-unit")}
        assert found == {"energy": True, "forces": True, "stress": True}

    def test_tells_units_and_signs_where_the_data_do_not(self):
        crystals = labelled("stress", stress=lambda label, crystal: -1602.1766 * label)
        report = doctor(data=crystals, teacher="ase.calculators.emt:EMT")
        (problem,) = report.problems
        assert "kbar with the opposite sign" in problem.message


class TestText:
    def test_is_ascii_and_about_a_page(self):
        names = {f"band_gap_{k}": float for k in range(30)}
        crystals = [replace(c, id="Å" + c.id) for c in salts(40, **names, gap=lambda i: 1e9 if i == 3 else float(i))]
        text = str(doctor(data=crystals, compare_with=crystals))
        assert text.isascii()
        assert len(text.splitlines()) <= 60
        assert "and 19 more" in text

    def test_absurd_inputs_end(self):
        huge = [1e300, -1e300, 5e-324, float("nan"), float("inf"), 0.0]
        stretched = replace(nacl(), lattice=nacl().lattice * np.array([[1e9], [1.0], [1.0]]), id="stretched")
        crystals = [
            replace(c, labels={"energy": x, "forces": np.full((8, 3), x), "stress": np.full((3, 3), x)})
            for c, x in zip(salts(6), huge, strict=True)
        ]
        report = doctor(data=[*crystals, stretched])
        assert report.ids("too-large") == ["stretched"]
        json.dumps(report.to_dict(), allow_nan=False)


class TestCommandLine:
    def test_json_is_one_document(self, tmp_path, capsys):
        path = CrystalDataset.from_crystals(metals()).write_parquet(tmp_path / "metals.parquet")
        command = ["doctor", "--data", str(path), "--estimate-seconds", "0", "--json", "--compare-with", str(path)]
        assert main(command) == 0
        found = json.loads(capsys.readouterr().out)
        assert list(found)[:6] == ["source", "model", "n_total", "n_kept", "left_out", "summary"]
        assert {"findings", "columns", "duplicates", "overlap", "remarks", "estimates"} < found.keys()
        assert found["overlap"]["structure"] == found["n_kept"] == 54

    def test_what_cannot_be_read_is_an_error(self, tmp_path):
        assert main(["doctor", "--data", str(tmp_path / "none.cif")]) == 3
