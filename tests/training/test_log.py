"""What a run writes down: metrics.csv, running means, the learning rate."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from matgl_ssl.errors import RunDirectoryError
from matgl_ssl.training.config import OptimizerConfig
from matgl_ssl.training.log import MetricsCSV
from matgl_ssl.training.module import Means, Schedule, get_random_state, set_random_state


def read(path) -> list[dict[str, str]]:
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def test_metrics_of_one_step_share_a_row_and_columns_come_as_they_turn_up(tmp_path):
    log = MetricsCSV(tmp_path / "metrics.csv")
    log.log_metrics({"loss": 0.1 + 0.2}, step=1)
    log.log_metrics({"loss": 0.25}, step=2)
    log.log_metrics({"val_loss": 1.5, "epoch": 0}, step=2)
    log.save()
    assert read(tmp_path / "metrics.csv") == [
        {"step": "1", "loss": repr(0.1 + 0.2), "val_loss": "", "epoch": ""},
        {"step": "2", "loss": "0.25", "val_loss": "1.5", "epoch": "0"},
    ]


def test_a_resumed_log_keeps_the_rows_up_to_its_checkpoint_and_drops_later_ones(tmp_path):
    path = tmp_path / "metrics.csv"
    first = MetricsCSV(path)
    for step in range(1, 6):
        first.log_metrics({"loss": float(step)}, step=step)
    first.save()
    resumed = MetricsCSV(path, keep_steps=3)
    resumed.log_metrics({"loss": 40.0}, step=4)
    resumed.finalize("success")
    assert [(row["step"], row["loss"]) for row in read(path)] == [
        ("1", "1.0"), ("2", "2.0"), ("3", "3.0"), ("4", "40.0"),
    ]  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    """A log of five steps, and what a checkpoint of the third keeps of it."""
    log = MetricsCSV(tmp_path / "metrics.csv")
    states = []
    for step in range(1, 6):
        log.log_metrics({"loss": step / 7, "lr": 0.125}, step=step)
        states.append(log.state(step))
    log.save()
    return log.path, states[2]


def test_a_log_is_held_to_what_its_checkpoint_keeps(saved):
    path, state = saved
    rows = MetricsCSV(path, 3, state).rows
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    whole, messages = path.read_bytes(), set()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = MetricsCSV(path, 3, state).rows
        except RunDirectoryError as err:
            messages.add(str(err))
        else:
            assert found == rows  # it lay in the rows after the checkpoint
    advice = "Restore the file, or move it away to continue without the rows before the checkpoint."
    assert messages == {f"{path} is damaged: its rows are not those that the run wrote. {advice}"}


def test_a_log_that_is_gone_begins_anew_and_says_so(saved, caplog):
    path, state = saved
    path.unlink()
    assert MetricsCSV(path, 3, state).rows == []
    assert "is gone" in caplog.text


def test_a_new_log_does_not_take_over_an_old_file(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss\n1,0.5\n")
    log = MetricsCSV(path)
    log.log_metrics({"loss": 2.0}, step=7)
    log.save()
    assert [row["step"] for row in read(path)] == ["7"]


def test_saving_again_gives_the_same_file_and_leaves_no_partial_one(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsCSV(path)
    log.log_metrics({"loss": 1 / 3}, step=1)
    log.save()
    content = path.read_text()
    MetricsCSV(path, keep_steps=10).save()
    assert path.read_text() == content
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


def test_means_are_weighted_by_the_crystals_of_a_batch():
    means = Means()
    means.add({"loss": 1.0, "b": 2.0}, 3)
    means.add({"loss": 5.0, "b": 2.0}, 1)
    assert means.take("val_") == {"val_loss": 2.0, "val_b": 2.0}
    assert means.take("val_") == {}
    means.add({"loss": 7.0}, 2)
    assert means.take("") == {"loss": 7.0}


def factors(total: int, **options) -> np.ndarray:
    schedule = Schedule(OptimizerConfig(**options), total)
    return np.array([schedule(step) for step in range(total)])


def test_the_rate_warms_up_linearly_and_falls_on_a_cosine_to_zero():
    rates = factors(100, warmup=0.1)
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(rates[10:], 0.5 * (1 + np.cos(np.pi * np.arange(90) / 90)))
    assert Schedule(OptimizerConfig(warmup=0.1), 100)(100) == pytest.approx(0.0)


def test_a_constant_rate_stays_at_its_peak():
    rates = factors(50, schedule="constant", warmup=0.2)
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    assert (rates[10:] == 1).all()


@pytest.mark.parametrize("total", [0, 1, 2])
def test_a_run_of_hardly_any_steps_has_a_rate(total):
    schedule = Schedule(OptimizerConfig(), total)
    assert all(0 <= schedule(step) <= 1 for step in range(total + 2))
    assert schedule(0) == 1


def test_random_states_come_back_and_pass_a_weights_only_loader(tmp_path):
    torch.save(get_random_state(), tmp_path / "state")
    expected = torch.randn(3)
    set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert torch.equal(torch.randn(3), expected)
