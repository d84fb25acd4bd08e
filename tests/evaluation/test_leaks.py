"""What must not be pretrained on: crystals that a task has, and labels of what it asks for."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import cell, corpus_and_task, study, write

from matgl_ssl.columns import quantity
from matgl_ssl.crystals import read_crystals
from matgl_ssl.errors import ConfigError
from matgl_ssl.evaluation.config import ArmConfig, BenchmarkConfig, TaskConfig
from matgl_ssl.evaluation.leaks import leaking, refuse_same_quantity, same_values
from matgl_ssl.evaluation.plan import Plan
from matgl_ssl.evaluation.pretraining import labels_used, pretraining_config
from matgl_ssl.evaluation.runner import Runner
from matgl_ssl.evaluation.store import Store
from matgl_ssl.evaluation.tasks import read_task


@pytest.fixture
def overlapping(tmp_path):
    """A task with NaCl, and a corpus with it twice (once as a supercell), with another polymorph, and others."""
    nacl = cell(11, 17, 3.5)
    coords = np.array([[0, 0, 0], [0.5, 0.5, 0.25], [0, 0, 0.5], [0.5, 0.5, 0.75]])
    double = type(nacl)(np.tile(nacl.numbers, 2), coords, np.diag([3.5, 3.5, 7.0]), "double")
    rock_salt = type(nacl)(nacl.numbers, nacl.frac_coords, 5.6 / 2 * (1 - np.eye(3)), "rock salt")
    write(tmp_path / "t.parquet", [cell(11, 17, 3.5, y=1.0, f=0), cell(3, 9, 3.5, y=2.0, f=1)])
    corpus = write(tmp_path / "c.parquet", [cell(12, 8, 3.5), nacl, double, rock_salt, cell(37, 17, 3.5)])
    task = read_task("t", TaskConfig(data="t.parquet", target="y", fold_column="f"), tmp_path)
    return read_crystals(corpus), task


@pytest.mark.parametrize(("rule", "rows"), [("formula", [1, 2, 3]), ("structure", [1, 2]), ("none", [])])
def test_each_rule_removes_what_it_says(overlapping, rule, rows):
    corpus, task = overlapping
    removed = leaking(corpus, [task], rule)
    assert removed.rows == rows
    assert removed.by_task == {"t": len(rows)}
    assert f"`{rule}`: {len(rows)} of 5 crystals removed" in str(removed)


def test_an_unknown_rule_is_refused(overlapping):
    corpus, task = overlapping
    with pytest.raises(ConfigError, match="formula"):
        leaking(corpus, [task], "formulas")


def test_labels_are_known_by_their_names():
    assert quantity("bulk_modulus_vrh") == quantity("shear_modulus_vrh") == quantity("poisson_ratio")
    assert quantity("e_above_hull") == quantity("formation_energy_per_atom")
    assert quantity("band_gap") != quantity("formation_energy_per_atom")
    assert quantity("my_column") == "my_column"
    assert quantity("my_column", "band gap") == quantity("my_column", "Band_Gap") == quantity("dir_gap")


def test_a_renamed_label_is_caught_by_its_values(tmp_path):
    """Formulas once in each file, whose columns go together under other names and units."""
    rng = np.random.default_rng(0)
    pairs = [(m, x) for m in (3, 11, 12, 19, 20, 37) for x in (8, 9, 16, 17, 34)]
    values = rng.uniform(1, 9, len(pairs))
    own = [cell(m, x, 3.5, y=float(v), f=i % 2) for i, ((m, x), v) in enumerate(zip(pairs, values, strict=True))]
    write(tmp_path / "t.parquet", own)
    theirs = [
        cell(m, x, 3.6, kelvin=300 * v + 20 * rng.normal(), other=rng.normal() + 0.1 * v)
        for (m, x), v in zip(pairs, values, strict=True)
    ]
    corpus = read_crystals(write(tmp_path / "c.parquet", theirs))
    task = read_task("t", TaskConfig(data="t.parquet", target="y", fold_column="f"), tmp_path)
    refuse_same_quantity(("other",), "y", task.crystals, "target", corpus)
    with pytest.raises(ConfigError, match="values on shared crystals"):
        refuse_same_quantity(("other", "kelvin"), "y", task.crystals, "target", corpus)
    with pytest.raises(ConfigError, match="by its name"):
        refuse_same_quantity(("other",), "other", task.crystals, "target", corpus)


def test_a_total_is_caught_by_its_values_per_atom(tmp_path):
    """The task asks for a label per atom; cells of the corpus have two atoms or four."""
    rng = np.random.default_rng(0)
    formulas = [(m, x) for m in (3, 11, 12, 19, 20, 37) for x in (8, 9, 16, 17, 34)]
    own, theirs = [], []
    for i, (m, x) in enumerate(formulas):
        once, value = cell(m, x, 3.5), rng.uniform(1, 9)
        twice = type(once)(np.tile(once.numbers, 2), np.tile(once.frac_coords, (2, 1)), once.lattice, "twice")
        own.append(cell(m, x, 3.5, y=value, f=i % 2))
        crystal, n = (twice, 4) if i % 2 else (once, 2)
        theirs.append(type(once)(crystal.numbers, crystal.frac_coords, crystal.lattice, str(i), {"total": n * value}))
    task, corpus = (
        read_crystals(write(tmp_path / f"{name}.parquet", rows)) for name, rows in (("t", own), ("c", theirs))
    )
    assert same_values(corpus, "total", task, "y")
    assert not same_values(task, "f", corpus, "total")


def test_one_corpus_may_have_what_another_has_not(tmp_path):
    """A column's name says nothing of the next corpus's column of that name."""
    corpus_and_task(tmp_path)
    corpus = read_crystals(tmp_path / "corpus.parquet")
    leaking = [type(c)(c.numbers, c.frac_coords, c.lattice, c.id, {"noise": c.labels["renamed"]}) for c in corpus]
    write(tmp_path / "other.parquet", leaking)
    config = BenchmarkConfig.build(study(tmp_path))
    runner = Runner(config, tmp_path, tmp_path)
    runner.refuse(ArmConfig(supervised="noise"), ("noise",), runner.task("size"))
    with pytest.raises(ConfigError, match="values on shared crystals"):
        runner.refuse(ArmConfig(supervised="noise", corpus={"data": "other.parquet"}), ("noise",), runner.task("size"))


def test_few_shared_crystals_say_nothing(tmp_path):
    corpus_and_task(tmp_path)
    corpus, task = (read_crystals(tmp_path / name) for name in ("corpus.parquet", "task.parquet"))
    assert not same_values(corpus.select(range(5)), "renamed", task, "size")


def supervised_by(*columns):
    pretext = {"name": "property-labels", "arguments": {"columns": dict.fromkeys(columns, "value")}}
    return {"recipe": "textbook-labels", "pretrain": {"pretexts": [pretext]}}


@pytest.mark.parametrize(
    ("columns", "left"),
    [
        (("band_gap", "k_vrh", "g_vrh"), ("band_gap",)),
        (("band_gap",), ("band_gap",)),
        (("k_vrh",), ("k_vrh",)),  # and the arm is refused
    ],
)
def test_of_several_label_columns_those_that_a_task_asks_for_are_left_out(columns, left):
    arm = ArmConfig(**supervised_by(*columns))
    assert labels_used(pretraining_config(arm, {}, {"model": "MEGNet"}, "elastic moduli")) == left


def test_tasks_share_an_encoder_unless_labels_are_left_out_for_one(tmp_path):
    corpus_and_task(tmp_path)
    tasks = {
        name: {"data": "task.parquet", "target": "size", "quantity": asked}
        for name, asked in (("size", None), ("weight", "weight"), ("gap", "band gap"), ("moduli", "elastic moduli"))
    }
    rounds = [{"tasks": list(tasks), "arms": ["labels"], "labels": [16], "seeds": [0]}]
    arms = {"labels": supervised_by("band_gap", "total_magnetization")}
    config = BenchmarkConfig.build(study(tmp_path, tasks=tasks, arms=arms, rounds=rounds, longer_by="textbook"))
    plan = Plan(Runner(config, tmp_path, tmp_path), Store(tmp_path))
    encoders = {
        cell.task: next(need.name for need in cell.unit.needs if need.kind == "pretraining") for cell in plan.cells
    }
    assert encoders["size"] == encoders["weight"] == encoders["moduli"] != encoders["gap"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "column", "other_file", "other", "same"),
    [
        ("tasks/matbench_phonons", "last_phdos_peak", "tasks/phonon_dielectric_petretto", "last_phdos_peak", True),
        ("tasks/mp_elasticity_3191", "bulk_modulus_vrh", "mp37k/train", "bulk_modulus_vrh", True),
        ("tasks/mp_elasticity_3191", "shear_modulus_vrh", "mp37k/train", "shear_modulus_vrh", True),
        ("tasks/mp_elasticity_3191", "bulk_modulus_vrh", "mp37k/train", "formation_energy_per_atom", False),
        ("tasks/matbench_phonons", "last_phdos_peak", "mp37k/train", "formation_energy_per_atom", False),
        ("mp37k/test", "band_gap", "mp37k/train", "formation_energy_per_atom", False),
    ],
)
def test_the_leaks_of_the_published_tables(data_dir, file, column, other_file, other, same):
    """All of matbench_phonons stands in the phonon/dielectric table, most moduli of the elasticity table in mp37k."""
    one = read_crystals(data_dir / f"{file}.parquet", columns=[column])
    two = read_crystals(data_dir / f"{other_file}.parquet", columns=[other])
    assert (quantity(column) == quantity(other)) == same
    assert same_values(two, other, one, column) == same
