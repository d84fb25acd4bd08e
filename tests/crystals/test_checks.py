"""Checks: each kind of bad crystal is caught, good ones pass, nothing hangs."""

from __future__ import annotations

import json
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase.build import molecule
from pymatgen.core import Lattice, Structure

from matgl_ssl.crystals import (
    CheckReport,
    Crystal,
    CrystalDataset,
    Finding,
    check_dataset,
    check_structure,
    read_crystals,
)
from matgl_ssl.crystals.report import ADVICE
from matgl_ssl.errors import BadStructureError, DataError


def crystal(lattice, frac_coords=((0, 0, 0),), numbers=None, id="bad") -> Crystal:
    frac_coords = np.array(frac_coords, dtype=float).reshape(-1, 3)
    numbers = np.full(len(frac_coords), 29) if numbers is None else np.array(numbers)
    lattice = np.diag([lattice] * 3) if np.isscalar(lattice) else np.array(lattice, dtype=float)
    return Crystal(numbers, frac_coords, lattice, id=id)


PAIR = ((0, 0, 0), (0.5, 0.5, 0.5))
BAD = {
    "empty": ("empty", crystal(4.0, ())),
    "nan coordinate": ("non-finite", crystal(4.0, ((0, 0, np.nan),))),
    "infinite lattice": ("non-finite", crystal(np.inf)),
    "flat cell": ("no-volume", crystal([[1, 0, 0], [2, 0, 0], [0, 0, 1]])),
    "coincident atoms": ("too-close", crystal(4.0, ((0, 0, 0), (0, 0, 0)))),
    "coincident across the boundary": ("too-close", crystal(4.0, ((0, 0, 0.999), (0, 0, 0.001)))),
    "coincident by an image": ("too-close", crystal(4.0, ((0, 0, 0), (0, 0, 1)))),
    "one atom in a tiny cell": ("too-close", crystal(0.3)),
    "one atom too far from its images": ("no-edges", crystal(5.01)),
    "tiny cell of many": ("too-many-edges", crystal(1.0, np.random.default_rng(0).random((400, 3)))),
    "huge cell": ("too-large", crystal(1e4, PAIR)),
    "skewed cell": ("too-large", crystal([[10, 0, 0], [1e4, 4, 0], [1e4, 1e4, 4]], PAIR)),
    "coordinates that float64 has lost": ("too-large", crystal(4.0, ((0, 0, 0), (1e9 + 0.5,) * 3))),
    "one atom that float64 has lost": ("too-large", crystal(4.0, ((1e12, 0, 0),))),
    "a slab": ("not-periodic", Structure(Lattice(np.diag([3, 3, 20]), pbc=(True, True, False)), ["Cu"], [[0, 0, 0]])),
    "no such atomic number": ("unknown-element", crystal(3.0, numbers=[0])),
    "disordered": ("disordered", Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]])),
    "a dummy": ("unknown-element", Structure(Lattice.cubic(3), ["X1+"], [[0, 0, 0]])),
    "a molecule": ("not-periodic", molecule("H2O")),
}


@pytest.mark.parametrize(("code", "structure"), BAD.values(), ids=BAD)
def test_bad_crystals(code, structure):
    started = time.perf_counter()
    (finding,) = check_structure(structure)
    assert time.perf_counter() - started < 1.0
    assert finding.code == code
    assert code in ADVICE
    assert len(finding.message) > 20


def test_good_crystals_pass(nacl, quartz):
    for structure in (nacl, quartz, nacl.to_ase_atoms(), Crystal.from_structure(quartz)):
        assert check_structure(structure, element_types=["Na", "Cl", "Si", "O"]) == []


def test_coordinates_far_outside_are_those_inside():
    assert check_structure(crystal(4.0, ((0, 0, 0), (500.5, -500.5, 1e6 + 0.5)))) == []
    (finding,) = check_structure(crystal(4.0, ((0, 0, 0), (500, 1e6, 0))))
    assert finding.code == "too-close"


def test_findings_know_their_place_among_all_entries(mixed):
    _, report = check_dataset(mixed)
    assert [(f.id, f.index) for f in report.findings] == [("alloy", 4), ("tiny", 0), ("nan", 2)]
    first = CrystalDataset(mixed.table, source="x", rejected=[Finding("alloy", "disordered", "alloy", 0)])
    assert [f.index for f in check_dataset(first)[1].findings] == [0, 1, 3]


def test_an_isolated_atom_beside_bonded_ones_is_allowed():
    lonely = crystal([[30, 0, 0], [0, 8, 0], [0, 0, 8]], [[0, 0, 0], [0.05, 0, 0], [0.5, 0.5, 0.5]])
    assert check_structure(lonely, cutoff=4.0) == []


def test_the_cutoff_decides():
    simple_cubic = crystal(4.5)
    assert [f.code for f in check_structure(simple_cubic, cutoff=4.0)] == ["no-edges"]
    assert check_structure(simple_cubic, cutoff=4.6) == []


