"""What is revealed, what is tested on, and what no two folds share."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import cell, corpus_and_task, write

from matgl_ssl.errors import DataError
from matgl_ssl.evaluation.config import TaskConfig
from matgl_ssl.evaluation.tasks import read_task, validation_folds


@pytest.fixture
def root(tmp_path):
    corpus_and_task(tmp_path)
    return tmp_path


def read(root, **changes):
    return read_task("size", TaskConfig.build({"data": "task.parquet", "target": "size", **changes}), root)


def test_fewer_labels_are_among_more_and_none_is_tested_on(root):
    task = read(root)
    for seed in range(3):
        few, more, everything = (task.revealed(n, seed, 1) for n in (10, 40, "all"))
        assert set(few) < set(more) < set(everything)
        assert not set(everything) & set(task.test_rows(1))
        assert len(everything) + len(task.test_rows(1)) == len(task.crystals)
    assert set(task.revealed(10, 0, 1)) != set(task.revealed(10, 1, 1))
    assert np.array_equal(task.revealed(10, 0, 1), read(root).revealed(10, 0, 1))


def test_a_search_is_scored_on_the_training_part_and_on_no_revealed_label(root):
    task = read(root)
    for seed in range(3):
        rows = task.scored_rows("validation", 10, seed, 1)
        assert len(rows) == min(300, len(task.revealed("all", seed, 1)) - 10)
        assert not set(rows) & (set(task.test_rows(1)) | set(task.revealed(10, seed, 1)))
    assert np.array_equal(task.scored_rows("test", 10, 0, 1), task.test_rows(1))
    with pytest.raises(DataError, match="Reveal fewer"):
        task.scored_rows("validation", "all", 0, 1)


def test_folds_share_no_formula_nor_chemical_system(root):
    for group in ("formula", "chemical-system"):
        task = read(root, group=group)
        formulas = np.array(task.crystals.formulas())
        assert sorted(set(task.folds)) == [0, 1, 2, 3, 4]
        for fold in range(5):
            assert not set(formulas[task.test_rows(fold)]) & set(formulas[task.revealed("all", 0, fold)])


def test_official_folds_are_taken_as_they_are(tmp_path):
    write(tmp_path / "t.parquet", [cell(11, 17, 3 + 0.01 * i, y=1.0 * i, f=i % 5) for i in range(20)])
    task = read_task("t", TaskConfig(data="t.parquet", target="y", fold_column="f"), tmp_path)
    assert task.folds.tolist() == [i % 5 for i in range(20)]
    with pytest.raises(DataError, match="no fold 7"):
        task.test_rows(7)


def test_a_test_set_of_its_own_takes_its_siblings_out_of_training(tmp_path):
    write(tmp_path / "train.parquet", [cell(11, 17, 3.5, y=1.0), cell(12, 8, 3.6, y=2.0), cell(19, 9, 3.6, y=3.0)])
    write(tmp_path / "test.parquet", [cell(12, 8, 3.9, y=4.0)])
    task = read_task("t", TaskConfig(data="train.parquet", test_data="test.parquet", target="y"), tmp_path)
    assert task.labels[task.revealed("all", 0, 0)].tolist() in ([1, 3], [3, 1])
    assert task.labels[task.test_rows(0)].tolist() == [4]
    assert task.guarded_formulas == {"MgO"}


def test_labels_are_transformed_and_missing_ones_left_out(tmp_path):
    values = (20.0, None, 2000.0, -1.0, 0.0, 2.0)
    write(tmp_path / "t.parquet", [cell(11, 17, 3 + 0.1 * i, y=y, f=i % 2) for i, y in enumerate(values)])
    spec = TaskConfig(data="t.parquet", target="y", fold_column="f", transform="log10", per_atom=True)
    task = read_task("t", spec, tmp_path)
    np.testing.assert_allclose(task.labels, [1, 3, 0])
    assert task.crystals.label_names == ["target"]


def test_more_labels_than_there_are_is_an_error(root):
    with pytest.raises(DataError, match="1000 labels of"):
        read(root).revealed(1000, 0, 0)


def test_a_missing_file_names_the_variable(tmp_path):
    with pytest.raises(DataError, match="MATGL_SSL_DATA"):
        read(tmp_path)


@pytest.mark.parametrize(("n", "wanted", "folds"), [(100, 60, 3), (100, 100, 5), (500, 60, 1), (50, 100, 5)])
def test_validation_is_on_revealed_labels_alone(n, wanted, folds):
    rows = np.random.default_rng(0).permutation(1000)[:n]
    found = validation_folds(rows, wanted)
    assert len(found) == folds
    for train, val in found:
        assert set(train) | set(val) == set(rows)
        assert not set(train) & set(val)
