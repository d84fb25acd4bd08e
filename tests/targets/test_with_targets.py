"""Computing targets once: the cache, workers, order, shapes, tables in memory and on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import datasets
import numpy as np
import pyarrow as pa
import pytest
from small_systems import cscl, iron, nacl, rattled, skewed
from threadpoolctl import threadpool_info, threadpool_limits

from matgl_ssl.backends import collate
from matgl_ssl.crystals import Crystal, CrystalDataset
from matgl_ssl.crystals.readers import read_crystals
from matgl_ssl.crystals.tables import cache_directory
from matgl_ssl.encoders import GraphBuilder
from matgl_ssl.targets import (
    Coordination,
    CrystalBonds,
    Density,
    EwaldEnergy,
    RadialFingerprint,
    Target,
    primitive,
    with_targets,
)
from matgl_ssl.targets.compute import structures_key


@dataclass(frozen=True)
class FirstCoordinate(Target):
    """Of each atom, and its square; keeps a tally of what it was asked for, across processes."""

    tally: str
    name: ClassVar[str] = "first coordinate"
    level: ClassVar[Literal["atom", "crystal"]] = "atom"

    def __call__(self, crystal: Crystal) -> np.ndarray:
        with Path(self.tally).open("a") as f:
            f.write(f"{len(crystal)}\n")
        return np.stack([crystal.frac_coords[:, 0], crystal.frac_coords[:, 0] ** 2], axis=1)


@dataclass(frozen=True)
class Volume(Target):
    """Of the cell, and NaN; of the largest crystals neither."""

    tally: str
    name: ClassVar[str] = "volume"
    level: ClassVar[Literal["atom", "crystal"]] = "crystal"

    def __call__(self, crystal: Crystal) -> np.ndarray:
        with Path(self.tally).open("a") as f:
            f.write(f"{len(crystal)}\n")
        return np.array([crystal.volume if len(crystal) < 8 else np.nan, np.nan])


@dataclass(frozen=True)
class Alone(Volume):
    """Must not leave this process."""

    name: ClassVar[str] = "alone"
    parallel: ClassVar[bool] = False

    def __call__(self, crystal: Crystal) -> np.ndarray:
        import os

        return np.array([os.getpid(), 0])


def crystals(n: int = 8, seed: int = 0) -> list[Crystal]:
    kinds = [nacl(), cscl(), skewed(), iron()]
    return [rattled(kinds[i % 4], 0.1, seed=seed + i) for i in range(n)]


def calls(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def check(dataset: CrystalDataset, expected: list[Crystal], atom: Target, crystal: Target) -> None:
    assert len(dataset) == len(expected)
    for row, truth in zip(dataset, expected, strict=True):
        assert (row.numbers == truth.numbers).all()
        x = truth.frac_coords[:, 0]
        assert row.labels[atom.column].shape == (len(truth), 2)
        np.testing.assert_array_equal(row.labels[atom.column], np.stack([x, x**2], axis=1))
        assert row.labels[crystal.column].shape == (2,)
        volume = truth.volume if len(truth) < 8 else np.nan
        np.testing.assert_array_equal(row.labels[crystal.column], [volume, np.nan])


@pytest.fixture
def targets(tmp_path) -> tuple[FirstCoordinate, Volume]:
    return FirstCoordinate(str(tmp_path / "atom")), Volume(str(tmp_path / "crystal"))


def test_columns_come_in_the_order_asked_for_with_their_levels_shapes(targets):
    made = crystals()
    table = with_targets(CrystalDataset.from_crystals(made), targets)
    assert table.label_names == [t.column for t in targets]
    check(table, made, *targets)
    other_way = with_targets(CrystalDataset.from_crystals(made), targets[::-1])
    assert other_way.label_names == [t.column for t in targets[::-1]]
    check(other_way, made, *targets)


def test_labels_and_ids_stay(targets):
    made = [Crystal(c.numbers, c.frac_coords, c.lattice, f"c{i}", {"gap": float(i)}) for i, c in enumerate(crystals())]
    table = with_targets(CrystalDataset.from_crystals(made).select([3, 1, 6]), targets)
    assert table.ids == ["c3", "c1", "c6"]
    assert table.column("gap").tolist() == [3, 1, 6]
    check(table, [made[3], made[1], made[6]], *targets)


def test_a_second_call_computes_nothing(targets, tmp_path):
    made = crystals()
    for _ in range(2):
        check(with_targets(CrystalDataset.from_crystals(made), targets), made, *targets)
        assert calls(tmp_path / "atom") == calls(tmp_path / "crystal") == 8
    table = with_targets(CrystalDataset.from_crystals(made), targets)
    assert with_targets(table, targets) is table


def test_each_target_is_kept_by_itself(targets, tmp_path):
    made, (atom, crystal) = crystals(), targets
    with_targets(CrystalDataset.from_crystals(made), [atom])
    with_targets(CrystalDataset.from_crystals(made), [crystal, atom])
    assert (calls(tmp_path / "atom"), calls(tmp_path / "crystal")) == (8, 8)


def test_other_crystals_or_another_order_are_computed_anew(targets, tmp_path):
    made = crystals()
    for n, variant in enumerate([made, crystals(seed=50), made[::-1], made[:5]]):
        check(with_targets(CrystalDataset.from_crystals(variant), targets), variant, *targets)
        assert calls(tmp_path / "atom") == [8, 16, 24, 29][n]


@pytest.mark.parametrize("selected", [False, True])
def test_a_table_on_disk_and_a_selection_of_it(targets, tmp_path, selected):
    made = crystals(12)
    path = CrystalDataset.from_crystals(made).write_parquet(tmp_path / "crystals.parquet")
    before = set(cache_directory().glob("*.arrow"))
    for _ in range(2):
        table = read_crystals(path)
        rows = [7, 2, 11, 3] if selected else list(range(12))
        table = table.select(rows) if selected else table
        table = with_targets(table, targets)
        check(table, [made[i] for i in rows], *targets)
        check(table.select([2, 0]), [made[rows[2]], made[rows[0]]], *targets)
        assert calls(tmp_path / "atom") == len(rows)
    assert len(set(cache_directory().glob("*.arrow")) - before) == 2, "one file a target, and no copies"


def test_columns_have_short_names_and_say_what_they_are(targets):
    """Name, version and a hash of the fields; the fields are in the metadata of the column's file."""
    for target in targets:
        assert target.column.startswith(f"{target.level}:{target.name}/v1-")
        assert len(target.column) < 60
    before = set(cache_directory().glob("*.arrow"))
    with_targets(CrystalDataset.from_crystals(crystals()), targets)
    fields = [pa.ipc.open_stream(path).schema.field(0) for path in set(cache_directory().glob("*.arrow")) - before]
    assert {field.name: field.metadata[b"target"].decode() for field in fields} == {t.column: repr(t) for t in targets}


