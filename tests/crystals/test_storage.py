"""Storage: batches out of Arrow, selections, pickling, memory mapping."""

from __future__ import annotations

import multiprocessing
import pickle

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matgl_ssl.crystals import Crystal, CrystalDataset, check_dataset, read_crystals, storage
from matgl_ssl.errors import DataError


@pytest.fixture
def dataset(crystals) -> CrystalDataset:
    return CrystalDataset.from_crystals(crystals)


@pytest.fixture
def mapped(dataset, tmp_path) -> CrystalDataset:
    return read_crystals(dataset.write_parquet(tmp_path / "crystals.parquet"))


def test_round_trip_is_exact(crystals, dataset, assert_same):
    assert len(dataset) == len(crystals)
    for crystal, again in zip(crystals, dataset, strict=True):
        assert_same(crystal, again)
    assert dataset[0].labels["forces"].shape == (8, 3)
    assert dataset[0].labels["stress"].shape == (3, 3)
    assert dataset[2].labels["band_gap"] is None
    assert dataset[1].labels["spectrum"] is None


def test_table_on_disk_equals_table_in_memory(crystals, mapped, assert_same):
    for crystal, again in zip(crystals, mapped, strict=True):
        assert_same(crystal, again)


def test_tables_are_memory_mapped(mapped):
    assert mapped.table.cache_files
    assert isinstance(mapped.table.data, datasets.table.MemoryMappedTable)


@pytest.mark.parametrize("order", [[3, 0, 3, 1], range(1, 4), np.array([4, 2]), []])
def test_batches_equal_single_rows(mapped, order, assert_same):
    for index, crystal in zip(order, mapped.rows(order), strict=True):
        assert_same(crystal, mapped[int(index)])


def test_rows_are_the_callers_own(mapped):
    first = mapped[0]
    first.frac_coords[:] = 7.0
    first.labels["forces"][:] = 7.0
    assert mapped[0].frac_coords.max() < 7.0
    assert mapped[0].labels["forces"].max() < 7.0


def test_indexing(dataset):
    assert dataset[-1].id == "c-4"
    with pytest.raises(IndexError):
        dataset[5]


@pytest.mark.parametrize("list_type", [pa.list_, pa.large_list, lambda t: pa.list_(t, 6)])
def test_every_list_layout_and_chunking(list_type):
    """Large, fixed-size and nested lists, unsigned numbers, several chunks."""
    coords = [[0.0, 0.1, 0.2, 0.5, 0.5, 0.5], [0.3, 0.1, 0.2, 0.6, 0.5, 0.5], [0.4, 0.1, 0.2, 0.7, 0.5, 0.5]]
    column = pa.chunked_array(
        [pa.array(coords[:1], list_type(pa.float64())), pa.array(coords[1:], list_type(pa.float64()))]
    )
    cell = [[4.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 6.0]]
    table = pa.table(
        {
            "numbers": pa.array([[3, 9]] * 3, pa.list_(pa.uint8())),
            "frac_coords": column,
            "lattice": pa.array([cell] * 3, pa.list_(pa.list_(pa.float64()))),
        }
    )
    dataset = CrystalDataset(datasets.Dataset(datasets.table.InMemoryTable(table)), source="chunks")
    assert dataset.ids == ["0", "1", "2"]
    for crystal, expected in zip(dataset.rows([2, 0, 1]), [coords[2], coords[0], coords[1]], strict=True):
        np.testing.assert_array_equal(crystal.frac_coords.ravel(), expected)
        np.testing.assert_array_equal(crystal.lattice, np.diag([4.0, 5.0, 6.0]))
        assert crystal.numbers.dtype == np.int64


def test_ids_follow_a_selection_without_an_id_column(dataset):
    bare = CrystalDataset(dataset.table.remove_columns("material_id"), source="bare")
    assert bare.select([4, 1]).ids == ["4", "1"]
    assert bare[4].id == "4"


def test_columns(dataset):
    np.testing.assert_array_equal(dataset.column("band_gap"), [0.0, 1.0, np.nan, 3.0, 4.0])
    assert dataset.column("phase")[3] is None
    assert [len(values) for values in dataset.column("forces")] == [24, 18, 24, 18, 24]
    with pytest.raises(DataError, match="Did you mean 'band_gap'"):
        dataset.column("bandgap")
    assert dataset.label_names == ["band_gap", "spacegroup", "phase", "forces", "stress", "spectrum"]
    assert dataset.select_labels(["phase"]).label_names == ["phase"]


def test_select_is_in_order_and_nests(dataset, assert_same):
    chosen = dataset.select([4, 2, 0]).select(np.array([2, 0]))
    assert chosen.ids == ["c-0", "c-4"]
    assert_same(chosen[1], dataset[4])
    np.testing.assert_array_equal(chosen.column("spacegroup"), [0, 4])


def test_formulas_and_their_exclusion(dataset):
    assert dataset.formulas() == ["NaCl", "SiO2", "NaCl", "SiO2", "NaCl"]
    assert dataset.exclude_formulas(["Si3O6"]).ids == ["c-0", "c-2", "c-4"]
    assert len(dataset.exclude_formulas([])) == 5


