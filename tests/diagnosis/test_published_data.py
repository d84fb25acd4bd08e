"""What is published and right is not accused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from matgl_ssl import doctor
from matgl_ssl.crystals import read_crystals
from matgl_ssl.crystals.physics import physics

DATA = Path(os.environ.get("MATGL_SSL_DATA", "none"))
pytestmark = [
    pytest.mark.pyg,
    pytest.mark.data,
    pytest.mark.skipif(not DATA.is_dir(), reason="MATGL_SSL_DATA is not set"),
]


@pytest.mark.parametrize("element", ["Cu", "Ge", "Li", "Mo", "Ni", "Si"])
def test_energies_forces_and_stresses_of_mlearn(element):
    remarks = physics(read_crystals(DATA / "mlearn" / f"{element}_train.extxyz.gz"))
    assert {r.subject for r in remarks if r.ok} >= {"forces", "stress"}
    assert not [str(r) for r in remarks if r.ok is False]


@pytest.mark.parametrize("factor", [-160.21766 * 10, 160.21766, -1])
@pytest.mark.parametrize("element", ["Li", "Si"])
def test_and_a_wrong_unit_or_sign_of_theirs_is_caught(element, factor):
    crystals = read_crystals(DATA / "mlearn" / f"{element}_test.extxyz.gz")
    stresses = [[factor * x for x in stress] for stress in crystals.column("stress")]
    changed = crystals.table.remove_columns("stress").add_column("stress", stresses)
    problems = [r for r in physics(type(crystals)(changed, source="changed")) if r.ok is False]
    assert [r.code for r in problems] == ["stress-unit"]


@pytest.mark.parametrize(
    "name",
    ["matbench_phonons", "matbench_jdft2d", "phonon_dielectric_petretto", "mp_elasticity_3191", "kong_hse_gap",
     "alexandria_binary_heat_capacity"],
)  # fmt: skip
def test_tables_of_properties(name):
    report = doctor(data=DATA / "tasks" / f"{name}.parquet")
    assert not report.problems, report.table()


def test_a_large_corpus():
    """The gaps' structures were taken from the corpus, so that equal ids are equal structures."""
    gaps = DATA / "tasks" / "kong_hse_gap.parquet"
    report = doctor(data=DATA / "mp37k" / "val.parquet", compare_with=gaps)
    assert [r.code for r in report.problems] == ["overlap"], report.table()
    both = {*read_crystals(DATA / "mp37k" / "val.parquet", columns=[]).ids} & {*read_crystals(gaps, columns=[]).ids}
    assert len(both) <= report.overlap.structure <= report.overlap.formula
