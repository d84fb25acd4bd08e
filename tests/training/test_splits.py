"""Splits: by column, by fraction, or from elsewhere; a function of the seed and of the crystals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_systems import cscl

from matgl_ssl.crystals import CrystalDataset
from matgl_ssl.errors import ConfigError, DataError
from matgl_ssl.training.config import FinetuneConfig
from matgl_ssl.training.splits import split


def config(**options) -> FinetuneConfig:
    return FinetuneConfig.build({"target": "y", "split": "random", **options})


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


def polymorphs(n: int, per_formula: int) -> CrystalDataset:
    """``n`` crystals, ``per_formula`` of each of several rock salts."""
    metals = [3, 11, 19, 37, 55, 12, 20, 38, 56, 30, 48, 26, 27, 28, 29]
    base = cscl()
    return CrystalDataset.from_crystals(
        dataclasses.replace(
            base, numbers=np.array([metals[i // per_formula], 17]), lattice=base.lattice * (1 + 0.01 * i), id=f"p{i}",
            labels={"y": float(i)},
        )
        for i in range(n)
    )  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_by_default_a_formula_stands_on_one_side(seed):
    crystals = polymorphs(60, 4)
    formula = dict(zip(crystals.ids, crystals.formulas(), strict=True))
    found = parts(crystals, config(split="formula", seed=seed, test_fraction=0.2, val_fraction=0.25))
    sides = [{formula[i] for i in ids} for ids in found.values()]
    assert all(ids for ids in found.values())
    assert sum(map(len, sides)) == len(set.union(*sides))
    assert len(found["test"]) == 12
    random = parts(crystals, config(seed=seed, test_fraction=0.2))
    assert {formula[i] for i in random["train"]} & {formula[i] for i in random["test"]}


def test_one_formula_is_split_crystal_by_crystal_with_a_word(caplog):
    found = parts(polymorphs(20, 20), config(split="formula", test_fraction=0.2, val_fraction=0.0))
    assert (len(found["train"]), len(found["test"])) == (16, 4)
    assert "polymorphs are in both parts" in caplog.text


@pytest.mark.parametrize("kind", ["formula", "random"])
def test_a_few_crystals_less_move_none_of_the_others(kind):
    """A model with a smaller cutoff takes fewer crystals; it must be tested on the same ones."""
    crystals = polymorphs(60, 4)
    settings = config(split=kind, test_fraction=0.2, val_fraction=0.0)
    whole = parts(crystals, settings)
    fewer = parts(crystals.select([i for i in range(60) if i not in (3, 31)]), settings)
    moved = set(fewer["test"]) ^ (set(whole["test"]) - {"p3", "p31"})
    assert len(moved) <= (1 if kind == "random" else 4)  # the last group that fits


def test_two_options_that_say_what_to_test_on_are_refused():
    with pytest.raises(ConfigError, match="--split-column and --test-data both"):
        split(table(10), config(split_column="fold"), test=table(3, "t"))
