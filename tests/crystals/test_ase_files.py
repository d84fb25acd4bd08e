"""ASE's databases and trajectories, as ASE writes them, and as it never would."""

from __future__ import annotations

import json
import sqlite3
import sys
import zlib
from collections import Counter

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import write

from matgl_ssl.crystals import read_crystals
from matgl_ssl.errors import DataError


@pytest.fixture
def frames():
    made = []
    for i in range(12):
        rng = np.random.default_rng(i)
        atoms = bulk("Fe", cubic=True) * (1, 1, 1 + i % 2)
        atoms.rattle(0.1, seed=i)
        atoms.set_initial_magnetic_moments(np.ones(len(atoms)))
        atoms.set_constraint(FixAtoms([0]))
        atoms.calc = SinglePointCalculator(
            atoms, energy=-i - 0.5, forces=rng.normal(size=(len(atoms), 3)), stress=rng.normal(size=6),
            magmoms=rng.normal(size=len(atoms)), magmom=2.5,
        )  # fmt: skip
        atoms.info = {"gap": i / 2, "phase": "bcc", "spectrum": np.arange(3.0)}
        made.append(atoms)
    return made


def saved(path, frames):
    if path.suffix == ".traj":
        write(path, frames)
        return path
    with connect(path, **({"type": "aselmdb"} if path.suffix == ".aselmdb" else {})) as database:
        for atoms in frames:
            data = {"spectrum": atoms.info["spectrum"], "deep": {"a": 1}}
            database.write(atoms, gap=atoms.info["gap"], phase="bcc", data=data)
    return path


@pytest.mark.parametrize("name", ["x.db", "x.json", "x.aselmdb", "x.traj"])
def test_rows_and_frames_with_all_labels(tmp_path, frames, name):
    if name.endswith("lmdb"):
        pytest.importorskip("lmdb")
    found = read_crystals(saved(tmp_path / name, frames))
    first = 0 if name == "x.traj" else 1
    assert found.ids == [f"x-{i + first}" for i in range(12)]
    for crystal, atoms in zip(found, frames, strict=True):
        again = crystal.to_atoms()
        np.testing.assert_allclose(again.positions, atoms.positions, atol=1e-12)
        np.testing.assert_array_equal(again.numbers, atoms.numbers)
        results = atoms.calc.results
        assert crystal.labels["energy"] == results["energy"]
        assert crystal.labels["magmom"] == 2.5
        np.testing.assert_array_equal(crystal.labels["forces"], results["forces"])
        np.testing.assert_array_equal(crystal.labels["stress"], atoms.get_stress(voigt=False))
        np.testing.assert_array_equal(crystal.labels["magmoms"], results["magmoms"])
        np.testing.assert_array_equal(crystal.labels["spectrum"], np.arange(3.0))
        assert crystal.labels["gap"] == atoms.info["gap"]
        assert crystal.labels["phase"] == "bcc"
    assert read_crystals(tmp_path / name, columns=["gap"]).label_names == ["gap"]


def test_a_folder_of_lmdb_files_is_one_source(tmp_path, frames):
    """OMat24 comes as folders of .aselmdb files with the numbers of atoms beside them."""
    pytest.importorskip("lmdb")
    for i in range(2):
        saved(tmp_path / f"data{i:04d}.aselmdb", frames[i::2])
    np.savez(tmp_path / "metadata.npz", natoms=[1])
    assert read_crystals(tmp_path).ids == [f"data{i:04d}-{n}" for i in range(2) for n in range(1, 7)]


def test_deleted_rows_are_not_there(tmp_path, frames):
    for name in ("x.db", "x.aselmdb"):
        kind = {"type": "aselmdb"} if name == "x.aselmdb" else {}
        saved(tmp_path / name, frames)
        connect(tmp_path / name, **kind).delete([2, 11])
        assert read_crystals(tmp_path / name).ids == [f"x-{i}" for i in range(1, 13) if i not in (2, 11)]


def test_lmdb_files_of_many_pages_are_read_without_the_library(tmp_path, monkeypatch):
    large = [row(data={"v": list(np.random.default_rng(i).random(2000 if i % 50 == 0 else 5))}) for i in range(600)]
    lmdb_of(tmp_path / "x.aselmdb", large)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    found = read_crystals(tmp_path / "x.aselmdb")
    assert found.ids == [f"x-{i + 1}" for i in range(600)]
    np.testing.assert_array_equal(found[50].labels["v"], large[50]["data"]["v"])