def test_another_version_is_computed_anew(targets, tmp_path, monkeypatch):
    for version, n in ((1, 8), (2, 16), (1, 16)):
        monkeypatch.setattr(FirstCoordinate, "version", version)
        with_targets(CrystalDataset.from_crystals(crystals()), targets)
        assert calls(tmp_path / "atom") == n


def test_targets_of_a_crystal_are_computed_one_after_the_other(monkeypatch):
    """So that they can share its primitive cell."""
    primitive._primitive_cell.cache_clear()
    with_targets(CrystalDataset.from_crystals(crystals()), [Density(), Coordination(), CrystalBonds()])
    assert primitive._primitive_cell.cache_info().misses == 8


def test_workers_compute_the_same_and_find_what_one_process_computed(targets, tmp_path):
    made = crystals(150)
    table = with_targets(CrystalDataset.from_crystals(made), targets, num_workers=2)
    check(table, made, *targets)
    assert calls(tmp_path / "atom") == 150
    for workers in (2, 0, 3):
        check(with_targets(CrystalDataset.from_crystals(made), targets, num_workers=workers), made, *targets)
    assert calls(tmp_path / "atom") == 150


def test_matrices_are_solved_on_one_thread(monkeypatch):
    """OpenBLAS's threads wait for each other on small ones, and take ten times as long where a core is busy."""
    found = []
    monkeypatch.setattr(Density, "of_cell", lambda self, cell: found.extend(threadpool_info()) or np.zeros(3))
    with threadpool_limits(2, user_api="blas"):
        with_targets(CrystalDataset.from_crystals([cscl()]), [Density()])
    assert {pool["num_threads"] for pool in found if pool["user_api"] == "blas"} == {1}


def test_targets_that_hold_a_model_are_computed_here(tmp_path):
    import os

    target = Alone(str(tmp_path / "tally"))
    table = with_targets(CrystalDataset.from_crystals(crystals(150)), [target], num_workers=2)
    assert {values[0] for values in table.column(target.column)} == {os.getpid()}


def test_what_is_missing_reaches_the_batch_as_nan():
    table = with_targets(CrystalDataset.from_crystals([nacl(), iron()]), [EwaldEnergy(), RadialFingerprint()])
    build = GraphBuilder(("Na", "Cl", "Fe"), 4.0)
    batch = collate([build(c) for c in table])
    assert batch.labels[EwaldEnergy().column].isnan().tolist() == [[False], [True]]
    assert batch.atom[RadialFingerprint().column].shape == (9, 40)
    expected = np.concatenate([RadialFingerprint()(c) for c in (nacl(), iron())])
    np.testing.assert_allclose(batch.atom[RadialFingerprint().column].numpy(), expected)


@pytest.mark.parametrize("layout", ["flat", "rows", "Array2D"])
def test_equal_tables_have_one_key_and_others_another(layout):
    """In whatever layout coordinates lie: a key of addresses would be another in each process."""

    def key(shift: float = 0.0) -> str:
        crystals = [nacl(), skewed(), cscl()]
        columns = {
            "material_id": [c.id for c in crystals],
            "numbers": [c.numbers.tolist() for c in crystals],
            "frac_coords": [(c.frac_coords + shift).tolist() for c in crystals],
            "lattice": [c.lattice.tolist() for c in crystals],
        }
        features = None
        if layout == "flat":
            columns |= {k: [np.ravel(rows).tolist() for rows in columns[k]] for k in ("frac_coords", "lattice")}
        elif layout == "Array2D":
            features = datasets.Features({
                "material_id": datasets.Value("string"), "numbers": datasets.Sequence(datasets.Value("int64")),
                "frac_coords": datasets.Array2D((None, 3), "float64"), "lattice": datasets.Array2D((3, 3), "float64"),
            })  # fmt: skip
        return structures_key(CrystalDataset(datasets.Dataset.from_dict(columns, features), source="t"))

    assert key() == key()
    assert key() != key(0.01)
