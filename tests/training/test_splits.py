"""Splits: by column, by fraction, or from elsewhere; a function of the seed and the number of crystals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_systems import cscl

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import DataError
from matgl_ssl.training.config import FinetuneConfig
from matgl_ssl.training.splits import split


def config(**options) -> FinetuneConfig:
    return FinetuneConfig.build({"target": "y", **options})


def table(n: int, prefix: str = "c") -> CrystalDataset:
    base = cscl()
    return CrystalDataset.from_crystals(
        dataclasses.replace(base, id=f"{prefix}{i}", labels={"y": float(i), "fold": i % 5}) for i in range(n)
    )


def parts(crystals: CrystalDataset, settings: FinetuneConfig, **others) -> dict[str, list[str]]:
    return {name: part.ids for name, part in split(crystals, settings, **others).parts().items()}


def test_fractions_cover_every_crystal_once():
    found = parts(table(50), config(test_fraction=0.2, val_fraction=0.25))
    assert {name: len(ids) for name, ids in found.items()} == {"train": 30, "val": 10, "test": 10}
    assert sorted(i for ids in found.values() for i in ids) == sorted(table(50).ids)


def test_the_same_seed_gives_the_same_parts_whatever_the_model_and_another_gives_others():
    same = [parts(table(50), config(seed=3, model=model, init_from=start)) for model, start in
            (("M3GNet", None), ("MEGNet", None), ("M3GNet", "runs/pre"))]  # fmt: skip
    assert same[0] == same[1] == same[2]
    assert parts(table(50), config(seed=4))["test"] != same[0]["test"]


def test_a_column_of_folds_gives_the_test_crystals():
    found = parts(table(50), config(split_column="fold", fold=2, val_fraction=0.1))
    assert found["test"] == [f"c{i}" for i in range(50) if i % 5 == 2]
    assert len(found["val"]) == 4
    assert set(found["train"]) | set(found["val"]) == {f"c{i}" for i in range(50) if i % 5 != 2}


def test_a_fold_that_does_not_exist_is_an_error_that_lists_those_that_do():
    with pytest.raises(DataError, match=r"fold = 7; there are 0, 1, 2, 3, 4"):
        split(table(10), config(split_column="fold", fold=7))


def test_n_train_limits_the_labels_that_are_seen_and_leaves_the_test_crystals_alone():
    all_labels, few = (parts(table(50), config(test_fraction=0.2, val_fraction=0.2, n_train=n)) for n in (None, 10))
    assert len(few["train"]) == 8
    assert len(few["val"]) == 2
    assert few["test"] == all_labels["test"]
    assert len(parts(table(50), config(n_train=1000))["train"]) == len(parts(table(50), config())["train"])


def test_larger_n_train_contains_the_smaller_one():
    small, large = (parts(table(50), config(n_train=n, val_fraction=0.0)) for n in (10, 20))
    assert set(small["train"]) < set(large["train"])


def test_test_and_validation_crystals_from_elsewhere_leave_the_table_whole():
    found = parts(table(20), config(), val=table(3, "v"), test=table(4, "t"))
    assert found == {
        "train": table(20).ids,
        "val": ["v0", "v1", "v2"],
        "test": ["t0", "t1", "t2", "t3"],
    }


def test_a_column_with_validation_crystals_from_elsewhere():
    found = parts(table(20), config(split_column="fold", fold=0), val=table(3, "v"))
    assert len(found["train"]) == 16
    assert found["val"] == ["v0", "v1", "v2"]


def test_without_fractions_everything_is_trained_on():
    found = parts(table(10), config(test_fraction=0.0, val_fraction=0.0))
    assert found == {"train": table(10).ids, "val": [], "test": []}


def test_nothing_left_to_train_on_is_an_error():
    lonely = table(10).select(np.flatnonzero(table(10).column("fold") == 1))
    with pytest.raises(DataError, match="Nothing is left to train on"):
        split(lonely, config(split_column="fold", fold=1))


@pytest.mark.parametrize("kind", [float, str])
def test_folds_may_be_text_and_what_has_none_is_in_no_part(kind, caplog):
    base = cscl()
    crystals = CrystalDataset.from_crystals(
        dataclasses.replace(base, id=f"c{i}", labels={"y": 1.0, "fold": kind(i % 5) if i > 2 else None})
        for i in range(20)
    )
    found = parts(crystals, config(split_column="fold", fold=2, val_fraction=0.0))
    assert found["test"] == ["c7", "c12", "c17"]
    assert len(found["train"]) == 14
    assert "3 crystals have no fold" in caplog.text


def test_folds_that_are_no_numbers_are_refused():
    crystals = [dataclasses.replace(cscl(), id=str(i), labels={"y": 1.0, "fold": "train"}) for i in range(4)]
    with pytest.raises(DataError, match="fold must hold fold numbers, not 'train'"):
        split(CrystalDataset.from_crystals(crystals), config(split_column="fold"))