def test_damaged_lmdb_files_are_typed_errors(tmp_path):
    """The library's own reader ends the process with SIGBUS on most of these."""
    lmdb_of(tmp_path / "x.aselmdb", [row(data={"v": [i / 7] * (900 if i % 9 == 0 else 20)}) for i in range(60)])
    whole, rng = (tmp_path / "x.aselmdb").read_bytes(), np.random.default_rng(0)
    pages = len(whole) // 4096
    came = Counter()
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(pages) * 4096 + rng.integers(100)] = rng.choice([0, 255, rng.integers(256)])
        (tmp_path / "x.aselmdb").write_bytes(content[: rng.integers(1, len(content)) if rng.random() < 0.2 else None])
        try:
            read_crystals(tmp_path / "x.aselmdb")
            came["read"] += 1
        except DataError:
            came["refused"] += 1
    assert min(came["read"], came["refused"]) > 30


@pytest.mark.parametrize("what", ["a circle", "one value for all"])
def test_an_lmdb_file_that_never_ends_is_refused(tmp_path, what):
    lmdb_of(tmp_path / "x.aselmdb", [row(data={"v": [i / 7] * 300}) for i in range(60)])
    content = bytearray((tmp_path / "x.aselmdb").read_bytes())
    root = int.from_bytes(content[4096 + 128 : 4096 + 136], "little") * 4096
    first = root + int.from_bytes(content[root + 16 : root + 18], "little")
    if what == "a circle":
        content[first : first + 2] = (root // 4096).to_bytes(2, "little")
    else:
        leaf = int.from_bytes(content[first : first + 2], "little") * 4096
        content[leaf + 12 : leaf + 14] = (4096).to_bytes(2, "little")
        content[leaf + 16 : leaf + 4096] = (3900).to_bytes(2, "little") * 2040
        content[leaf + 3900 : leaf + 3908] = np.array([100, 0, 0, 1], "<u2").tobytes()
    (tmp_path / "x.aselmdb").write_bytes(content)
    with pytest.raises(DataError, match="make no tree" if what == "a circle" else "on another"):
        read_crystals(tmp_path / "x.aselmdb")


def row(**changes):
    cell = {
        "array": {"__ndarray__": [[3, 3], "float64", np.diag([3.0] * 3).ravel().tolist()]},
        "__ase_objtype__": "cell",
    }
    return {"numbers": [26], "positions": [[0, 0, 0]], "cell": cell, "pbc": [True] * 3, **changes}


def lmdb_of(path, rows):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(path), subdir=False) as database, database.begin(write=True) as writing:
        for i, content in enumerate(rows):
            content = content if isinstance(content, bytes) else json.dumps(content).encode()
            writing.put(str(i + 1).encode(), zlib.compress(content))


HOSTILE = {
    "an array that claims to be larger than its data": row(energy={"__ndarray__": [[10**12], "float64", [0.0]]}),
    "positions that are one number": row(positions={"__ndarray__": [[10**12], "float64", [0.0]]}),
    "a class of ASE's": row(data={"v": {"__ase_objtype__": "vibrationsdata", "atoms": 1, "hessian": []}}),
    "a constraint": row(constraints=[{"name": "FixAtoms", "kwargs": {"indices": [10**12]}}]),
    "a class of pymatgen's": row(data={"@module": "antigravity", "@class": "x"}),
    "an array of objects": row(data={"v": {"__ndarray__": [[1], "object", [None]]}}),
}


def test_nothing_but_plain_fields_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("ase.io.jsonio.object_hook", lambda _: pytest.fail("ASE's decoder was asked"))
    bad = [b" " * (40 << 20), b"junk", b"[]", b"[" * 100_000, row(numbers="x"), row(cell=None), row(positions=[[0, 0]])]
    lmdb_of(tmp_path / "x.aselmdb", [row(), *HOSTILE.values(), *bad])
    found = read_crystals(tmp_path / "x.aselmdb")
    assert {each.code for each in found.rejected} == {"unreadable"}
    assert "x-1" in found.ids
    assert len(found) + len(found.rejected) == 1 + len(HOSTILE) + len(bad)
    assert len(found.rejected) > len(bad)
    assert "antigravity" not in sys.modules


def test_what_only_looks_like_a_database(tmp_path, frames):
    for name, content in (
        ("a.db", b"junk"),
        ("b.traj", b"junk"),
        ("c.traj", b"- of UlmASE-Trajectory  " + b"\xff" * 24),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="1 unreadable"):
            read_crystals(tmp_path / name)
    endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, x'00' AS numbers FROM n"
    with sqlite3.connect(tmp_path / "view.db") as database:
        database.execute(f"CREATE VIEW systems AS {endless}")
    with pytest.raises(DataError, match="no database of ASE"):
        read_crystals(tmp_path / "view.db")
    content = saved(tmp_path / "x.traj", frames).read_bytes()
    (tmp_path / "cut.traj").write_bytes(content[: len(content) // 2])
    found = read_crystals(tmp_path / "cut.traj")
    assert 0 < len(found) < len(frames) == len(found) + len(found.rejected)