def test_unknown_elements_are_listed_with_the_other_findings(nacl):
    (finding,) = check_structure(nacl, element_types=["H", "O"])
    assert finding.code == "unknown-element"
    assert "Na, Cl unknown to the model" in finding.message
    both = check_structure(crystal(0.3), element_types=["H"])
    assert [f.code for f in both] == ["unknown-element", "too-close"]


def test_nearest_distance_equals_pymatgen(quartz):
    nearest = min(site.nn_distance for sites in quartz.get_all_neighbors(5.0) for site in sites)
    assert check_structure(quartz, min_distance=nearest - 1e-6) == []
    assert [f.code for f in check_structure(quartz, min_distance=nearest + 1e-6)] == ["too-close"]


def test_inputs_are_left_alone(quartz):
    before = Crystal.from_structure(quartz)
    coords = before.frac_coords.copy()
    check_structure(before)
    np.testing.assert_array_equal(before.frac_coords, coords)


@pytest.fixture
def mixed(nacl) -> CrystalDataset:
    """Bad, good, bad, good, and one that the reader rejected."""
    good = Crystal.from_structure(nacl)
    named = [Crystal(good.numbers, good.frac_coords, good.lattice, id=f"good{i}", labels={"gap": i}) for i in range(2)]
    crystals = [crystal(0.3, id="tiny"), named[0], crystal(4.0, ((0, 0, np.nan),), id="nan"), named[1]]
    rejected = [Finding("alloy", "disordered", "alloy: disordered")]
    return CrystalDataset.from_crystals(crystals, rejected=rejected)


def test_dataset_keeps_the_good_ones(mixed):
    kept, report = check_dataset(mixed)
    assert kept.ids == ["good0", "good1"]
    assert kept[1].labels == {"gap": 1}
    assert (report.n_total, report.n_kept) == (5, 2)
    assert report.counts() == {"disordered": 1, "too-close": 1, "non-finite": 1}
    again, second = check_dataset(kept)
    assert (again.ids, second.findings) == (kept.ids, ())


def test_dataset_limits_are_passed_on(mixed):
    _, report = check_dataset(mixed, min_distance=0.1)
    assert "too-close" not in report.counts()
    with pytest.raises(DataError, match=r"nothing left of 5 crystals: .*3 too-many-edges"):
        check_dataset(mixed, max_edges=1)


def test_raise_policy(mixed):
    with pytest.raises(BadStructureError, match="alloy: disordered"):
        check_dataset(mixed, policy="raise")
    with pytest.raises(BadStructureError, match="tiny: two atoms"):
        check_dataset(mixed.select(range(4)), policy="raise")
    assert len(check_dataset(mixed.select([1, 3]), policy="raise")[0]) == 2


def test_nothing_left(mixed):
    with pytest.raises(DataError, match=r"nothing left of 5 crystals: .*3 unknown-element.*for example"):
        check_dataset(mixed, element_types=["H"])


def test_malformed_rows_are_findings(nacl, tmp_path):
    good = Crystal.from_structure(nacl)
    dataset = CrystalDataset.from_crystals([good] * 3)
    table = dataset.table.with_format("arrow")[:]
    coords = good.frac_coords.ravel().tolist()
    broken = pa.array([coords, coords[:-1], coords], pa.list_(pa.float64()))
    path = tmp_path / "t.parquet"
    pq.write_table(table.set_column(table.column_names.index("frac_coords"), "frac_coords", broken), path)
    kept, report = check_dataset(read_crystals(path))
    assert kept.ids == ["0", "2"]
    assert [(f.id, f.code) for f in report.findings] == [("1", "malformed")]


def test_report_table_and_file(mixed, tmp_path):
    _, report = check_dataset(mixed)
    lines = report.table().splitlines()
    assert lines[0] == "2 of 5 crystals are usable"
    assert lines[1].split()[:3] == ["code", "count", "examples"]
    assert any("tiny" in line and ADVICE["too-close"] in line for line in lines)
    content = json.loads(report.write(tmp_path / "check.json").read_text())
    assert content["n_kept"] == 2
    found = content["findings"]["non-finite"]
    assert (found["count"], found["ids"], found["what to do"]) == (1, ["nan"], ADVICE["non-finite"])
    assert found["reasons"] == [next(f.message for f in report.findings if f.id == "nan")]
    assert CheckReport(2, 2).table() == "2 of 2 crystals are usable"


def test_a_check_is_fast():
    rng = np.random.default_rng(0)
    grid = np.array([[i, j, k] for i in range(3) for j in range(3) for k in range(3)])[:25] / 3
    typical = crystal(8.0, grid + rng.normal(scale=0.01, size=(25, 3)))
    assert check_structure(typical) == []
    best = min(_seconds(typical) for _ in range(20))
    assert best < 1e-3  # 0.15 ms where it was written


def _seconds(structure) -> float:
    started = time.perf_counter()
    check_structure(structure)
    return time.perf_counter() - started


def test_real_table(data_dir):
    dataset = read_crystals(data_dir / "mp37k" / "val.parquet", columns=[]).select(range(400))
    kept, report = check_dataset(dataset, cutoff=5.0)
    assert len(kept) >= 399
    assert set(report.counts()) <= {"no-edges"}
