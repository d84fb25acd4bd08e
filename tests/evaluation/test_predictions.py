"""Predictions beside the scores: nothing is lost, whatever wrote it, and it is little."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from matgl_ssl.evaluation import read_predictions
from matgl_ssl.evaluation.predictions import CELL, keep


def predicted(n=400, arms=("line", "scratch"), seeds=3, spread=2.0, method="fine-tune"):
    """Predictions of a task's crystals that miss the labels by a tenth of their deviation."""
    rng = np.random.default_rng(0)
    labels = rng.normal(1.0, spread, n)
    rows = []
    for arm in arms:
        for seed in range(seeds):
            name = ("MEGNet", arm, "100", method, seed, seed % 2)
            about = {"id": [f"mp-{7 * i}" for i in range(n)], "task": "gap", "label": labels.astype(np.float32)}
            values = [float(f"{value:.5g}") for value in labels + rng.normal(0, 0.1 * spread, n)]
            rows.append(pd.DataFrame({**dict(zip(CELL, name, strict=True)), **about, "prediction": values}))
    return pd.concat(rows, ignore_index=True)


def ordered(table):
    return table.sort_values(["task", *CELL, "id"], ignore_index=True)


def assert_same(read, written):
    """But for the rounding: half a step, which is at most a ten thousandth of the deviation."""
    read, written = ordered(read), ordered(written)
    names = [*CELL, "id", "task", "label"]
    pd.testing.assert_frame_equal(read[names], written[names], check_dtype=False)
    allowed = 0.5e-4 * written["label"].std() + 1e-6 * written["prediction"].abs().max()
    assert (read["prediction"] - written["prediction"]).abs().max() <= allowed


@pytest.mark.parametrize("spread", [2e-3, 2.0, 5e3])
def test_what_is_read_is_what_was_predicted(tmp_path, spread):
    table = predicted(spread=spread)
    keep(table, tmp_path, "gap")
    assert_same(read_predictions(tmp_path), table)


def test_a_new_cell_replaces_its_old_one_alone(tmp_path):
    old, new = predicted(), predicted(seeds=1)
    new["prediction"] += 1.0
    keep(old, tmp_path, "gap")
    keep(new, tmp_path, "gap")
    assert_same(read_predictions(tmp_path), pd.concat([new, old[old["seed"] > 0]]))


def test_files_of_earlier_versions_are_read_and_rewritten(tmp_path):
    """Which were a file a task, with a row a predicted crystal."""
    before, new = predicted(), predicted(arms=("textbook",))
    before.astype({"seed": np.int16, "fold": np.int16}).to_parquet(tmp_path / "gap.parquet")
    assert_same(read_predictions(tmp_path), before)
    keep(new, tmp_path, "gap")
    assert_same(read_predictions(tmp_path), pd.concat([before, new]))
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.parquet")) == [
        "crystals.parquet", "gap/line.parquet", "gap/scratch.parquet", "gap/textbook.parquet",
    ]  # fmt: skip


def test_a_task_that_is_rewritten_hides_no_other(tmp_path):
    """Cells of two tasks have the same names but for the task."""
    gaps, moduli = predicted(), predicted(n=30).assign(task="moduli")
    gaps.to_parquet(tmp_path / "gap.parquet")
    moduli.to_parquet(tmp_path / "moduli.parquet")
    keep(predicted(arms=("textbook",)), tmp_path, "gap")
    assert_same(read_predictions(tmp_path), pd.concat([gaps, moduli, predicted(arms=("textbook",))]))


def test_other_parts_of_a_task_have_their_own_crystals(tmp_path):
    """A search is scored on other crystals with each seed."""
    first, second = predicted(seeds=1), predicted(n=50, seeds=1, method="ridge")
    keep(first, tmp_path, "gap")
    keep(second, tmp_path, "gap")
    assert_same(read_predictions(tmp_path), pd.concat([first, second]))


def test_a_prediction_takes_two_bytes(tmp_path):
    """Ids and labels are written once, however many cells predict them."""
    table = predicted(n=2000, arms=("line",), seeds=20)
    keep(table, tmp_path, "gap")
    assert (tmp_path / "gap" / "line.parquet").stat().st_size / len(table) < 2.2


def test_a_run_that_failed_by_far_keeps_its_numbers(tmp_path):
    table = predicted(seeds=1, arms=("line",))
    table.loc[3, "prediction"] = -7.0e14
    keep(table, tmp_path, "gap")
    read = read_predictions(tmp_path).set_index("id")["prediction"]
    assert read[table.loc[3, "id"]] == pytest.approx(-7.0e14, rel=1e-5)


def test_no_predictions_are_an_empty_table(tmp_path):
    assert read_predictions(tmp_path).empty
