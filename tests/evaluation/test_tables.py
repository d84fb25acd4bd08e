"""Tables of errors and paired differences: what a mean is over."""

from __future__ import annotations

from typing import Any

import pytest

from matgl_ssl.evaluation.config import BenchmarkConfig
from matgl_ssl.evaluation.plan import Cell
from matgl_ssl.evaluation.statistics import Score
from matgl_ssl.evaluation.store import Unit
from matgl_ssl.evaluation.tables import error_tables, means_table

ERRORS = {"first": (10.0, 9.0), "second": (10.0, 7.0), "later": (10.0, 1.0)}


def study(**options: Any) -> tuple[list[Cell], list[Score], BenchmarkConfig]:
    """An arm that is 10, 30 and 90 % better on three tasks."""
    task = {"data": "task.parquet", "target": "size"}
    names = list(ERRORS)
    rounds = [{"tasks": names, "arms": ["scratch", "best"], "labels": [100], "seeds": [0, 1, 2]}]
    config = BenchmarkConfig.model_validate(
        {"corpus": {"data": "corpus.parquet"}, "tasks": dict.fromkeys(names, task), "rounds": rounds, **options}
    )
    unit = Unit("cell", "any", {}, dict)
    scores = [
        Score(task, "MEGNet", arm, 100, seed, 0, error)
        for task, errors in ERRORS.items() for arm, error in zip(("scratch", "best"), errors, strict=True)
        for seed in range(3)
    ]  # fmt: skip
    return [Cell(*score[:6], method="fine-tune", unit=unit) for score in scores], scores, config


def on_five_folds() -> tuple[list[Cell], list[Score], BenchmarkConfig]:
    """The same study, of which each of five folds came out alike."""
    cells, scores, config = study()
    return (
        [c._replace(fold=k) for c in cells for k in range(5)],
        [s._replace(fold=k) for s in scores for k in range(5)],
        config,
    )


def differences(**options: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Header and row of the arm's paired differences."""
    cells, scores, config = study(**options)
    _, table = error_tables(cells, scores, dict.fromkeys(ERRORS, ""), "fine-tune", config)
    (row,) = table.rows
    return table.header, row


def test_a_mean_is_over_every_task():
    header, row = differences()
    assert header[-2:] == ("mean over tasks", "won / tied / lost")
    assert row[1:4] == ("**-10.0 [-10.0, -10.0]**", "**-30.0 [-30.0, -30.0]**", "**-90.0 [-90.0, -90.0]**")
    assert row[-2].startswith("-60.2 [")  # the geometric mean of 0.9, 0.7 and 0.1


def test_a_mean_is_over_the_tasks_named_and_counts_over_all():
    header, row = differences(mean_over=["first", "second"])
    assert header[-2] == "mean over 2 tasks"
    assert row[3] == "**-90.0 [-90.0, -90.0]**"
    assert row[-2:] == ("-20.6 (6 pairs)", "3 / 0 / 0")


def test_a_table_with_one_of_the_tasks_named_has_no_mean():
    header, row = differences(mean_over=["first"])
    assert header == ("arm", "first", "second", "later", "won / tied / lost")
    assert len(row) == len(header)
    assert row[-1] == "3 / 0 / 0"


def test_an_interval_says_of_how_few_seeds_it_knows():
    cells, scores, config = on_five_folds()
    fewer = [
        score for score in scores if score.arm == "scratch" or score.seed < {"first": 3, "second": 2}.get(score.task, 1)
    ]
    _, table = error_tables(cells, fewer, dict.fromkeys(ERRORS, ""), "fine-tune", config)
    ((_, *entries, mean, _),) = table.rows
    assert entries == [
        "**-10.0 [-10.0, -10.0]**", "**-30.0 [-30.0, -30.0]** (2 seeds)", "-90.0 [-90.0, -90.0] (1 seed)"
    ]  # fmt: skip
    assert mean.endswith("] (1 seed)")
    (_, mean), *_ = means_table(cells, {"fine-tune": fewer}, config).rows
    assert mean.endswith("] (1 seed)")


def test_an_interval_says_of_how_few_pairs_it_knows():
    cells, scores, config = on_five_folds()
    fewer = [
        score for score in scores
        if score.arm == "scratch" or score.task == "first" or score.seed == 0 or (score.seed, score.fold) == (1, 0)
        if score.task != "later" or score.fold < 3
    ]  # fmt: skip
    _, table = error_tables(cells, fewer, dict.fromkeys(ERRORS, ""), "fine-tune", config)
    ((_, *entries, mean, _),) = table.rows
    told = ["", " (2 seeds, 6 of 15 pairs)", " (2 seeds, 4 of 15 pairs)"]
    assert [entry.partition("]")[2].replace("**", "") for entry in entries] == told
    assert mean.endswith("] (2 seeds, 25 of 45 pairs)")


def test_errors_that_differ_by_rounding_alone_have_no_spread():
    cells, scores, config = study()
    shaken = [score._replace(mae=score.mae + 1e-15 * score.seed) for score in scores]
    table, _ = error_tables(cells, shaken, dict.fromkeys(ERRORS, ""), "fine-tune", config)
    assert table.rows[0] == ("scratch", *["10 ± 0"] * 3)


def test_a_mean_over_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'second'"):
        differences(mean_over=["secnd"])


def test_means_stand_beside_each_other_as_in_their_own_tables():
    cells, scores, config = study(mean_over=["first", "second"])
    fewer = [score for score in scores if score.task != "second"]
    frozen = [cell._replace(method="ridge") for cell in cells if cell.task != "later"]
    table = means_table([*cells, *frozen], {"fine-tune": scores, "ridge": fewer}, config)
    assert table.header == ("arm", "MEGNet, 100 labels, fine-tune, 2 tasks", "MEGNet, 100 labels, ridge, 2 tasks")
    assert table.rows == (("best", "-20.6 (6 pairs)", "-"),)


def test_there_are_no_means_over_one_task():
    cells, scores, config = study(mean_over=["first"])
    assert means_table(cells, {"fine-tune": scores}, config).rows == ()


def test_a_run_of_the_reference_that_failed_is_named_with_the_means_without_it():
    cells, scores, config = study()
    lucky = ("scratch", "first", 1)
    shaken = [s._replace(mae=100.0) if (s.arm, s.task, s.seed) == lucky else s for s in scores]
    _, table = error_tables(cells, shaken, dict.fromkeys(ERRORS, ""), "fine-tune", config)
    assert "first seed 1 (100)" in table.note
    assert table.note.endswith("Means without these pairs: best -60.2.")
    assert "-60.2 [" not in table.rows[0][-2]