def test_formulas_do_not_trust_a_formula_column(crystals):
    wrong = [Crystal(c.numbers, c.frac_coords, c.lattice, id=c.id, labels={"formula": "O2Si"}) for c in crystals]
    assert CrystalDataset.from_crystals(wrong).exclude_formulas(["SiO2"]).ids == ["c-0", "c-2", "c-4"]


def test_labels_of_different_kinds_are_refused(crystals):
    mixed = [
        Crystal(c.numbers, c.frac_coords, c.lattice, labels={"gap": value})
        for c, value in zip(crystals, [1.0, "one"], strict=False)
    ]
    with pytest.raises(DataError, match="'gap' are of different kinds"):
        CrystalDataset.from_crystals(mixed)


def test_missing_structure_columns_are_named(dataset):
    with pytest.raises(DataError, match=r"no column frac_coords, lattice among .*Expected layout"):
        CrystalDataset(dataset.table.remove_columns(["frac_coords", "lattice"]), source="t")


def test_rows_that_do_not_fit_are_named(dataset, tmp_path):
    table = dataset.table.with_format("arrow")[:]
    broken = pa.array([[0.1] * 24, [0.1] * 17, None, [0.1] * 18, [0.1] * 24], pa.list_(pa.float64()))
    pq.write_table(
        table.set_column(table.column_names.index("frac_coords"), "frac_coords", broken), tmp_path / "b.parquet"
    )
    read = read_crystals(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="c-1: 6 numbers, 17 frac_coords and 9"):
        read.rows([0, 1])
    with pytest.raises(DataError, match="c-2"):
        read.rows([2])


@pytest.mark.parametrize("kind", ["dataset", "mapped"])
def test_pickling(kind, request, assert_same):
    dataset = request.getfixturevalue(kind).select([3, 1])
    again = pickle.loads(pickle.dumps(dataset))
    assert (again.ids, again.source) == (dataset.ids, dataset.source)
    assert_same(again[0], dataset[0])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(mapped, method, assert_same):
    with multiprocessing.get_context(method).Pool(1) as pool:
        (crystal,) = pool.map(mapped.rows, [[3]])[0]
    assert_same(crystal, mapped[3])


def test_writing_is_atomic(dataset, tmp_path, monkeypatch):
    path = dataset.write_parquet(tmp_path / "sub" / "t.parquet")
    before = path.read_bytes()
    monkeypatch.setattr(datasets.Dataset, "to_parquet", lambda *_args, **_kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        dataset.write_parquet(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["t.parquet"]


def test_real_table(data_dir):
    path = data_dir / "mp37k" / "val.parquet"
    dataset = read_crystals(path, columns=["band_gap", "formula"])
    rows = pq.read_table(path).slice(100, 20).to_pylist()
    assert len(dataset) == pq.read_metadata(path).num_rows
    for row, crystal in zip(rows, dataset.rows(range(100, 120)), strict=True):
        assert (crystal.id, crystal.formula) == (row["material_id"], row["formula"])
        assert crystal.labels == {"band_gap": row["band_gap"], "formula": row["formula"]}
        np.testing.assert_array_equal(crystal.frac_coords.ravel(), row["frac_coords"])
        np.testing.assert_array_equal(crystal.lattice.ravel(), row["lattice"])
    assert dataset.formulas()[:500] == dataset.column("formula")[:500].tolist()


def test_rows_that_are_no_crystals_have_no_formula_and_are_left_to_the_checks():
    rows = {
        "numbers": [[11, 17], [0], [], None], "frac_coords": [[0.0] * 3 + [0.5] * 3, [0.0] * 3, [], None],
        "lattice": [[3.0, 0, 0, 0, 3.0, 0, 0, 0, 3.0]] * 4, "atom:q": [[1.0, -1.0], [0.0], [], None],
    }  # fmt: skip
    dataset = CrystalDataset(datasets.Dataset.from_dict(rows), source="t")
    assert dataset.formulas() == ["NaCl", "", "", ""]
    assert len(dataset.exclude_formulas(["NaCl"])) == 3
    kept, report = check_dataset(dataset)
    assert kept.ids == ["0"]
    assert report.counts() == {"unknown-element": 1, "empty": 1, "malformed": 1}


def test_booleans_with_gaps_are_numbers_with_gaps(crystals):
    column = CrystalDataset.from_crystals(crystals).table.add_column(
        "metal", [True, None, *[False] * (len(crystals) - 2)]
    )
    np.testing.assert_array_equal(CrystalDataset(column, source="t").column("metal")[:3], [1, np.nan, 0])


@pytest.mark.parametrize("rows", [slice(None), slice(1, None, 2), slice(None, None, -1), slice(0, None, 40)])
def test_a_selection_is_read_in_pieces_as_in_rows(crystals, monkeypatch, rows):
    """Neighbouring rows are cut out of their surroundings, those far apart are fetched one by one."""
    monkeypatch.setattr(storage, "_BATCH", 7)
    whole = CrystalDataset.from_crystals(crystals * 20)
    chosen = np.arange(100)[rows]
    selection = whole.select(chosen)
    for name in ("numbers", "lattice", "forces", "spacegroup"):
        expected = [whole.column(name)[i] for i in chosen]
        for one, other in zip(selection.each(name), expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert selection.sizes().tolist() == [len(crystals[i % 5]) for i in chosen]
    assert list(selection.each("phase")) == [crystals[i % 5].labels["phase"] for i in chosen]
